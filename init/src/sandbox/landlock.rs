//! Which files a service may touch, whoever owns them (landlock(7)). The rules are made by the new process
//! itself, after its mounts: they hold for what it sees.

use aios_sandbox::Errno;
use aios_sandbox::landlock::{
    ABSTRACT_UNIX_SOCKET, CHANGE, DEVICE, EXECUTE, Effects, READ, READ_DIR, READ_FILE, Ruleset, SIGNAL,
};
use aios_unit::Unit;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::path::Path;

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
    if unit.sandbox.capabilities.intersects(beyond) {
        return None;
    }
    let signals = if unit.sandbox.capabilities.contains(CapabilitySet::KILL) { 0 } else { SIGNAL };
    let Effects { files: restricted, scoped, .. } = Effects::all_files(ABSTRACT_UNIX_SOCKET | signals)?;
    let mut own: Vec<(CString, u64)> = Vec::new();
    let mut allow = |path: &Path, rights| own.extend(super::c_path(path).map(|path| (path, rights)));
    if let Some(program) = unit.exec.first() {
        allow(Path::new(program), READ_FILE | EXECUTE);
    }
    unit.sandbox.read.iter().for_each(|path| allow(path, READ));
    super::writable(unit).into_iter().for_each(|path| allow(path, CHANGE));
    let executes = if unit.sandbox.scratch.is_some() { EXECUTE } else { 0 };
    allow(Path::new("/tmp"), CHANGE | executes);
    if unit.root_image.is_some() {
        // Its own, like its `/tmp`.
        allow(Path::new("/dev/shm"), CHANGE);
    }
    let late = unit.devices.iter().any(|device| !device.exists());
    if late && unit.user.uid != 0 {
        // A node that does not exist yet cannot be named; its owner decides then (see `give_device`).
        allow(Path::new("/dev"), DEVICE | READ_DIR);
    }
    unit.devices.iter().for_each(|device| allow(device, DEVICE));
    own.extend(super::divided(unit).map(|path| (path, CHANGE)));
    Some(Rules { restricted, scoped, own })
}

impl Rules {
    /// In the new process: make the rules known to the kernel. What is not there needs no rule.
    pub(crate) fn make(&self) -> Result<Ruleset, Errno> {
        let effects = Effects { files: self.restricted, scoped: self.scoped };
        let ruleset = Ruleset::new(effects)?;
        let system = SYSTEM.iter().map(|path| (*path, READ));
        let devices = DEVICES.iter().map(|path| (*path, DEVICE));
        let own = self.own.iter().map(|(path, rights)| (path.as_c_str(), *rights));
        for (path, rights) in system.chain(devices).chain(own) {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let file = match openat(CWD, path, flags, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                other => other?,
            };
            ruleset.allow(&file, rights)?;
        }
        Ok(ruleset)
    }
}
