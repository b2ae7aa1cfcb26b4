//! What closes a sandbox: mount attributes, Landlock, the filter of system calls. All of it is called between
//! clone and exec: nothing is allocated.

use super::{Errno, checked};
use libc::c_long;
use rustix::mount::MountAttrFlags;
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Leave these namespaces for new ones.
pub(crate) fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: only namespaces are asked for, which leave memory and descriptors as they are.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// `struct mount_attr` of linux/mount.h, and whether it is for a whole tree.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attributes {
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
    pub(crate) fn one() -> Self {
        Self::default()
    }

    /// Of a mount and all below it.
    pub(crate) fn tree() -> Self {
        Self { recursive: true, ..Self::default() }
    }

    pub(crate) fn set(mut self, flags: MountAttrFlags) -> Self {
        self.attr.set |= u64::from(flags.bits());
        self
    }

    pub(crate) fn clear(mut self, flags: MountAttrFlags) -> Self {
        self.attr.clear |= u64::from(flags.bits());
        self
    }

    /// What is mounted there is no longer seen elsewhere, nor the other way round.
    pub(crate) fn private(mut self) -> Self {
        self.attr.propagation = libc::MS_PRIVATE;
        self
    }
}

/// Change the attributes of the mount at this path, or at the descriptor when the path is empty.
pub(crate) fn change_mount(at: impl AsFd, path: &CStr, attributes: Attributes) -> Result<(), Errno> {
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

/// The three calls of landlock(7).
pub(crate) mod landlock {
    use super::*;
    use std::os::fd::FromRawFd;

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

    /// The version of the interface; 0 when the kernel has none or it is switched off.
    pub(crate) fn version() -> i64 {
        // SAFETY: with this flag the call takes no structure and only returns a number.
        let version = unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0usize, VERSION)
        };
        version.max(0)
    }

    /// A ruleset that forbids these rights to files and these effects on others.
    pub(crate) fn create(files: u64, scoped: u64) -> Result<OwnedFd, Errno> {
        let ruleset = Ruleset { files, network: 0, scoped };
        // SAFETY: the structure has this size and outlives the call; an older kernel takes it as long as what
        // it does not know is zero. The descriptor is new and owned by nobody else.
        unsafe {
            let size = size_of::<Ruleset>();
            let fd =
                checked(libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size, 0u32))?;
            Ok(OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::BADF)?))
        }
    }

    /// Allow these rights at and below a file.
    pub(crate) fn allow(ruleset: &OwnedFd, file: &OwnedFd, allowed: u64) -> Result<(), Errno> {
        let rule = Beneath { allowed, parent: file.as_raw_fd() };
        // SAFETY: the structure is the one that this kind of rule takes, and outlives the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset.as_raw_fd(),
                PATH_BENEATH,
                &raw const rule,
                0u32,
            )
        };
        checked(result).map(drop)
    }

    /// From now on the rules hold for this process and all that it starts.
    pub(crate) fn restrict(ruleset: &OwnedFd) -> Result<(), Errno> {
        // SAFETY: takes a descriptor and no memory.
        let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) };
        checked(result).map(drop)
    }
}

/// Memory that is writable never becomes executable, after exec as well (PR_SET_MDWE).
pub(crate) fn refuse_write_execute() -> Result<(), Errno> {
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    const NONE: libc::c_ulong = 0;
    // SAFETY: takes numbers and no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_MDWE, REFUSE_EXEC_GAIN, NONE, NONE, NONE) };
    checked(result.into()).map(drop)
}

/// One instruction of a filter: `struct sock_filter` of linux/filter.h, in a form that can be sent.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
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
