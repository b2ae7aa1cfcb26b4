//! The system calls that rustix does not offer. The only place with `unsafe`.

use crate::landlock::Effects;
use crate::seccomp::Instruction;
use libc::c_long;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Leave these namespaces for new ones.
pub fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: only namespaces are asked for, which leave memory and descriptors as they are.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// `struct mount_attr` of linux/mount.h, and whether it is for a whole tree.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes {
    recursive: bool,
    attr: MountAttr,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

impl Attributes {
    /// Of one mount.
    pub fn one() -> Self {
        Self::default()
    }

    /// Of a mount and all below it.
    pub fn tree() -> Self {
        Self { recursive: true, ..Self::default() }
    }

    /// Switch these on.
    pub fn set(mut self, flags: MountAttrFlags) -> Self {
        self.attr.set |= u64::from(flags.bits());
        self
    }

    /// Switch these off.
    pub fn clear(mut self, flags: MountAttrFlags) -> Self {
        self.attr.clear |= u64::from(flags.bits());
        self
    }

    /// What is mounted there is no longer seen elsewhere, nor the other way round.
    pub fn private(mut self) -> Self {
        self.attr.propagation = libc::MS_PRIVATE;
        self
    }

    /// What is mounted there is no longer seen elsewhere; what is mounted elsewhere is seen there, if it was until now.
    pub fn following(mut self) -> Self {
        self.attr.propagation = libc::MS_SLAVE;
        self
    }
}

/// Change the attributes of the mount at this path, or at the descriptor when the path is empty.
pub fn change_mount(at: impl AsFd, path: &CStr, attributes: Attributes) -> Result<(), Errno> {
    let recursive = if attributes.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is NUL-terminated and the structure has this size; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_fd().as_raw_fd(),
            path.as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes.attr,
            size_of::<MountAttr>(),
        )
    };
    checked(result).map(drop)
}

/// `struct landlock_ruleset_attr` of linux/landlock.h.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

const VERSION: u32 = 1;
const PATH_BENEATH: c_long = 1;

/// The version of Landlock's interface; 0 when the kernel has none or it is switched off.
pub(crate) fn landlock_version() -> i64 {
    // SAFETY: with this flag the call takes no structure and only returns a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0usize, VERSION)
    };
    version.max(0)
}

pub(crate) fn landlock_create(effects: Effects) -> Result<OwnedFd, Errno> {
    let ruleset = Ruleset { files: effects.files, network: 0, scoped: effects.scoped };
    // SAFETY: the structure has this size and outlives the call; an older kernel takes it as long as what it does not
    // know is zero. The descriptor is new and owned by nobody else.
    unsafe {
        let size = size_of::<Ruleset>();
        let fd = checked(libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size, 0u32))?;
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::BADF)?))
    }
}

pub(crate) fn landlock_allow(
    ruleset: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    allowed: u64,
) -> Result<(), Errno> {
    let rule = Beneath { allowed, parent: file.as_raw_fd() };
    // SAFETY: the structure is the one that this kind of rule takes, and outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), PATH_BENEATH, &raw const rule, 0u32)
    };
    checked(result).map(drop)
}

pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes a descriptor and no memory.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) };
    checked(result).map(drop)
}

/// Memory that is writable never becomes executable, after exec as well (PR_SET_MDWE).
pub fn refuse_write_execute() -> Result<(), Errno> {
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    const NONE: libc::c_ulong = 0;
    // SAFETY: takes numbers and no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_MDWE, REFUSE_EXEC_GAIN, NONE, NONE, NONE) };
    checked(result.into()).map(drop)
}

// What the kernel reads is what we wrote.
const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());

/// From now on the filter decides about each system call of this process and all that it starts.
pub(crate) fn install_filter(filter: &[Instruction]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::TOOBIG)?,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the program has this many instructions of the kernel's layout; the kernel copies and checks it and
    // writes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0u32, &raw const program) };
    checked(result).map(drop)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

fn checked(result: c_long) -> Result<c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// How a process is made (clone(2)).
#[derive(Debug, Default, Clone, Copy)]
pub struct Cloning<'a> {
    /// It is made in this cgroup, an open directory.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// It is a child of our parent, as if that had made it (`CLONE_PARENT`).
    pub sibling: bool,
}

/// Which of the two came back from [`clone`].
#[derive(Debug, PartialEq, Eq)]
pub enum Side {
    /// The new process.
    Child,
    /// The one that made it, with the new one's id.
    Parent(Pid),
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

/// Make a process that goes on from here with a copy of our memory, without any handler of a signal.
///
/// # Safety
/// This process must have one thread: a lock that another one holds would be held for ever in the child. And the
/// child must not run what the caller's callers left to be done; it ends with [`end`] or executes a program.
pub unsafe fn clone(how: Cloning<'_>) -> Result<Side, Errno> {
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // With CLONE_PARENT the signal is the one that the maker itself ends with: SIGCHLD, too.
    let (whose, exit_signal) = match how.sibling {
        true => (libc::CLONE_PARENT as u64, 0),
        false => (0, libc::SIGCHLD as u64),
    };
    let args = CloneArgs {
        flags: CLONE_CLEAR_SIGHAND | whose | how.cgroup.map_or(0, |_| CLONE_INTO_CGROUP),
        exit_signal,
        cgroup: how.cgroup.and_then(|fd| u64::try_from(fd.as_raw_fd()).ok()).unwrap_or(0),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a valid clone_args of this size and outlives the call. Without CLONE_VM the child has its own
    // copy of our memory and its own return from here.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match checked(result)? {
        0 => Ok(Side::Child),
        pid => i32::try_from(pid).ok().and_then(Pid::from_raw).map(Side::Parent).ok_or(Errno::INVAL),
    }
}

/// End this process as it is: nothing of the one that it was copied from is done twice.
pub fn end(code: i32) -> ! {
    // SAFETY: _exit runs no destructors and no handlers.
    unsafe { libc::_exit(code) }
}

/// Make a process that does `work` with a copy of our memory and one descriptor, and ends. It has no handler of a signal,
/// no other descriptor but the standard three, and no way back into what we were about to do; a panic ends it.
///
/// Errors: those of clone(2), and `EBUSY` when this process has several threads.
pub fn fork(how: Cloning<'_>, keep: BorrowedFd<'_>, work: impl FnOnce(OwnedFd)) -> Result<Pid, Errno> {
    // One link more than a directory has for each thread (proc(5)).
    match rustix::fs::stat("/proc/self/task") {
        Ok(stat) if stat.st_nlink <= 3 => {}
        Ok(_) => return Err(Errno::BUSY),
        Err(e) => return Err(e),
    }
    // SAFETY: there is one thread, and the child ends below.
    match unsafe { clone(how) }? {
        Side::Parent(pid) => Ok(pid),
        Side::Child => {
            // Whatever hook there is was made for another process.
            std::panic::set_hook(Box::new(|panic| {
                eprintln!("<3>{panic}");
                end(101);
            }));
            match only(keep) {
                Ok(kept) => work(kept),
                Err(_) => end(102),
            }
            end(0)
        }
    }
}

/// Close all descriptors but the standard three and this one, which gets the number 3.
fn only(keep: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const FIRST: libc::c_int = 3;
    // SAFETY: what is closed belongs to the process that we are a copy of and is not used here any more; nothing of it is
    // dropped either, because this process ends without destructors. The descriptor with the number 3 is owned by nobody
    // else then.
    unsafe {
        if keep.as_raw_fd() != FIRST {
            checked(libc::dup3(keep.as_raw_fd(), FIRST, libc::O_CLOEXEC).into())?;
        }
        checked(libc::syscall(libc::SYS_close_range, FIRST + 1, libc::c_uint::MAX, 0))?;
        Ok(OwnedFd::from_raw_fd(FIRST))
    }
}
