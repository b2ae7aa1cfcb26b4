//! Files, safely: a path is resolved first, the policy decides on what it resolved to, and the work
//! is done on that very descriptor (openat2(2)). Nothing here trusts the text of a path.

use crate::attributes::Attributes;
use crate::ctx::Ctx;
use crate::policy::{Policy, Readable};
use aios_abi::{CallError, ErrorCode};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The largest file in bytes that can be changed: its old content is saved for undo.
pub const MAX_CHANGED: u64 = 16 * 1024 * 1024;

/// Something that a path resolved to, held by a descriptor that cannot read or write (`O_PATH`).
pub struct Found {
    handle: OwnedFd,
    /// Its real path.
    pub path: PathBuf,
    /// Its facts.
    pub stat: Stat,
}

impl Found {
    /// What kind of thing it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// A path that leads to the very thing that was found, for calls that take no descriptor.
    pub fn itself(&self) -> String {
        own_fd(&self.handle)
    }

    /// Open it for reading: the very thing that was found, whatever its path names by now.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd, CallError> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::open(own_fd(&self.handle), flags, Mode::empty()).map_err(|e| error(&self.path, e))
    }
}

fn own_fd(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

pub(crate) fn error(path: &Path, errno: Errno) -> CallError {
    let base = CallError::from(std::io::Error::from(errno));
    let text = match errno {
        Errno::NOENT => format!("{} does not exist", path.display()),
        Errno::NOTDIR => format!("{}: a part of the path is no directory", path.display()),
        Errno::LOOP => format!(
            "{}: a symbolic link is on the way; name the real path, links are not followed here",
            path.display()
        ),
        Errno::NOSPC => format!("{}: no space is left on the device", path.display()),
        Errno::ROFS => format!("{}: this file system is read-only", path.display()),
        errno => format!("{}: {}", path.display(), std::io::Error::from(errno)),
    };
    let code = match errno {
        Errno::LOOP | Errno::ROFS => ErrorCode::Denied,
        Errno::NOTDIR => ErrorCode::NotFound,
        _ => base.code,
    };
    CallError::new(code, text)
}

fn absolute(path: &str) -> Result<&Path, CallError> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(CallError::invalid(format!(
            "`{}` is not an absolute path; it must start with /",
            path.display()
        )));
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(CallError::invalid("a path cannot contain a zero byte"));
    }
    Ok(path)
}

/// Resolve a path; symbolic links are followed, the magic ones of `/proc` are not. `last` says
/// whether a link at the very end is followed too.
pub fn find(path: &str, follow_last: bool) -> Result<Found, CallError> {
    let path = absolute(path)?;
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if !follow_last {
        flags |= OFlags::NOFOLLOW;
    }
    let handle =
        rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
            .map_err(|e| error(path, e))?;
    let real = real_path(&handle)?;
    let stat = rustix::fs::fstat(&handle).map_err(|e| error(path, e))?;
    Ok(Found { handle, path: real, stat })
}

fn real_path(handle: &OwnedFd) -> Result<PathBuf, CallError> {
    let link = std::fs::read_link(own_fd(handle))?;
    if !link.is_absolute() || link.as_os_str().as_bytes().ends_with(b" (deleted)") {
        return Err(CallError::not_found(format!("{} has no place in the file system", link.display())));
    }
    Ok(link)
}

/// Find a regular file that this caller may read, and open it.
pub fn open_for_reading(ctx: &Ctx, path: &str) -> Result<(File, Found), CallError> {
    let found = find(path, true)?;
    match found.kind() {
        FileType::RegularFile => {}
        FileType::Directory => {
            return Err(CallError::invalid(format!(
                "{} is a directory; fs.list shows what is in it",
                found.path.display()
            )));
        }
        other => {
            return Err(CallError::denied(format!(
                "{} is no regular file but a {}; only regular files are read",
                found.path.display(),
                kind_name(other)
            )));
        }
    }
    let facts = Readable {
        path: &found.path,
        alias_of_secret: found.stat.st_nlink > 1 && is_secret(ctx, &found.stat),
    };
    ctx.may_read(&facts, found.stat.st_mode)?;
    let file = File::from(found.open(OFlags::empty())?);
    Ok((file, found))
}

/// Bytes and BLAKE3 of all that is read here, as long as the call has time.
pub(crate) fn hash_of(ctx: &Ctx, content: &mut impl Read) -> Result<(u64, blake3::Hash), CallError> {
    let (mut hasher, mut bytes, mut piece) = (blake3::Hasher::new(), 0, vec![0; 128 << 10]);
    loop {
        ctx.check()?;
        let length = content.read(&mut piece)?;
        match piece.get(..length) {
            None | Some([]) => return Ok((bytes, hasher.finalize())),
            Some(part) => hasher.update(part),
        };
        bytes += length as u64;
    }
}

/// Whether a file with several names has one of them among the secrets. Where that cannot be found out it has.
pub(crate) fn is_secret(ctx: &Ctx, stat: &Stat) -> bool {
    let same = |path: &Path| {
        rustix::fs::lstat(path).is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino))
    };
    // Two names of a file are on one file system.
    let beside = |place: &Path| rustix::fs::lstat(place).is_ok_and(|other| other.st_dev == stat.st_dev);
    ctx.policy.secret.iter().filter(|place| beside(place)).any(|place| {
        same(place)
            || match std::fs::read_dir(place) {
                Ok(entries) => entries.flatten().take(10_000).any(|entry| same(&entry.path())),
                Err(e) => !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
            }
    })
}

/// What people call this kind of file.
pub fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Unknown => "thing of unknown kind",
    }
}

/// Owner, permissions, times and attributes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last access: seconds and nanoseconds.
    pub accessed: (i64, i64),
    /// Last change of the content: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Extended attributes; none leaves those with which the file is made.
    #[serde(default)]
    pub attributes: Option<Attributes>,
}

impl Facts {
    /// The facts of a file that is new.
    pub fn new(mode: u32, (uid, gid): (u32, u32)) -> Self {
        Self { mode, uid, gid, accessed: (0, 0), modified: (0, 0), attributes: None }
    }

    /// The facts that undo restores.
    pub fn of(stat: &Stat, attributes: Attributes) -> Self {
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            accessed: (stat.st_atime, stat.st_atime_nsec.cast_signed()),
            modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            attributes: Some(attributes),
        }
    }

    /// Give them to an open file or directory; its times only if they are asked for.
    pub(crate) fn give(&self, file: impl AsFd, times: bool, path: &Path) -> Result<(), CallError> {
        let at = |e: Errno| error(path, e);
        let made = rustix::fs::fstat(&file).map_err(at)?;
        if (made.st_uid, made.st_gid) != (self.uid, self.gid) {
            own(&file, self.uid, self.gid).map_err(at)?;
        }
        if let Some(attributes) = &self.attributes {
            attributes.put(&file, path)?;
        }
        // After the owner and the access list: a change of those changes bits.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode)).map_err(at)?;
        if times {
            let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
            let times =
                Timestamps { last_access: time(self.accessed), last_modification: time(self.modified) };
            rustix::fs::futimens(&file, &times).map_err(at)?;
        }
        Ok(())
    }
}

/// A place where a file is or can be written: an open directory and a name in it.
pub struct Place {
    folder: OwnedFd,
    name: OsString,
    /// The real path.
    pub path: PathBuf,
}

/// A file as it was found at a [`Place`].
pub struct Existing {
    /// Owner, permissions and times.
    pub facts: Facts,
    /// All of it.
    pub content: Vec<u8>,
    identity: (u64, u64, i64, i64),
}

/// Resolve where to write. No symbolic link is followed on the way, and the real path is one where files may be written
/// when this returns; whether this caller may, the broker decides before the change.
pub fn place(policy: &Policy, path: &str) -> Result<Place, CallError> {
    let asked = absolute(path)?;
    if path.ends_with('/') {
        return Err(CallError::invalid(format!("{path} names a directory; name a file in it")));
    }
    let (Some(parent), Some(Component::Normal(name))) = (asked.parent(), asked.components().next_back())
    else {
        return Err(CallError::invalid(format!("{path} does not name a file")));
    };
    let folder = rustix::fs::openat2(
        rustix::fs::CWD,
        parent,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|e| error(parent, e))?;
    let path = real_path(&folder)?.join(name);
    policy.may_write(&path)?;
    Ok(Place { folder, name: name.into(), path })
}

impl Place {
    /// The file that is there now, if there is one. Anything but a regular file is refused.
    pub fn existing(&self) -> Result<Option<Existing>, CallError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let Some(stat) = self.stat()? else { return Ok(None) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            return Err(CallError::denied(format!(
                "{} is a {}; only regular files are written",
                self.path.display(),
                kind_name(kind)
            )));
        }
        let file = rustix::fs::openat2(
            &self.folder,
            &self.name,
            flags,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
        .map_err(|e| error(&self.path, e))?;
        let stat = rustix::fs::fstat(&file).map_err(|e| error(&self.path, e))?;
        if stat.st_nlink > 1 {
            return Err(CallError::denied(format!(
                "{} has {} names (hard links); writing it would change only one of them",
                self.path.display(),
                stat.st_nlink
            )));
        }
        let attributes = Attributes::of(&file, &self.path)?;
        let mut content = Vec::new();
        File::from(file).take(MAX_CHANGED + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_CHANGED {
            return Err(CallError::invalid(format!(
                "{} is larger than {MAX_CHANGED} bytes; files of that size are not changed here",
                self.path.display()
            )));
        }
        Ok(Some(Existing { facts: Facts::of(&stat, attributes), content, identity: identity(&stat) }))
    }

    /// Owner and group of the directory.
    pub fn owner(&self) -> Result<(u32, u32), CallError> {
        let stat = rustix::fs::fstat(&self.folder).map_err(|e| error(&self.path, e))?;
        Ok((stat.st_uid, stat.st_gid))
    }

    /// The facts of what is there now, whatever it is; a symbolic link is not followed.
    pub fn stat(&self) -> Result<Option<Stat>, CallError> {
        match rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(error(&self.path, e)),
        }
    }

    /// The same of something that must be there.
    pub fn present(&self) -> Result<Stat, CallError> {
        self.stat()?.ok_or_else(|| CallError::not_found(format!("{} does not exist", self.path.display())))
    }

    /// Give the file this content, at once and durably: it is written beside it and then renamed, so a
    /// power cut leaves the old file or the new one. `before` is what was found; if it is not there
    /// any more, nothing is done.
    pub fn replace(
        &self,
        before: Option<&Existing>,
        content: &[u8],
        facts: &Facts,
        times: bool,
    ) -> Result<(), CallError> {
        let at = |e: Errno| error(&self.path, e);
        let draft = self.draft_name();
        self.clean();
        let file = rustix::fs::openat(
            &self.folder,
            &draft,
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o600),
        )
        .map_err(at)?;
        let remove_draft = Cleanup { folder: &self.folder, name: &draft };
        let mut file = File::from(file);
        file.write_all(content).map_err(|e| named(&self.path, &e))?;
        facts.give(&file, times, &self.path)?;
        file.sync_all().map_err(|e| named(&self.path, &e))?;
        match before {
            None => {
                rustix::fs::renameat_with(
                    &self.folder,
                    &draft,
                    &self.folder,
                    &self.name,
                    RenameFlags::NOREPLACE,
                )
                .map_err(|e| if e == Errno::EXIST { self.moved() } else { at(e) })?;
            }
            Some(before) => {
                if self.stat()?.as_ref().map(identity) != Some(before.identity) {
                    return Err(self.moved());
                }
                rustix::fs::renameat(&self.folder, &draft, &self.folder, &self.name).map_err(at)?;
            }
        }
        std::mem::forget(remove_draft);
        rustix::fs::fsync(&self.folder).map_err(at)
    }

    /// Make a directory here, durably, with these permissions and the owner of the one that it is in.
    pub fn make_directory(&self, mode: u32) -> Result<(), CallError> {
        let (uid, gid) = self.owner()?;
        rustix::fs::mkdirat(&self.folder, &self.name, Mode::from_raw_mode(0o700)).map_err(|e| match e {
            Errno::EXIST => self.moved(),
            e => error(&self.path, e),
        })?;
        self.set_facts(mode, uid, gid)?;
        rustix::fs::fsync(&self.folder).map_err(|e| error(&self.path, e))
    }

    /// Remove the directory here, durably; one that is not empty stays.
    pub fn remove_directory(&self) -> Result<(), CallError> {
        rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::REMOVEDIR).map_err(|e| match e {
            Errno::NOTEMPTY | Errno::EXIST => CallError::new(
                ErrorCode::Conflict,
                format!("{} is not empty; remove what is in it first", self.path.display()),
            ),
            e => error(&self.path, e),
        })?;
        rustix::fs::fsync(&self.folder).map_err(|e| error(&self.path, e))
    }

    /// Give what is here another name, durably; nothing is replaced (renameat2(2), `RENAME_NOREPLACE`).
    pub fn rename(&self, to: &Self) -> Result<(), CallError> {
        rustix::fs::renameat_with(&self.folder, &self.name, &to.folder, &to.name, RenameFlags::NOREPLACE)
            .map_err(|e| match e {
                Errno::EXIST => CallError::new(
                    ErrorCode::Conflict,
                    format!("{} exists; move or remove it first", to.path.display()),
                ),
                Errno::XDEV => CallError::invalid(format!(
                    "{} is on another disk than {}; write it there and remove it here",
                    to.path.display(),
                    self.path.display()
                )),
                e => error(&self.path, e),
            })?;
        rustix::fs::fsync(&to.folder).map_err(|e| error(&to.path, e))?;
        rustix::fs::fsync(&self.folder).map_err(|e| error(&self.path, e))
    }

    /// Set permissions and owner of what is here, a file or a directory.
    pub fn set_facts(&self, mode: u32, uid: u32, gid: u32) -> Result<(), CallError> {
        self.give(&Facts::new(mode, (uid, gid)), false)
    }

    /// Give what is here, a file or a directory, all these facts, its times among them.
    pub fn restore(&self, facts: &Facts) -> Result<(), CallError> {
        self.give(facts, true)
    }

    fn give(&self, facts: &Facts, times: bool) -> Result<(), CallError> {
        let open = self.open()?;
        facts.give(&open, times, &self.path)?;
        rustix::fs::fsync(&open).map_err(|e| error(&self.path, e))
    }

    /// The extended attributes of what is here, a file or a directory.
    pub fn attributes(&self) -> Result<Attributes, CallError> {
        Attributes::of(self.open()?, &self.path)
    }

    fn open(&self) -> Result<OwnedFd, CallError> {
        let at = |e: Errno| error(&self.path, e);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty()).map_err(at)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&open).map_err(at)?.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Directory) {
            let (path, kind) = (self.path.display(), kind_name(kind));
            return Err(CallError::denied(format!(
                "{path} is a {kind}; only files and directories are changed"
            )));
        }
        Ok(open)
    }

    /// Remove the file that was found, durably.
    pub fn remove(&self, before: &Existing) -> Result<(), CallError> {
        if self.stat()?.as_ref().map(identity) != Some(before.identity) {
            return Err(self.moved());
        }
        rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty()).map_err(|e| error(&self.path, e))?;
        rustix::fs::fsync(&self.folder).map_err(|e| error(&self.path, e))
    }

    /// It is not any more what it was a moment ago.
    pub fn moved(&self) -> CallError {
        CallError::new(
            ErrorCode::Conflict,
            format!("{} was changed by someone else at this moment; nothing was done", self.path.display()),
        )
    }

    /// Remove what a write that was killed half-way left beside the file.
    pub fn clean(&self) {
        let _ = rustix::fs::unlinkat(&self.folder, self.draft_name(), AtFlags::empty());
    }

    /// Always the same for the same file, so that what was left behind is found again; two writes of
    /// one file do not run at once.
    fn draft_name(&self) -> OsString {
        let hash = blake3::hash(self.name.as_bytes()).to_hex();
        format!(".aios-{}.tmp", hash.get(..16).unwrap_or_default()).into()
    }
}

/// Give an open file to this user and group.
fn own(file: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    rustix::fs::fchown(file, Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)))
}

/// Changes with every write and with every replacement.
fn identity(stat: &Stat) -> (u64, u64, i64, i64) {
    (stat.st_ino, stat.st_size.cast_unsigned(), stat.st_mtime, stat.st_mtime_nsec.cast_signed())
}

pub(crate) fn named(path: &Path, e: &std::io::Error) -> CallError {
    match Errno::from_io_error(e) {
        Some(errno) => error(path, errno),
        None => CallError::failed(format!("{}: {e}", path.display())),
    }
}

struct Cleanup<'a> {
    folder: &'a OwnedFd,
    name: &'a OsStr,
}

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.folder.as_fd(), self.name, AtFlags::empty());
    }
}
