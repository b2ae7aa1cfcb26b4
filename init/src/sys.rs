//! What rustix does not offer: making a process in its cgroup, executing a program, signals as a
//! descriptor. The only module with `unsafe`.

use rustix::process::{Gid, Pid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

/// Everything that a new process needs, prepared before it exists: between clone and exec nothing is
/// allocated and nothing can panic.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) argv: &'a [CString],
    /// Without `LISTEN_PID`, which is not known yet.
    pub(crate) environment: &'a [CString],
    /// What becomes descriptor 0, 1, 2, …
    pub(crate) descriptors: &'a [BorrowedFd<'a>],
    /// Where the process reports why it could not execute the program; closed by a successful exec.
    /// Its number is at least [`OUT_OF_THE_WAY`].
    pub(crate) report: BorrowedFd<'a>,
    pub(crate) cgroup: BorrowedFd<'a>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: &'a [u32],
    pub(crate) capabilities: CapabilitySet,
    /// Whether it gets an empty network of its own.
    pub(crate) own_network: bool,
    pub(crate) open_files: u64,
}

/// Descriptors from this number on do not collide with those that a program is given.
pub(crate) const OUT_OF_THE_WAY: RawFd = 512;

/// What the process was doing when it failed, and the errno; the report on the wire.
pub(crate) const REPORT_BYTES: usize = 5;

/// In the order of [`run_child`].
const STEPS: &[&str] = &[
    "resetting its signals",
    "placing its descriptors",
    "setting its resource limits",
    "making its network namespace",
    "entering its directory",
    "cutting its capability bounding set",
    "becoming its user",
    "setting its capabilities",
    "forbidding new privileges",
    "executing its program",
];

/// The report as a sentence.
pub(crate) fn read_report(report: [u8; REPORT_BYTES]) -> String {
    let [step, errno @ ..] = report;
    let what = STEPS.get(usize::from(step)).unwrap_or(&"starting");
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
    format!("failed while {what}: {error}")
}

/// `struct clone_args` of linux/sched.h, version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Make a process in its cgroup that becomes this program. Returns it and its pidfd.
pub(crate) fn spawn(program: &Program<'_>) -> io::Result<(Pid, OwnedFd)> {
    let argv: Vec<*const c_char> = pointers(program.argv);
    // The process fills its own id into this string; the width fits every pid.
    let mut listen_pid = *b"LISTEN_PID=0000000000\0";
    let mut environment: Vec<*const c_char> = vec![std::ptr::null()];
    environment.extend(pointers(program.environment));
    let groups: Vec<Gid> = program.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let mut high: Vec<RawFd> = vec![-1; program.descriptors.len()];
    let mut pidfd: RawFd = -1;
    const CLONE_PIDFD: u64 = 0x1000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let args = CloneArgs {
        flags: CLONE_PIDFD | CLONE_INTO_CGROUP,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: u64::try_from(program.cgroup.as_raw_fd()).unwrap_or(0),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a valid clone_args of this size and outlives the call. Without CLONE_VM the
    // child has its own copy of our memory and its own return from here. This process has one thread,
    // so no lock is held by a thread that the child does not have.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if result == 0 {
        let (step, error) = run_child(program, &argv, &mut environment, &mut listen_pid, &groups, &mut high);
        let errno = error.raw_os_error();
        let mut report = [step; REPORT_BYTES];
        report[1..].copy_from_slice(&errno.to_ne_bytes());
        let _ = rustix::io::write(program.report, &report);
        // SAFETY: _exit runs no destructors, so nothing of the parent's state is touched twice.
        unsafe { libc::_exit(127) }
    }
    let pid = i32::try_from(result).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    let Some(pid) = pid else { return Err(io::Error::last_os_error()) };
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so the kernel stored a new descriptor that nobody owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid, pidfd))
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

type Failure = (u8, rustix::io::Errno);

/// In the new process. Comes back only when something failed.
fn run_child(
    program: &Program<'_>,
    argv: &[*const c_char],
    environment: &mut [*const c_char],
    listen_pid: &mut [u8],
    groups: &[Gid],
    high: &mut [RawFd],
) -> Failure {
    match prepare_child(program, groups, high) {
        Err(failure) => failure,
        Ok(()) => {
            write_pid(listen_pid);
            environment[0] = listen_pid.as_ptr().cast();
            // SAFETY: both arrays end with a null pointer and point to NUL-terminated strings that live.
            unsafe { libc::execve(argv[0], argv.as_ptr(), environment.as_ptr()) };
            (9, last_errno())
        }
    }
}

fn last_errno() -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(rustix::io::Errno::INVAL)
}

fn prepare_child(program: &Program<'_>, groups: &[Gid], high: &mut [RawFd]) -> Result<(), Failure> {
    let at = |step: u8| move |errno: rustix::io::Errno| (step, errno);
    let _ = rustix::process::setsid();
    reset_signals().map_err(at(0))?;
    // First, because the limit of open files may be lower than the numbers that are used on the way.
    place_descriptors(program, high).map_err(at(1))?;
    let limit = |n| Rlimit { current: Some(n), maximum: Some(n) };
    setrlimit(Resource::Nofile, limit(program.open_files)).map_err(at(2))?;
    setrlimit(Resource::Core, limit(0)).map_err(at(2))?;
    if program.own_network {
        // SAFETY: only CLONE_NEWNET, which leaves memory and descriptors as they are.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(at(3))?;
    }
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o022));
    rustix::process::chdir(c"/").map_err(at(4))?;
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if !program.capabilities.contains(one) {
            match rustix::thread::remove_capability_from_bounding_set(one) {
                // The kernel knows no capability of this number, nor any above it.
                Err(rustix::io::Errno::INVAL) => break,
                other => other.map_err(at(5))?,
            }
        }
    }
    let keep = !program.capabilities.is_empty();
    rustix::thread::set_keep_capabilities(keep).map_err(at(6))?;
    rustix::thread::set_thread_groups(groups).map_err(at(6))?;
    let (uid, gid) = (Uid::from_raw(program.uid), Gid::from_raw(program.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at(6))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at(6))?;
    let all = program.capabilities;
    // What a root program gets at exec is cut by the bounding set; another user's needs the ambient set.
    let inheritable = if program.uid == 0 { CapabilitySet::empty() } else { all };
    let sets = CapabilitySets { effective: all, permitted: all, inheritable };
    rustix::thread::set_capabilities(None, sets).map_err(at(7))?;
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if inheritable.contains(one) {
            rustix::thread::configure_capability_in_ambient_set(one, true).map_err(at(7))?;
        }
    }
    rustix::thread::set_no_new_privs(true).map_err(at(8))
}

/// Put the decimal digits of our pid behind the `=`, without leading zeros: some readers take those for
/// octal numbers.
fn write_pid(listen_pid: &mut [u8]) {
    let pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    let digits = pid.checked_ilog10().unwrap_or(0);
    let start = listen_pid.iter().position(|byte| *byte == b'=').unwrap_or(0) + 1;
    for (place, byte) in (0..=digits).rev().zip(listen_pid.iter_mut().skip(start)) {
        *byte = b'0' + (pid / 10u32.pow(place) % 10) as u8;
    }
    if let Some(end) = listen_pid.get_mut(start + 1 + digits as usize) {
        *end = 0;
    }
}

/// Nothing blocked, nothing ignored: what PID 1 needs is not what a service expects.
fn reset_signals() -> rustix::io::Result<()> {
    // SAFETY: an all-zero sigset_t is a valid place for sigemptyset to write to, and SIG_DFL is a valid
    // disposition; signals whose disposition cannot be changed are left alone by the kernel.
    unsafe {
        for number in 1..=64 {
            libc::signal(number, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// Move all sources out of the way, then each to its number; everything else closes at exec.
fn place_descriptors(program: &Program<'_>, high: &mut [RawFd]) -> rustix::io::Result<()> {
    // SAFETY: plain descriptor calls on numbers that are open; the result is checked.
    unsafe {
        for (source, copy) in program.descriptors.iter().zip(high.iter_mut()) {
            *copy = libc::fcntl(source.as_raw_fd(), libc::F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
            if *copy < 0 {
                return Err(last_errno());
            }
        }
        for (number, copy) in (0..).zip(high.iter()) {
            if libc::dup3(*copy, number, 0) < 0 {
                return Err(last_errno());
            }
        }
    }
    Ok(())
}

/// Execute a program in place of this one, with our environment and one more variable. Comes back
/// only with an error.
pub(crate) fn execute(path: &CStr, variable: &str) -> io::Error {
    let mut strings: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec()).ok()
        })
        .collect();
    strings.extend(CString::new(variable).ok());
    let environment = pointers(&strings);
    let argv = [path.as_ptr(), std::ptr::null()];
    // SAFETY: both arrays end with a null pointer and point to NUL-terminated strings that live.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Signals that reach PID 1 through a descriptor instead of a handler.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Block these signals and receive them here.
    pub(crate) fn open(numbers: &[i32]) -> io::Result<Self> {
        // SAFETY: `set` is initialised by sigemptyset before it is used; the results are checked; the
        // descriptor is new and owned by nobody else.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for number in numbers {
                libc::sigaddset(&raw mut set, *number);
            }
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// For the event loop.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The next signal that waits.
    pub(crate) fn next(&self) -> Option<i32> {
        // struct signalfd_siginfo is 128 bytes and begins with the signal's number.
        let mut info = [0; 128];
        match rustix::io::read(&self.fd, &mut info[..]) {
            Ok(128) => {
                let [a, b, c, d, ..] = info;
                i32::try_from(u32::from_ne_bytes([a, b, c, d])).ok()
            }
            _ => None,
        }
    }
}
