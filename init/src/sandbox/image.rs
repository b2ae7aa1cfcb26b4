//! A service whose root directory is a signed image.
//!
//! The new process opens the file, reads all of it once and compares it with what a trusted maker signed; then the kernel
//! mounts erofs from that very descriptor (since 6.12 it needs no loop device for that), and `pivot_root` leaves nothing of
//! the machine's files behind but what is listed here. An image that was altered while the machine was off is found; what
//! alters the disk behind the kernel's back while the service runs is not (that would take fs-verity).
//!
//! The root is put together below [`AT`], in the mount namespace of the service.

use super::{Sandbox, landlock, mounts};
use aios_extension::{Flaw, Keys};
use aios_sandbox::{Attributes, Errno, change_mount};
use aios_unit::Unit;
use mounts::{INERT, NO_DEVICES, NO_SETUID, READ_ONLY, attach, copy, made};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, open, openat2};
use rustix::mount::{UnmountFlags, unmount};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Where the root is put together; every machine has this directory.
const AT: &CStr = c"/tmp";
/// Of the machine's files these are bound into the root when they are named; other paths are the image's.
const MACHINES: [&str; 3] = ["/data", "/run", "/models"];
/// What each of these directories may hold that only has mount points in it.
const FEW: [(&CStr, &CStr); 3] = [(c"mode", c"0755"), (c"size", c"64k"), (c"nr_inodes", c"256")];

/// Whether a path is the machine's, seen from a service with an image.
pub(super) fn is_machines(path: &Path) -> bool {
    MACHINES.iter().any(|place| path.starts_with(place))
}

/// An image as the root directory, and what of the machine is seen in it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Root {
    image: CString,
    binds: Vec<Bind>,
}

/// Something of the machine's.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bind {
    from: CString,
    to: CString,
    /// The directories on the way to it, those above first.
    above: Vec<CString>,
    writable: bool,
}

/// The root of a service that has an image.
pub(super) fn root(unit: &Unit) -> Option<Root> {
    let image = super::c_path(unit.root_image.as_ref()?)?;
    let writable = super::writable(unit).into_iter().map(|path| (path, true));
    let read = unit.sandbox.read.iter().map(|path| (path.as_path(), false));
    let notify = (Path::new(crate::notify::SOCKET), false);
    let mut named: Vec<(&Path, bool)> =
        writable.chain(read).chain([notify]).filter(|(path, _)| is_machines(path)).collect();
    // What lies below another one comes with it.
    named.sort_unstable();
    named.dedup_by(|(below, _), (above, _)| below.starts_with(above));
    let devices = landlock::DEVICES.map(|node| (Path::new(OsStr::from_bytes(node.to_bytes())), true));
    let binds =
        named.into_iter().chain(devices).filter_map(|(path, writable)| bind(path, writable)).collect();
    Some(Root { image, binds })
}

fn bind(path: &Path, writable: bool) -> Option<Bind> {
    let below = |path: &Path| {
        super::c_path(OsString::from_vec([AT.to_bytes(), path.as_os_str().as_bytes()].concat()))
    };
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|p| p.components().count() > 2).collect();
    above.reverse();
    let above = above.into_iter().filter_map(below).collect();
    Some(Bind { from: super::c_path(path)?, to: below(path)?, above, writable })
}

impl Root {
    /// Open the image and read all of it: a trusted maker signed what is in it.
    pub(super) fn open(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = File::from(openat2(CWD, &self.image, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?);
        let keys = Keys::read(&aios_extension::KEY_FILES.map(Path::new));
        let checked = aios_extension::read_seal(&file, &keys)
            .and_then(|seal| aios_extension::check(&file, &seal, |_| Ok(())));
        match checked {
            Ok(()) => Ok(file.into()),
            Err(Flaw::Unreadable(e)) => Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
            Err(Flaw::Untrusted) => Err(Errno::KEYREJECTED),
            // "Bad message".
            Err(Flaw::NoSeal | Flaw::Altered | Flaw::Manifest(_)) => Err(Errno::BADMSG),
        }
    }
}

/// In a mount namespace of the service's own, all of which is read-only: make the image its root.
pub(super) fn arrange(sandbox: &Sandbox, root: &Root, image: &OwnedFd) -> Result<(), Errno> {
    let mut path = *b"/proc/self/fd/0000000000\0";
    let source = descriptor_path(&mut path, image);
    attach(&made(c"erofs", &[(c"source", source)], READ_ONLY | NO_SETUID | NO_DEVICES)?, AT)?;
    match sandbox.own_proc {
        true => attach(&mounts::own_proc()?, c"/tmp/proc")?,
        false => attach(&copy(c"/proc")?, c"/tmp/proc")?,
    }
    attach(&copy(c"/sys")?, c"/tmp/sys")?;
    if sandbox.own_tmp {
        attach(&sandbox.own_tmp()?, c"/tmp/tmp")?;
    }
    let small = [c"/tmp/data", c"/tmp/run", c"/tmp/models", c"/tmp/dev"];
    for place in small {
        attach(&made(c"tmpfs", &FEW, INERT)?, place)?;
    }
    mkdirat(CWD, c"/tmp/dev/shm", Mode::from_bits_truncate(0o755))?;
    attach(&mounts::shared_memory()?, c"/tmp/dev/shm")?;
    for bind in &root.binds {
        bind.make()?;
    }
    for place in small {
        change_mount(CWD, place, Attributes::one().set(READ_ONLY))?;
    }
    // pivot_root(2), "pivot_root(".", ".")": the old root lies on the new one, and is taken from there.
    rustix::process::chdir(AT)?;
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)
}

impl Bind {
    fn make(&self) -> Result<(), Errno> {
        let tree = match copy(&self.from) {
            // What is not there cannot be used, by nobody.
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        for directory in &self.above {
            match mkdirat(CWD, directory, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
        }
        match FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) {
            FileType::Directory => mkdirat(CWD, &self.to, Mode::from_bits_truncate(0o755))?,
            _ => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(open(&self.to, flags, Mode::from_bits_truncate(0o444))?);
            }
        }
        if self.writable {
            change_mount(&tree, c"", Attributes::tree().clear(READ_ONLY))?;
        }
        attach(&tree, &self.to)
    }
}

/// `/proc/self/fd/N` without allocating; the zeros are replaced.
fn descriptor_path<'a>(path: &'a mut [u8; 25], file: &OwnedFd) -> &'a CStr {
    let mut number = file.as_raw_fd().unsigned_abs();
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let start = path.len() - 11;
    for place in path.iter_mut().skip(start).take(digits).rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
    if let Some(end) = path.get_mut(start + digits) {
        *end = 0;
    }
    CStr::from_bytes_until_nul(path).unwrap_or_default()
}
