//! Which files a service may touch, whoever owns them (landlock(7)). The rules are made by the new process
//! itself, after its mounts: they hold for what it sees.

use crate::sys::{Errno, landlock};
use aios_unit::Unit;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

// LANDLOCK_ACCESS_FS_… of linux/landlock.h.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
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

// LANDLOCK_SCOPE_… of linux/landlock.h.
const ABSTRACT_UNIX_SOCKET: u64 = 1;
const SIGNAL: u64 = 1 << 1;

/// What is restricted by the kernels that know version 1, 2, 3 and 5 of the interface.
const KNOWN_SINCE: [(i64, u64); 4] = [(1, (1 << 13) - 1), (2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)];
/// The version that knows scopes.
const SCOPES_SINCE: i64 = 6;

const READ: u64 = READ_FILE | READ_DIR | EXECUTE;
const DEVICE: u64 = READ_FILE | WRITE_FILE | IOCTL_DEV;
/// Not among it: device nodes, and programs that the service has written itself.
const CHANGE: u64 = READ_FILE
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

/// Everybody may read these and start programs from them.
const SYSTEM: [&CStr; 8] = [c"/usr", c"/bin", c"/sbin", c"/lib", c"/lib64", c"/etc", c"/proc", c"/sys"];
/// Device nodes without power.
pub(super) const DEVICES: [&CStr; 5] =
    [c"/dev/null", c"/dev/zero", c"/dev/full", c"/dev/random", c"/dev/urandom"];

/// The rules of a service.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    restricted: u64,
    scoped: u64,
    own: Vec<(CString, u64)>,
}

/// The rules of a service; none where Landlock cannot be had. Landlock forbids mounting and looking into other
/// processes, whatever capabilities say: a service that has these gets its bars at the mounts instead.
pub(super) fn rules(unit: &Unit) -> Option<Rules> {
    let beyond = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE;
    let version = landlock::version();
    if version < 1 || unit.sandbox.capabilities.intersects(beyond) {
        return None;
    }
    let known = KNOWN_SINCE.iter().filter(|(since, _)| *since <= version);
    let restricted = known.fold(0, |all, (_, rights)| all | rights);
    let signals = if unit.sandbox.capabilities.contains(CapabilitySet::KILL) { 0 } else { SIGNAL };
    let scoped = if version < SCOPES_SINCE { 0 } else { ABSTRACT_UNIX_SOCKET | signals };
    let mut own: Vec<(CString, u64)> = Vec::new();
    let mut allow = |path: &Path, rights| own.extend(super::c_path(path).map(|path| (path, rights)));
    if let Some(program) = unit.exec.first() {
        allow(Path::new(program), READ_FILE | EXECUTE);
    }
    unit.sandbox.read.iter().for_each(|path| allow(path, READ));
    super::writable(unit).into_iter().for_each(|path| allow(path, CHANGE));
    allow(Path::new("/tmp"), CHANGE);
    let late = unit.devices.iter().any(|device| !device.exists());
    if late && unit.user.uid != 0 {
        // A node that does not exist yet cannot be named; its owner decides then (see `give_device`).
        allow(Path::new("/dev"), DEVICE | READ_DIR);
    }
    unit.devices.iter().for_each(|device| allow(device, DEVICE));
    Some(Rules { restricted, scoped, own })
}

impl Rules {
    /// In the new process: make the rules known to the kernel. What is not there needs no rule.
    pub(crate) fn make(&self) -> Result<OwnedFd, Errno> {
        let ruleset = landlock::create(self.restricted, self.scoped)?;
        let system = SYSTEM.iter().map(|path| (*path, READ));
        let devices = DEVICES.iter().map(|path| (*path, DEVICE));
        let own = self.own.iter().map(|(path, rights)| (path.as_c_str(), *rights));
        for (path, rights) in system.chain(devices).chain(own) {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let file = match openat(CWD, path, flags, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                other => other?,
            };
            let rights = rights & self.restricted;
            match landlock::allow(&ruleset, &file, rights) {
                // It is a file and no directory.
                Err(Errno::INVAL) => landlock::allow(&ruleset, &file, rights & OF_FILES)?,
                other => other?,
            }
        }
        Ok(ruleset)
    }
}
