//! File systems: the kernel's own, the disks, and how they are left again.

use super::Place;
use rustix::fs::{CWD, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount};
use std::ffi::CString;
use std::io;
use std::path::Path;

/// No set-uid programs, no device nodes, no programs: what nearly every mount should be.
const INERT: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

struct Virtual {
    kind: &'static str,
    at: &'static str,
    flags: MountFlags,
    options: &'static str,
}

/// The kernel's file systems, in an order in which each finds its place.
const VIRTUAL: &[Virtual] = &[
    Virtual { kind: "proc", at: "/proc", flags: INERT, options: "" },
    Virtual { kind: "sysfs", at: "/sys", flags: INERT, options: "" },
    Virtual {
        kind: "devtmpfs",
        at: "/dev",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        options: "mode=0755",
    },
    Virtual {
        kind: "devpts",
        at: "/dev/pts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        options: "mode=0620,ptmxmode=0666",
    },
    Virtual { kind: "tmpfs", at: "/dev/shm", flags: INERT, options: "mode=1777" },
    Virtual { kind: "tmpfs", at: "/run", flags: INERT, options: "mode=0755" },
    Virtual { kind: "tmpfs", at: "/tmp", flags: INERT, options: "mode=1777" },
    Virtual { kind: "cgroup2", at: "/sys/fs/cgroup", flags: INERT, options: "nsdelegate" },
    Virtual { kind: "securityfs", at: "/sys/kernel/security", flags: INERT, options: "" },
];

/// Mount what has to be there before anything can be said or found: /proc, /sys and /dev.
pub(crate) fn first() -> Vec<String> {
    mount_each(&VIRTUAL[..3])
}

/// Mount the rest of the kernel's file systems.
pub(crate) fn rest() -> Vec<String> {
    let mut faults = mount_each(&VIRTUAL[3..]);
    // Sticks are mounted there while services run, which see that (the sandbox's mount namespaces follow).
    if let Err(e) = rustix::mount::mount_change("/run", MountPropagationFlags::SHARED) {
        faults.push(format!("what is mounted below /run while services run stays hidden from them: {e}"));
    }
    faults
}

/// Mount those that are missing and that show a container nothing of the machine around it.
pub(crate) fn in_container() -> Vec<String> {
    mount_each(VIRTUAL.iter().filter(|v| ["proc", "tmpfs", "cgroup2"].contains(&v.kind)))
}

fn mount_each<'a>(list: impl IntoIterator<Item = &'a Virtual>) -> Vec<String> {
    list.into_iter()
        .filter_map(|v| {
            if is_mount_point(Path::new(v.at)) {
                return None;
            }
            attach(v.kind, v.at, v.kind, v.flags, v.options)
                .err()
                .map(|e| format!("{} cannot be mounted on {}: {e}", v.kind, v.at))
        })
        .collect()
}

/// Whether another file system begins here.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |p: &Path| std::fs::metadata(p).map(|m| m.dev()).ok();
    let here = device(path);
    here.is_some() && path.parent().is_some_and(|parent| device(parent) != here)
}

fn attach(source: &str, at: &str, kind: &str, flags: MountFlags, options: &str) -> io::Result<()> {
    // On a read-only root the directory is there already, or the mount says that it is not.
    let _ = rustix::fs::mkdirat(CWD, at, Mode::from_bits_truncate(0o755));
    let options = CString::new(options)?;
    Ok(mount(source, at, kind, flags, options.as_c_str())?)
}

/// Mount a disk read-only, with programs allowed: the root file system.
pub(crate) fn root(device: &Path, at: &str, kind: &str) -> Result<(), String> {
    let source = device.to_string_lossy();
    attach(&source, at, kind, MountFlags::RDONLY, "")
        .map_err(|e| format!("{source} cannot be mounted as {kind}: {e}"))
}

/// Mount a disk that only holds files to read; tries the file systems that images are made of.
pub(crate) fn read_only(device: &Path, at: &str) -> Result<(), String> {
    let source = device.to_string_lossy();
    let flags = INERT.union(MountFlags::RDONLY);
    let mut tried = Vec::new();
    for kind in ["erofs", "squashfs", "ext4"] {
        match attach(&source, at, kind, flags, "") {
            Ok(()) => return Ok(()),
            Err(e) => tried.push(format!("{kind}: {e}")),
        }
    }
    Err(format!("{source} cannot be mounted on {at} ({})", tried.join("; ")))
}

/// Mount the disk that keeps what must survive.
pub(crate) fn data(device: &Path, at: &str) -> Result<(), String> {
    let source = device.to_string_lossy();
    // After an error nothing more is written: what is damaged would spread.
    attach(&source, at, "ext4", INERT.union(MountFlags::NOATIME), "errors=remount-ro")
        .map_err(|e| format!("{source} cannot be mounted on {at} as ext4: {e}"))
}

/// Memory in place of a disk that is not there.
pub(crate) fn memory(at: &str) -> Result<(), String> {
    attach("tmpfs", at, "tmpfs", INERT, "mode=0755").map_err(|e| format!("no tmpfs on {at}: {e}"))
}

/// Write everything out and leave the disks behind in a clean state. Returns what could not be done.
/// A container leaves that to the machine whose disks they are.
pub(crate) fn leave() -> Vec<String> {
    if Place::find() == Place::Container {
        return Vec::new();
    }
    rustix::fs::sync();
    let mut faults = Vec::new();
    for at in ["/data", "/models"] {
        if !is_mount_point(Path::new(at)) || rustix::mount::unmount(at, UnmountFlags::empty()).is_ok() {
            continue;
        }
        // Something still holds it; without writers it is clean as well.
        if let Err(e) = rustix::mount::mount_remount(at, MountFlags::RDONLY, c"") {
            faults.push(format!("{at} is neither unmounted nor read-only: {e}"));
        }
    }
    rustix::fs::sync();
    faults
}
