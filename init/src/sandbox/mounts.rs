//! What a service sees of the file systems: all of it, read-only, but for its own directories; a `/proc`
//! without the processes of others; a `/tmp` of its own. In the new process, in a mount namespace of its own.
//!
//! Nothing that happens in the namespace reaches that of init, unless the service is there to mount disks. The other
//! way, disks below `/run` come and go while services run (`aios-usb`); init mounts everything else before. The
//! namespace goes with the last process of the service.

use super::{Sandbox, image, landlock};
use aios_sandbox::{Attributes, Errno, change_mount};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// Memory that files in a service's `/tmp` may take; its cgroup's limit counts them too.
const TMP_SIZE: &CStr = c"64M";
const TMP_FILES: &CStr = c"16384";
/// What is compiled has many.
const SCRATCH_FILES: &CStr = c"262144";

/// Arrange them. Everything is sealed first and opened again where it may be written.
pub(super) fn arrange(sandbox: &Sandbox, image: Option<OwnedFd>) -> Result<(), Errno> {
    // As it is for everybody, with what is mounted there now.
    let common = sandbox.mounts.as_deref().map(|path| Ok((copy(path)?, path))).transpose()?;
    change_mount(CWD, c"/", Attributes::tree().set(READ_ONLY | NO_SETUID).following())?;
    if let (Some(root), Some(image)) = (&sandbox.root, image) {
        return image::arrange(sandbox, root, &image);
    }
    if sandbox.own_proc {
        attach(&own_proc()?, c"/proc")?;
    }
    if sandbox.own_tmp {
        attach(&sandbox.own_tmp()?, c"/tmp")?;
    }
    for path in &sandbox.writable {
        match open_up(path) {
            // What is not there cannot be written, by nobody.
            Err(Errno::NOENT) => {}
            other => other?,
        }
    }
    if let Some(devices) = &sandbox.only_devices {
        change_mount(CWD, c"/dev", Attributes::one().set(NO_DEVICES))?;
        let own = devices.iter().map(|path| path.as_c_str());
        for path in landlock::DEVICES.into_iter().chain(own) {
            let node = copy(path)?;
            change_mount(&node, c"", Attributes::one().clear(NO_DEVICES))?;
            attach(&node, path)?;
        }
    }
    // Last: what was mounted above is its own.
    match common {
        Some((mount, path)) => attach(&mount, path),
        None => Ok(()),
    }
}

pub(super) const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
pub(super) const NO_SETUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
pub(super) const NO_DEVICES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
pub(super) const INERT: MountAttrFlags = NO_SETUID.union(NO_DEVICES).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A `/proc` without the processes of others.
pub(super) fn own_proc() -> Result<OwnedFd, Errno> {
    // Not "invisible", which hides nothing from the group 0.
    made(c"proc", &[(c"hidepid", c"ptraceable")], INERT | READ_ONLY)
}

/// An empty directory in memory, for everybody.
pub(super) fn shared_memory() -> Result<OwnedFd, Errno> {
    in_memory(TMP_SIZE, TMP_FILES, INERT)
}

fn in_memory(size: &CStr, files: &CStr, flags: MountAttrFlags) -> Result<OwnedFd, Errno> {
    made(c"tmpfs", &[(c"mode", c"1777"), (c"size", size), (c"nr_inodes", files)], flags)
}

impl Sandbox {
    /// An empty `/tmp`.
    pub(super) fn own_tmp(&self) -> Result<OwnedFd, Errno> {
        match &self.scratch {
            Some(size) => in_memory(size, SCRATCH_FILES, NO_SETUID | NO_DEVICES),
            None => shared_memory(),
        }
    }
}

/// Make a path writable, as far as its file system is.
pub(super) fn open_up(path: &CStr) -> Result<(), Errno> {
    let writable = Attributes::tree().clear(READ_ONLY);
    match change_mount(CWD, path, writable) {
        // No mount begins there: one is made, of what is there.
        Err(Errno::INVAL) => {
            let tree = copy(path)?;
            change_mount(&tree, c"", writable)?;
            attach(&tree, path)
        }
        other => other,
    }
}

/// A mount of what is at this path, attached nowhere yet.
pub(super) fn copy(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags)
}

/// A file system of the kernel's own, attached nowhere yet.
pub(super) fn made(kind: &CStr, options: &[(&CStr, &CStr)], flags: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

pub(super) fn attach(mount: &OwnedFd, at: &CStr) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(mount.as_fd(), c"", CWD, at, flags)
}
