//! From a [`Program`] to a process: clone3, the steps between clone and exec, exec.

use super::{Errno, checked, last_errno, pointers};
use crate::sandbox::Sandbox;
use aios_sandbox::{self as kernel, Cloning, Side, end};
use rustix::process::{Gid, Pid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Everything that a new process needs, prepared before it exists: between clone and exec nothing is
/// allocated and nothing can panic. It is plain data, so that another process can be asked to make the new one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) argv: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    /// Names of variables that hold its process id, which is not known yet.
    pub(crate) pid_variables: Vec<String>,
    /// The number that it gets each of the given descriptors as; each is below [`OUT_OF_THE_WAY`].
    pub(crate) numbers: Vec<RawFd>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// Bits of [`CapabilitySet`].
    pub(crate) capabilities: u64,
    pub(crate) open_files: u64,
    /// Text for `oom_score_adj`, when it is not that of init.
    pub(crate) oom_score: Option<String>,
    pub(crate) nice: i32,
    pub(crate) sandbox: Sandbox,
    /// Directories that are made for it, those above first.
    pub(crate) directories: Vec<Directory>,
    /// Where it begins.
    pub(crate) directory: CString,
    /// The file whose time says when a timer last ran it.
    pub(crate) stamp: Option<CString>,
    /// It stops in front of its program's first instruction, and waits for [`begin`].
    pub(crate) waits: bool,
}

/// The descriptors that go with a [`Program`].
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// Where the process reports why it could not execute the program; closed by a successful exec.
    pub(crate) report: BorrowedFd<'a>,
    /// The directory of its cgroup.
    pub(crate) cgroup: BorrowedFd<'a>,
    /// What it is given, in the order of [`Program::numbers`].
    pub(crate) descriptors: Vec<BorrowedFd<'a>>,
}

/// Whose child a new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Of the process that makes it.
    Maker,
    /// Of the parent of the process that makes it.
    ParentOfMaker,
}

/// A directory on the way to one of its own, or that one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directory {
    pub(crate) path: CString,
    /// It belongs to the service alone.
    pub(crate) own: bool,
}

/// Descriptors from this number on do not collide with those that a program is given.
const OUT_OF_THE_WAY: RawFd = 512;

/// What the process was doing when it failed, and the errno; the report on the wire.
pub(crate) const REPORT_BYTES: usize = 5;

/// What a new process does before it executes its program.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Step {
    Signals,
    Descriptors,
    Priority,
    Directories,
    Image,
    Namespaces,
    Mounts,
    Directory,
    Files,
    Limits,
    Bounding,
    User,
    Capabilities,
    Privileges,
    Waiting,
    Closing,
    Executing,
}

/// The steps in words, in their order.
const STEPS: [&str; 17] = [
    "resetting its signals",
    "placing its descriptors",
    "setting its priority and its oom_score_adj",
    "making its own directories",
    "checking its image (signature and content)",
    "making its namespaces",
    "arranging its mounts",
    "entering its directory",
    "making its Landlock rules",
    "setting its resource limits",
    "cutting its capability bounding set",
    "becoming its user",
    "setting its capabilities",
    "forbidding new privileges",
    "arranging to wait (ptrace)",
    "closing its sandbox (Landlock, write-execute, system calls)",
    "executing its program",
];

/// The report as a sentence.
pub(crate) fn read_report(report: [u8; REPORT_BYTES]) -> String {
    let [step, errno @ ..] = report;
    let what = STEPS.get(usize::from(step)).unwrap_or(&"starting");
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
    format!("failed while {what}: {error}")
}

/// The id that came back to the one who made the process.
fn made(side: Side) -> io::Result<Pid> {
    match side {
        Side::Parent(pid) => Ok(pid),
        Side::Child => end(127),
    }
}

/// Make a process in its cgroup that becomes this program.
pub(crate) fn spawn(program: &Program, given: &Given<'_>, parent: Parent) -> io::Result<Pid> {
    let argv: Vec<*const c_char> = pointers(&program.argv);
    let Some(path) = program.argv.first() else { return Err(Errno::INVAL.into()) };
    if program.numbers.len() != given.descriptors.len() {
        return Err(Errno::INVAL.into());
    }
    // The process fills its own id into these; the width fits every pid.
    let own_id = |name: &String| format!("{name}=0000000000\0").into_bytes();
    let mut pid_variables: Vec<Vec<u8>> = program.pid_variables.iter().map(own_id).collect();
    let mut environment: Vec<*const c_char> = vec![std::ptr::null(); pid_variables.len()];
    environment.extend(pointers(&program.environment));
    let groups: Vec<Gid> = program.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let mut high: Vec<RawFd> = vec![-1; given.descriptors.len()];
    let report = rustix::io::fcntl_dupfd_cloexec(given.report, OUT_OF_THE_WAY)?;
    let how = Cloning { cgroup: Some(given.cgroup), sibling: parent == Parent::ParentOfMaker };
    // SAFETY: init has one thread, the spawner too, and the child executes a program or ends below.
    let side = unsafe { kernel::clone(how) }?;
    if side == Side::Child {
        let places = Places {
            argv: &argv,
            environment: &mut environment,
            pid_variables: &mut pid_variables,
            groups: &groups,
            high: &mut high,
        };
        let (step, error) = run_child(program, given, path, places);
        let errno = error.raw_os_error();
        let mut message = [step as u8; REPORT_BYTES];
        message[1..].copy_from_slice(&errno.to_ne_bytes());
        let _ = rustix::io::write(&report, &message);
        end(127);
    }
    made(side)
}

/// Memory that the new process needs, allocated before it exists.
struct Places<'a> {
    argv: &'a [*const c_char],
    environment: &'a mut [*const c_char],
    pid_variables: &'a mut [Vec<u8>],
    groups: &'a [Gid],
    high: &'a mut [RawFd],
}

/// What became of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It ended with this status.
    Exited(i32),
    /// It was killed by this signal.
    Killed(i32),
    /// It was stopped by a signal.
    Stopped,
    /// It goes on after that.
    Continued,
    /// A signal reached it that waits for [`begin`].
    Trapped(i32),
}

/// A child of which there is something to tell (waitid(2)), and what. It stays so until it is collected.
pub(crate) fn changed_child() -> Option<(Pid, Change)> {
    let options = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: an all-zero siginfo_t is valid, and the call fills it; si_pid and si_status are what the kernel
    // stores there for children.
    let (pid, code, status) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_ALL, 0, &raw mut info, options) != 0 {
            return None;
        }
        (info.si_pid(), info.si_code, info.si_status())
    };
    let change = match code {
        libc::CLD_EXITED => Change::Exited(status),
        libc::CLD_KILLED | libc::CLD_DUMPED => Change::Killed(status),
        libc::CLD_STOPPED => Change::Stopped,
        libc::CLD_CONTINUED => Change::Continued,
        _ => Change::Trapped(status),
    };
    Some((Pid::from_raw(pid)?, change))
}

/// Let a process begin its program that was made to wait. ESRCH when it is gone, or does not wait yet.
pub(crate) fn begin(pid: Pid) -> Result<(), Errno> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_DETACH reads and writes no memory of ours; its last two arguments are numbers.
    let result = unsafe { libc::ptrace(libc::PTRACE_DETACH, pid.as_raw_nonzero().get(), none, none) };
    checked(result).map(drop)
}

/// In the new process: its parent is told when it has executed its program (ptrace(2), PTRACE_TRACEME), and it
/// stands still until that lets it go.
fn wait_after_exec() -> Result<(), Errno> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_TRACEME ignores its other arguments.
    checked(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, none, none) }).map(drop)
}

type Failure = (Step, Errno);

/// In the new process. Comes back only when something failed.
fn run_child(program: &Program, given: &Given<'_>, path: &CStr, places: Places<'_>) -> Failure {
    match prepare_child(program, given, places.groups, places.high) {
        Err(failure) => failure,
        Ok(()) => {
            for (place, variable) in places.environment.iter_mut().zip(places.pid_variables.iter_mut()) {
                write_pid(variable);
                *place = variable.as_ptr().cast();
            }
            // SAFETY: both arrays end with a null pointer and point to NUL-terminated strings that live.
            unsafe { libc::execve(path.as_ptr(), places.argv.as_ptr(), places.environment.as_ptr()) };
            (Step::Executing, last_errno())
        }
    }
}

/// Here and not in init, because a disk may hang. A link on the way could lead into what is not the service's.
fn make_directories(program: &Program) -> Result<(), Errno> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchmod, fchown, mkdirat, openat2};
    for Directory { path, own } in &program.directories {
        match mkdirat(CWD, path, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        if *own {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
            fchown(&directory, Some(Uid::from_raw(program.uid)), Some(Gid::from_raw(program.gid)))?;
            fchmod(&directory, Mode::from_bits_truncate(0o700))?;
        }
    }
    Ok(())
}

/// Here and not in init, for the same reason. Without the stamp a missed run is not made up for.
fn leave_stamp(stamp: &CStr) {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    for directory in [c"/data/init", c"/data/init/timers"] {
        // It is there after the first time.
        let _ = mkdirat(CWD, directory, Mode::from_bits_truncate(0o755));
    }
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let _ = openat(CWD, stamp, flags, Mode::from_bits_truncate(0o644));
}

fn prepare_child(
    program: &Program,
    given: &Given<'_>,
    groups: &[Gid],
    high: &mut [RawFd],
) -> Result<(), Failure> {
    let at = |step: Step| move |errno: Errno| (step, errno);
    let _ = rustix::process::setsid();
    reset_signals().map_err(at(Step::Signals))?;
    place_descriptors(program, given, high).map_err(at(Step::Descriptors))?;
    set_priority(program).map_err(at(Step::Priority))?;
    make_directories(program).map_err(at(Step::Directories))?;
    if let Some(stamp) = &program.stamp {
        leave_stamp(stamp);
    }
    let sandbox = &program.sandbox;
    let all = CapabilitySet::from_bits_retain(program.capabilities);
    let image = sandbox.open_image().map_err(at(Step::Image))?;
    sandbox.leave_namespaces().map_err(at(Step::Namespaces))?;
    sandbox.arrange_mounts(image).map_err(at(Step::Mounts))?;
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o022));
    rustix::process::chdir(program.directory.as_c_str()).map_err(at(Step::Directory))?;
    let rules = sandbox.make_rules().map_err(at(Step::Files))?;
    // Not earlier: until exec the descriptors of init are open here too, and new ones come behind them.
    let limit = |n| Rlimit { current: Some(n), maximum: Some(n) };
    setrlimit(Resource::Nofile, limit(program.open_files)).map_err(at(Step::Limits))?;
    setrlimit(Resource::Core, limit(0)).map_err(at(Step::Limits))?;
    kernel::bound_capabilities(all).map_err(at(Step::Bounding))?;
    let keep = !all.is_empty();
    rustix::thread::set_keep_capabilities(keep).map_err(at(Step::User))?;
    rustix::thread::set_thread_groups(groups).map_err(at(Step::User))?;
    let (uid, gid) = (Uid::from_raw(program.uid), Gid::from_raw(program.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at(Step::User))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at(Step::User))?;
    // What a root program gets at exec is cut by the bounding set; another user's needs the ambient set.
    let inheritable = if program.uid == 0 { CapabilitySet::empty() } else { all };
    let sets = CapabilitySets { effective: all, permitted: all, inheritable };
    rustix::thread::set_capabilities(None, sets).map_err(at(Step::Capabilities))?;
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if inheritable.contains(one) {
            rustix::thread::configure_capability_in_ambient_set(one, true).map_err(at(Step::Capabilities))?;
        }
    }
    rustix::thread::set_no_new_privs(true).map_err(at(Step::Privileges))?;
    if program.waits {
        wait_after_exec().map_err(at(Step::Waiting))?;
    }
    sandbox.close(rules.as_ref()).map_err(at(Step::Closing))
}

/// Put the decimal digits of our pid behind the `=`, without leading zeros: some readers take those for
/// octal numbers.
fn write_pid(variable: &mut [u8]) {
    let pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    let digits = pid.checked_ilog10().unwrap_or(0);
    let start = variable.iter().position(|byte| *byte == b'=').unwrap_or(0) + 1;
    for (place, byte) in (0..=digits).rev().zip(variable.iter_mut().skip(start)) {
        *byte = b'0' + (pid / 10u32.pow(place) % 10) as u8;
    }
    if let Some(end) = variable.get_mut(start + 1 + digits as usize) {
        *end = 0;
    }
}

/// Nothing blocked, nothing ignored: what PID 1 needs is not what a service expects. Handlers went with
/// CLONE_CLEAR_SIGHAND, which leaves alone what is ignored: SIGPIPE, by the runtime of this language.
fn reset_signals() -> Result<(), Errno> {
    // SAFETY: an all-zero sigset_t is a valid place for sigemptyset to write to, and SIG_DFL is a valid
    // disposition.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// How the scheduler and the kernel's search for memory look at it. In a container init may lack the power to
/// prefer it; that keeps no service from starting.
fn set_priority(program: &Program) -> Result<(), Errno> {
    let unless_forbidden = |outcome: Result<(), Errno>| match outcome {
        Err(Errno::ACCESS | Errno::PERM) => Ok(()),
        other => other,
    };
    if let Some(score) = &program.oom_score {
        use rustix::fs::{CWD, Mode, OFlags, openat};
        let path = c"/proc/self/oom_score_adj";
        let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        unless_forbidden(rustix::io::write(&file, score.as_bytes()).map(drop))?;
    }
    match program.nice {
        0 => Ok(()),
        nice => unless_forbidden(rustix::process::setpriority_process(None, nice)),
    }
}

/// Move all sources out of the way, then each to its number; everything else closes at exec.
fn place_descriptors(program: &Program, given: &Given<'_>, high: &mut [RawFd]) -> Result<(), Errno> {
    // SAFETY: plain descriptor calls on numbers that are open; the result is checked.
    unsafe {
        for (source, copy) in given.descriptors.iter().zip(high.iter_mut()) {
            *copy = libc::fcntl(source.as_raw_fd(), libc::F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
            if *copy < 0 {
                return Err(last_errno());
            }
        }
        for (number, copy) in program.numbers.iter().zip(high.iter()) {
            if libc::dup3(*copy, *number, 0) < 0 {
                return Err(last_errno());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_step_and_the_error() {
        assert_eq!(STEPS.len(), Step::Executing as usize + 1);
        let mut report = [Step::Mounts as u8; REPORT_BYTES];
        report[1..].copy_from_slice(&libc::EBUSY.to_ne_bytes());
        assert_eq!(
            read_report(report),
            "failed while arranging its mounts: Device or resource busy (os error 16)"
        );
    }

    #[test]
    fn a_process_id_is_written_without_leading_zeros() {
        let mut variable = b"LISTEN_PID=0000000000\0".to_vec();
        write_pid(&mut variable);
        let pid = std::process::id().to_string();
        assert!(variable.starts_with(format!("LISTEN_PID={pid}\0").as_bytes()));
    }
}
