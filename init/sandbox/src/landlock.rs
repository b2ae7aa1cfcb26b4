//! Which files a process may touch, whoever owns them (landlock(7)).

use crate::sys;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

// LANDLOCK_ACCESS_FS_… of linux/landlock.h.
/// Execute a file.
pub const EXECUTE: u64 = 1;
/// Open a file for writing.
const WRITE_FILE: u64 = 1 << 1;
/// Open a file for reading.
pub const READ_FILE: u64 = 1 << 2;
/// List a directory.
pub const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// Read and list, and start programs.
pub const READ: u64 = READ_FILE | READ_DIR | EXECUTE;
/// Use a device.
pub const DEVICE: u64 = READ_FILE | WRITE_FILE | IOCTL_DEV;
/// Change whatever is there. Not among it: device nodes, and starting programs that the process has written itself.
pub const CHANGE: u64 = READ_FILE
    | READ_DIR
    | WRITE_FILE
    | TRUNCATE
    | REMOVE_DIR
    | REMOVE_FILE
    | MAKE_DIR
    | MAKE_REG
    | MAKE_SOCK
    | MAKE_FIFO
    | MAKE_SYM
    | REFER;
/// What there is to allow at a file; more is an error there.
const OF_FILES: u64 = EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV;

// LANDLOCK_SCOPE_… of linux/landlock.h.
/// Abstract Unix sockets of others are out of reach.
pub const ABSTRACT_UNIX_SOCKET: u64 = 1;
/// Signals reach no others.
pub const SIGNAL: u64 = 1 << 1;

/// What is restricted by the kernels that know version 1, 2, 3 and 5 of the interface.
const KNOWN_SINCE: [(i64, u64); 4] = [(1, (1 << 13) - 1), (2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)];
/// The version that knows scopes.
const SCOPES_SINCE: i64 = 6;

/// What a ruleset restricts: bits of the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effects {
    /// Rights to files that exist only where a rule gives them.
    pub files: u64,
    /// Effects on others that are out of reach.
    pub scoped: u64,
}

impl Effects {
    /// All rights to files that this kernel can restrict, and these scopes if it knows scopes; nothing where there
    /// is no Landlock.
    pub fn all_files(scoped: u64) -> Option<Self> {
        let version = version();
        if version < 1 {
            return None;
        }
        let known = KNOWN_SINCE.iter().filter(|(since, _)| *since <= version);
        let files = known.fold(0, |all, (_, rights)| all | rights);
        Some(Self { files, scoped: if version < SCOPES_SINCE { 0 } else { scoped } })
    }
}

/// The version of the interface; 0 when the kernel has none or it is switched off.
pub fn version() -> i64 {
    sys::landlock_version()
}

/// Rules that do not hold yet.
#[derive(Debug)]
pub struct Ruleset {
    rules: OwnedFd,
    restricted: u64,
}

impl Ruleset {
    /// Nothing of this is allowed.
    pub fn new(effects: Effects) -> Result<Self, Errno> {
        Ok(Self { rules: sys::landlock_create(effects)?, restricted: effects.files })
    }

    /// Allow these rights at a file, or at and below a directory.
    pub fn allow(&self, file: impl AsFd, rights: u64) -> Result<(), Errno> {
        let rights = rights & self.restricted;
        match sys::landlock_allow(self.rules.as_fd(), file.as_fd(), rights) {
            // It is a file and no directory.
            Err(Errno::INVAL) => sys::landlock_allow(self.rules.as_fd(), file.as_fd(), rights & OF_FILES),
            other => other,
        }
    }

    /// From now on the rules hold for this process and all that it starts; it must not gain privileges any more
    /// (`no_new_privs`).
    pub fn restrict(&self) -> Result<(), Errno> {
        sys::landlock_restrict(self.rules.as_fd())
    }
}
