//! A worker: first it takes away from itself all that its tool did not declare for these arguments, then it does the
//! one call that it was made for.

use super::{Answer, Job, Said, Told, Work, packet};
use crate::caller::Caller;
use crate::ctx::{Ctx, House};
use crate::declaration::{Declaration, Finished, Started};
use crate::policy::Policy;
use crate::reach::{Needs, Paths, Question, Way, directory_of};
use crate::{file, tool};
use aios_abi::tool::Progress;
use aios_abi::who::{Role, uid};
use aios_abi::{CallError, frame};
use aios_sandbox::landlock::{ABSTRACT_UNIX_SOCKET, CHANGE, Effects, READ_DIR, READ_FILE, Ruleset, SIGNAL};
use aios_sandbox::seccomp::{self, Calls, Instruction};
use aios_sandbox::{Attributes, change_mount};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Open files of a worker.
const FILES: u64 = 256;

/// The filters of all tools, each once: to make one takes longer than all other preparations. What lies close together in
/// the workshop's memory has few pages, and a worker copies each page of it that it writes to.
static FILTERS: LazyLock<Vec<(Calls, Vec<Instruction>)>> = LazyLock::new(|| {
    let mut filters: Vec<(Calls, Vec<Instruction>)> = Vec::new();
    for tool in tool::all() {
        let calls = calls(&tool.needs);
        if filters.iter().all(|(known, _)| *known != calls) {
            let filter = seccomp::filter(&calls);
            filters.push((calls, filter));
        }
    }
    filters
});

fn calls(needs: &Needs) -> Calls {
    Calls { groups: needs.calls.to_vec(), families: needs.families.to_vec(), processes: false }
}

/// A job that nobody gave, as it comes over the line: a look at the root directory.
static REHEARSAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let caller = Caller { by: "nobody".into(), person: None, role: Role::Viewer };
    let policy = Policy::appliance(Path::new("/data/toold"), 1);
    let work = Work::Call { args: r#"{"path":"/"}"#.into() };
    let tool = tool::by_name("fs.stat").map_or(0, |tool| tool.number);
    frame::encode(&Job { id: 0, tool, caller, policy, limit_ms: 1_000, seen: vec!["/".into()], work })
        .unwrap_or_default()
});

/// In the workshop: what all workers need is made before the first.
pub(super) fn prepare() {
    LazyLock::force(&FILTERS);
    LazyLock::force(&REHEARSAL);
}

/// A new process has to fetch each page of memory that it touches, and copy those that it writes to. It does with the rehearsal
/// what it will do with its job, so that this is over by the time that one comes.
fn rehearse() {
    let Ok(job) = frame::decode::<Job>(&REHEARSAL) else { return };
    let (Some(tool), Work::Call { args }) = (tool::by_number(job.tool), &job.work) else { return };
    if let Ok(paths) = tool.code.paths(args) {
        drop(rules(&tool.needs, &paths, &job.policy));
    }
    let deadline = Instant::now() + Duration::from_millis(job.limit_ms.into());
    let ctx = Ctx::new(job.caller, job.policy.into(), deadline, Box::new(Nobody));
    if let Ok(Started::Done(finished)) = tool.code.start(&ctx, args) {
        drop(frame::encode(&Said::Done(finished)));
    }
}

/// Who hears a rehearsal: everything may be looked at.
struct Nobody;

impl House for Nobody {
    fn ask(&self, question: Question) -> Result<Answer, CallError> {
        match question {
            Question::MayLook { .. } => Ok(Answer::MayLook),
            _ => Err(CallError::unavailable("nobody is there")),
        }
    }

    fn progress(&self, _progress: Progress) {}
}

/// In the new process: wait for a job, do it, and say what came of it.
pub(super) fn wait(line: OwnedFd) {
    rehearse();
    let Ok(Some((job, Some(conversation)))) = packet::receive::<Job>(&line) else { return };
    drop(line);
    work(conversation, job);
}

fn work(conversation: OwnedFd, job: Job) {
    // It lives as long as the process.
    let conversation: &'static Conversation = Box::leak(Box::new(Conversation(Mutex::new(conversation))));
    let outcome = match tool::by_number(job.tool) {
        Some(tool) => run(tool, job, conversation),
        None => Err(CallError::not_found(format!("there is no tool with the number {}", job.tool))),
    };
    let last = match outcome {
        Ok(finished) => Said::Done(finished),
        Err(error) => Said::Failed(error),
    };
    conversation.say(&last);
}

/// The way to the broker.
struct Conversation(Mutex<OwnedFd>);

impl Conversation {
    fn say(&self, said: &Said) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A broker that has gone hears nothing; the workshop ends this process then.
        let _ = packet::send(&*open, said, None);
    }

    fn ask(&self, said: &Said) -> Result<Told, CallError> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        packet::send(&*open, said, None)?;
        match packet::receive(&*open)? {
            Some((told, _)) => Ok(told),
            None => Err(CallError::unavailable("toold has gone")),
        }
    }
}

/// The broker, with what it said beforehand.
struct Broker {
    conversation: &'static Conversation,
    seen: Vec<PathBuf>,
}

impl House for Broker {
    fn ask(&self, question: Question) -> Result<Answer, CallError> {
        if let Question::MayLook { path, private: false } = &question
            && self.seen.contains(path)
        {
            return Ok(Answer::MayLook);
        }
        match self.conversation.ask(&Said::Asks(question))? {
            Told::Answer(answer) => answer,
            Told::Go => Err(CallError::failed("the broker answered something else than was asked")),
        }
    }

    fn progress(&self, progress: Progress) {
        self.conversation.say(&Said::Progress(progress));
    }
}

fn run(
    tool: &'static Declaration,
    job: Job,
    conversation: &'static Conversation,
) -> Result<Finished, CallError> {
    let paths = match &job.work {
        Work::Call { args } => tool.code.paths(args)?,
        Work::Undo(kept) => tool.code.undo_paths(kept)?,
        Work::Tidy { target } => directory_of(target),
    };
    enter(tool, &paths, &job.policy, job.limit_ms).map_err(|(what, errno)| {
        CallError::failed(format!("{} was not started: {what}: {}", tool.name, std::io::Error::from(errno)))
    })?;
    let deadline = Instant::now() + Duration::from_millis(job.limit_ms.into());
    let broker = Broker { conversation, seen: job.seen };
    let ctx = Ctx::new(job.caller, job.policy.into(), deadline, Box::new(broker));
    match job.work {
        Work::Call { args } => match tool.code.start(&ctx, &args)? {
            Started::Done(finished) => Ok(finished),
            Started::Change(mut change) => {
                let (target, preview, kept) = (change.target(), change.preview(), change.save());
                match Conversation::ask(conversation, &Said::Prepared { target, preview, kept })? {
                    Told::Go => change.make(&ctx),
                    Told::Answer(_) => Err(CallError::failed("the broker did not say whether to go on")),
                }
            }
        },
        Work::Undo(kept) => {
            let summary = tool.code.undo(&ctx, &kept)?;
            Ok(Finished { result: String::new(), summary })
        }
        Work::Tidy { target } => {
            file::place(&ctx.policy, &target)?.clean();
            Ok(Finished { result: String::new(), summary: String::new() })
        }
    }
}

/// What could not be given up, and why.
pub type Failure = (&'static str, Errno);

/// In a process of its own: give up all that was not declared for these paths. What is given up does not come back in this process.
pub fn enter(tool: &Declaration, paths: &Paths, policy: &Policy, limit_ms: u32) -> Result<(), Failure> {
    let at = |what: &'static str| move |errno: Errno| (what, errno);
    let needs = &tool.needs;
    let own = rustix::thread::capabilities(None).map_err(at("its capabilities are not known"))?.permitted;
    // What is to be allowed is found while everything can be found.
    let rules = match needs.looks_into_processes {
        // By hand there is no power to look anywhere with.
        true if !own.contains(CapabilitySet::SYS_ADMIN) => None,
        true => enclose(needs).map(|()| None).map_err(at("its root directory cannot be made"))?,
        false => {
            if own.contains(CapabilitySet::SYS_ADMIN) {
                seal(paths, policy).map_err(at("what it must not change cannot be sealed"))?;
            }
            rules(needs, paths, policy).map_err(at("its files cannot be named to the kernel"))?
        }
    };
    become_worker(own).map_err(at("it cannot become its own user"))?;
    let kept = needs.capabilities & own;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(at("its capabilities cannot be set"))?;
    rustix::thread::set_no_new_privs(true).map_err(at("privileges cannot be ruled out"))?;
    let limit =
        |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::Nofile, FILES).map_err(at("its open files cannot be limited"))?;
    limit(Resource::Data, needs.memory).map_err(at("its memory cannot be limited"))?;
    // One that computes for ever ends, whether somebody ends it or not.
    limit(Resource::Cpu, u64::from(limit_ms) / 1000 + 2).map_err(at("its time cannot be limited"))?;
    if let Some(rules) = rules {
        rules.restrict().map_err(at("its files cannot be limited (Landlock)"))?;
    }
    // A kernel that does not know it refuses the number.
    match aios_sandbox::refuse_write_execute() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(e) => return Err(("its memory cannot be kept from execution", e)),
    }
    let calls = calls(needs);
    let filter = FILTERS.iter().find(|(known, _)| *known == calls).map(|(_, filter)| filter.as_slice());
    seccomp::install(filter.unwrap_or_default()).map_err(at("its system calls cannot be filtered"))
}

/// Another user than the workshop's, so that its process is out of reach; by hand it stays who it is.
fn become_worker(own: CapabilitySet) -> Result<(), Errno> {
    if !own.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) {
        return Ok(());
    }
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&[])?;
    let (user, group) = (Uid::from_raw(uid::WORKER), Gid::from_raw(uid::WORKER));
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)
}

/// Landlock allows a directory with all below it. What belongs to the daemons and lies there (a file in `/data` itself is
/// to be written) is hidden or made read-only in a mount namespace of this worker's own.
fn seal(paths: &Paths, policy: &Policy) -> Result<(), Errno> {
    let changed = || paths.iter().filter(|(way, _)| *way == Way::Change).map(|(_, path)| path.as_path());
    let below = |place: &&PathBuf| changed().any(|path| place.starts_with(path) && place.as_path() != path);
    let there = |place: &&PathBuf| place.symlink_metadata().is_ok_and(|facts| !facts.is_symlink());
    let secret: Vec<&PathBuf> = policy.secret.iter().filter(below).filter(there).collect();
    let kept: Vec<&PathBuf> = policy.kept.iter().filter(below).filter(there).collect();
    if secret.is_empty() && kept.is_empty() {
        return Ok(());
    }
    own_mounts()?;
    let nothing = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for place in &secret {
        match place.is_dir() {
            true => mount(c"tmpfs", place.as_path(), c"tmpfs", nothing, c"size=4k,mode=0")?,
            false => mount_bind(c"/dev/null", place.as_path())?,
        }
    }
    for place in kept {
        mount_bind(place.as_path(), place.as_path())?;
        let read_only = Attributes::one().set(MountAttrFlags::MOUNT_ATTR_RDONLY);
        let path = std::ffi::CString::new(place.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        change_mount(CWD, &path, read_only)?;
    }
    Ok(())
}

/// A mount namespace, out of which nothing gets.
fn own_mounts() -> Result<(), Errno> {
    aios_sandbox::unshare(UnshareFlags::NEWNS)?;
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

/// A root directory with `/proc`, and copies of the files that the tool reads.
fn enclose(needs: &Needs) -> Result<(), Errno> {
    const AT: &str = "/tmp";
    let io = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
    own_mounts()?;
    mount(c"tmpfs", AT, c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, c"size=1M")?;
    let root = Path::new(AT);
    std::fs::create_dir(root.join("proc")).map_err(io)?;
    mount_bind(c"/proc", root.join("proc"))?;
    for path in needs.read {
        let copy = root.join(path.trim_start_matches('/'));
        // One that is not there is none in here either.
        if let (Ok(content), Some(parent)) = (std::fs::read(path), copy.parent()) {
            std::fs::create_dir_all(parent).map_err(io)?;
            std::fs::write(copy, content).map_err(io)?;
        }
    }
    rustix::process::chroot(AT)?;
    rustix::process::chdir(c"/")
}

/// The Landlock rules of a call; none where the kernel has none.
fn rules(needs: &Needs, paths: &Paths, policy: &Policy) -> Result<Option<Ruleset>, Errno> {
    let signals = if needs.capabilities.contains(CapabilitySet::KILL) { 0 } else { SIGNAL };
    let Some(effects) = Effects::all_files(ABSTRACT_UNIX_SOCKET | signals) else { return Ok(None) };
    let ruleset = Ruleset::new(effects)?;
    let fixed = needs.read.iter().map(|path| (Way::Read, Path::new(path)));
    let fixed = fixed.chain(needs.list.iter().map(|path| (Way::List, Path::new(path))));
    let named = paths.iter().map(|(way, path)| (*way, path.as_path()));
    // A file with several names is compared with those that hold secrets: it may be one of them.
    let several = paths
        .iter()
        .any(|(way, path)| *way == Way::Read && rustix::fs::stat(path).is_ok_and(|stat| stat.st_nlink > 1));
    let secret = policy.secret.iter().filter(|_| several).map(|path| (Way::List, path.as_path()));
    for (way, path) in fixed.chain(named).chain(secret) {
        // What is changed is never reached over a link.
        let links = match way {
            Way::Change => ResolveFlags::NO_SYMLINKS,
            Way::List | Way::Read => ResolveFlags::NO_MAGICLINKS,
        };
        let file = match openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), links) {
            Ok(file) => file,
            // What is not there, the tool itself says so; what cannot be found is not allowed.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::NAMETOOLONG) => continue,
            Err(e) => return Err(e),
        };
        let rights = match way {
            Way::List => READ_DIR,
            Way::Read => READ_FILE | READ_DIR,
            Way::Change => CHANGE,
        };
        match ruleset.allow(&file, rights) {
            // The rights of a directory at what is none: nothing is left of them.
            Err(Errno::INVAL | Errno::NOMSG) => {}
            other => other?,
        }
        // A rule is about an inode, and procfs makes another one of the same name once the kernel has dropped the first (it may at
        // any time; memory.drop_caches asks it to). One that is open is not dropped; the process ends with its call.
        if path.starts_with("/proc") {
            std::mem::forget(file);
        }
    }
    Ok(Some(ruleset))
}
