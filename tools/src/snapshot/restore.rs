//! Bringing back what a snapshot holds.
//!
//! Everything is written beside what is there first, below `undo/NUMBER` of the snapshots' directory, compared with its hashes and
//! flushed. Then each path that comes back changes places with what is there (`RENAME_EXCHANGE`, one step of the kernel's). So a
//! power cut finds each path old or new and nothing half written, and what undo needs is the old files themselves.

use super::read::{Item, Kind, Take, Whole, read};
use super::{About, STRIDE, room};
use crate::attributes::Attributes;
use crate::ctx::Ctx;
use crate::file;
use crate::tool::process::shared::human_bytes;
use aios_abi::{CallError, ErrorCode};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, openat2, renameat_with,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What earlier restores put aside and their undo would bring back: of so many.
const KEPT: usize = 4;
/// What belongs to one path: a fingerprint of what was brought back.
const MARK: &str = "mark";

/// A path that is brought back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Chosen {
    pub(crate) path: PathBuf,
    /// Device and inode of what was there before; none if nothing was.
    pub(crate) before: Option<(u64, u64)>,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The directory in which all is staged, and where the old files are then.
    pub(crate) stage: PathBuf,
    pub(crate) chosen: Vec<Chosen>,
}

/// What came of it.
pub(crate) struct Restored {
    pub(crate) whole: Whole,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Device and inode of what is there.
pub(crate) fn identity(path: &Path) -> Result<Option<(u64, u64)>, CallError> {
    match rustix::fs::lstat(path) {
        Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(file::error(path, e)),
    }
}

/// Write what was chosen beside what is there, and change places.
pub(crate) fn stage(ctx: &Ctx, source: File, note: &Note) -> Result<Restored, CallError> {
    let Note { stage, chosen } = note;
    let parent = stage.parent().unwrap_or(stage);
    make(parent)?;
    make_room(parent)?;
    make(stage)?;
    let cleanup = Cleanup(stage);
    let folder = directory(stage)?;
    let mut staging = Staging {
        ctx,
        folder: &folder,
        chosen,
        open: Vec::new(),
        hashes: HashMap::new(),
        files: 0,
        bytes: 0,
        said: 0,
    };
    let whole = read(source, &mut staging)?;
    staging.close(Path::new("/"))?;
    let (files, bytes) = (staging.files, staging.bytes);
    for (index, one) in chosen.iter().enumerate() {
        let new = stage.join(index.to_string());
        if identity(&new)?.is_none() {
            return Err(CallError::not_found(format!("the snapshot does not hold {}", one.path.display())));
        }
        let mark = mark(&new, |below, _| {
            let hash = staging.hashes.get(&one.path.join(below)).copied();
            hash.ok_or_else(|| {
                CallError::failed(format!("{} was not staged", one.path.join(below).display()))
            })
        })?;
        std::fs::write(stage.join(format!("{index}.{MARK}")), mark).map_err(|e| file::named(stage, &e))?;
    }
    rustix::fs::syncfs(&folder).map_err(|e| file::error(stage, e))?;
    for (index, one) in chosen.iter().enumerate() {
        ctx.check()?;
        if let Err(why) = change_places(&folder, stage, index, one) {
            let back: Result<(), CallError> = chosen
                .iter()
                .take(index)
                .enumerate()
                .try_for_each(|(index, one)| back(&folder, stage, index, one));
            let end = match back {
                Ok(()) => "everything is as it was before".to_owned(),
                Err(e) => {
                    std::mem::forget(cleanup);
                    format!("and what was before could not be put back: {e}")
                }
            };
            return Err(CallError::new(why.code, format!("{}; {end}", why.message)));
        }
    }
    std::mem::forget(cleanup);
    Ok(Restored { whole, files, bytes })
}

fn change_places(folder: &OwnedFd, stage: &Path, index: usize, one: &Chosen) -> Result<(), CallError> {
    if identity(&one.path)? != one.before {
        let text = format!("{} was changed by someone else at this moment", one.path.display());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    let (parent, name) = parent(&one.path)?;
    let flags = if one.before.is_some() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    renameat_with(folder, index.to_string(), &parent, name, flags).map_err(|e| swapped(&one.path, e))?;
    rustix::fs::fsync(&parent).map_err(|e| file::error(&one.path, e))?;
    rustix::fs::fsync(folder).map_err(|e| file::error(stage, e))
}

/// The inverse, from the directory in which the old files are.
fn back(folder: &OwnedFd, stage: &Path, index: usize, one: &Chosen) -> Result<(), CallError> {
    let (parent, name) = parent(&one.path)?;
    let index = index.to_string();
    match one.before {
        Some(_) => renameat_with(folder, &index, &parent, name, RenameFlags::EXCHANGE),
        None => renameat_with(&parent, name, folder, &index, RenameFlags::NOREPLACE),
    }
    .map_err(|e| swapped(&one.path, e))?;
    rustix::fs::fsync(&parent).map_err(|e| file::error(&one.path, e))?;
    rustix::fs::fsync(folder).map_err(|e| file::error(stage, e))
}

fn swapped(path: &Path, e: Errno) -> CallError {
    match e {
        Errno::XDEV => CallError::invalid(format!(
            "{} is on another disk than the snapshots; only what is on theirs changes places in one step",
            path.display()
        )),
        e => file::error(path, e),
    }
}

/// Take back a restore; in a few words what was done.
pub(crate) fn put_back(ctx: &Ctx, note: &Note) -> Result<String, CallError> {
    let Note { stage, chosen } = note;
    let gone = || {
        let text =
            format!("what was there before made room for others ({}); nothing was undone", stage.display());
        CallError::new(ErrorCode::Conflict, text)
    };
    let mut todo = Vec::new();
    for (index, one) in chosen.iter().enumerate() {
        let now = identity(&one.path)?;
        // It was not reached, or put back already.
        if now == one.before {
            continue;
        }
        let aside = stage.join(index.to_string());
        if identity(&aside)? != one.before {
            return Err(if identity(&aside)?.is_none() { gone() } else { changed(&one.path) });
        }
        let marked = std::fs::read_to_string(stage.join(format!("{index}.{MARK}"))).map_err(|_| gone())?;
        if mark(&one.path, |_, open| Ok(file::hash_of(ctx, open)?.1))? != marked {
            return Err(changed(&one.path));
        }
        todo.push((index, one));
    }
    if todo.is_empty() {
        remove(stage)?;
        return Ok("everything is as it was before".into());
    }
    let folder = directory(stage)?;
    let paths: Vec<String> = todo.iter().map(|(_, one)| one.path.display().to_string()).collect();
    for (index, one) in todo {
        back(&folder, stage, index, one)?;
    }
    remove(stage)?;
    Ok(format!("{} is as it was before", paths.join(", ")))
}

fn changed(path: &Path) -> CallError {
    let text =
        format!("{} was changed since; undoing would destroy that, so nothing was done", path.display());
    CallError::new(ErrorCode::Conflict, text)
}

/// Writes what was chosen below the stage.
struct Staging<'a> {
    ctx: &'a Ctx,
    folder: &'a OwnedFd,
    chosen: &'a [Chosen],
    /// Directories whose facts are given when all that is in them is there: their paths in the snapshot and on the stage.
    open: Vec<(PathBuf, OwnedFd, file::Facts)>,
    /// Of the contents of the chosen files, by their paths in the snapshot.
    hashes: HashMap<PathBuf, blake3::Hash>,
    files: u64,
    bytes: u64,
    said: u64,
}

impl Staging<'_> {
    /// Give their facts to directories that this path is not in.
    fn close(&mut self, path: &Path) -> Result<(), CallError> {
        while let Some((done, folder, facts)) = self.open.pop_if(|(open, _, _)| !path.starts_with(open)) {
            facts.give(&folder, true, &done)?;
        }
        Ok(())
    }

    /// Where an entry goes on the stage: a directory and a name in it.
    fn place(&mut self, path: &Path) -> Result<Option<(OwnedFd, PathBuf)>, CallError> {
        let Some((index, one)) = self.chosen.iter().enumerate().find(|(_, one)| path.starts_with(&one.path))
        else {
            return Ok(None);
        };
        let below = path.strip_prefix(&one.path).unwrap_or(path);
        let mut relative = PathBuf::from(index.to_string());
        if !below.as_os_str().is_empty() {
            relative.push(below);
        }
        let name = relative.file_name().map(PathBuf::from).unwrap_or_default();
        let parent = relative.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let links = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let folder = openat2(self.folder, parent.unwrap_or(Path::new(".")), flags, Mode::empty(), links);
        let folder = folder.map_err(|_| {
            CallError::failed(format!(
                "the snapshot is damaged: the directory of {} is not in it",
                path.display()
            ))
        })?;
        Ok(Some((folder, name)))
    }
}

impl Take for Staging<'_> {
    fn about(&mut self, about: &About) -> Result<(), CallError> {
        let holds = |one: &&Chosen| about.paths.iter().any(|root| one.path.starts_with(root));
        match self.chosen.iter().find(|one| !holds(one)) {
            None => Ok(()),
            Some(one) => {
                Err(CallError::not_found(format!("the snapshot does not hold {}", one.path.display())))
            }
        }
    }

    fn item(&mut self, item: &Item, content: &mut dyn Read) -> Result<(), CallError> {
        self.ctx.check()?;
        let Some((folder, name)) = self.place(&item.path)? else { return Ok(()) };
        self.close(&item.path)?;
        let at = |e: Errno| match e {
            Errno::EXIST => {
                CallError::failed(format!("the snapshot is damaged: {} is in it twice", item.path.display()))
            }
            e => file::error(&item.path, e),
        };
        match &item.kind {
            Kind::Directory => {
                rustix::fs::mkdirat(&folder, &name, Mode::from_raw_mode(0o700)).map_err(at)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = rustix::fs::openat(&folder, &name, flags, Mode::empty()).map_err(at)?;
                self.open.push((item.path.clone(), made, item.facts.clone()));
            }
            Kind::Link(target) => {
                rustix::fs::symlinkat(target, &folder, &name).map_err(at)?;
                let file::Facts { uid, gid, modified: (tv_sec, tv_nsec), .. } = item.facts;
                let made = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(at)?;
                if (made.st_uid, made.st_gid) != (uid, gid) {
                    let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::chownat(&folder, &name, Some(user), Some(group), flags).map_err(at)?;
                }
                let time = Timespec { tv_sec, tv_nsec };
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::utimensat(&folder, &name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(at)?;
            }
            Kind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made =
                    rustix::fs::openat(&folder, &name, flags, Mode::from_raw_mode(0o600)).map_err(at)?;
                let mut file = File::from(made);
                self.copy(content, &mut file, &item.path)?;
                item.facts.give(file.as_fd(), true, &item.path)?;
                self.files += 1;
            }
        }
        Ok(())
    }

    fn hashed(&mut self, item: Item, hash: blake3::Hash) {
        if self.chosen.iter().any(|one| item.path.starts_with(&one.path)) {
            self.hashes.insert(item.path, hash);
        }
    }
}

impl Staging<'_> {
    fn copy(&mut self, from: &mut dyn Read, to: &mut File, path: &Path) -> Result<(), CallError> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from
                .read(&mut buffer)
                .map_err(|e| CallError::failed(format!("the snapshot is damaged: {e}")))?;
            let Some(read @ [_, ..]) = buffer.get(..read) else { return Ok(()) };
            if self.bytes == 0 || self.bytes - self.said >= STRIDE {
                self.said = self.bytes;
                room(self.folder, STRIDE)?;
                self.ctx.check()?;
                if self.bytes > 0 {
                    self.ctx.progress(format!("{} brought back", human_bytes(self.bytes)), None);
                }
            }
            to.write_all(read).map_err(|e| file::named(path, &e))?;
            self.bytes += read.len() as u64;
        }
    }
}

/// A fingerprint of a file or a directory with all below it: names, owners, modes, attributes, and the content of files with
/// the time of its change. What was changed since and taken back is as it was. `content` says the hash of a file's content,
/// which is open, by its path below the root.
fn mark(
    root: &Path,
    mut content: impl FnMut(&Path, &mut File) -> Result<blake3::Hash, CallError>,
) -> Result<String, CallError> {
    let mut hash = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let facts = std::fs::symlink_metadata(&path).map_err(|e| file::named(&path, &e))?;
        let below = path.strip_prefix(root).unwrap_or(&path);
        part(below.as_os_str().as_bytes());
        [facts.mode(), facts.uid(), facts.gid()].iter().for_each(|number| part(&number.to_le_bytes()));
        if facts.is_symlink() {
            let target = std::fs::read_link(&path).map_err(|e| file::named(&path, &e))?;
            part(target.as_os_str().as_bytes());
        }
        if facts.is_file() || facts.is_dir() {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let there = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| file::error(&path, e))?;
            let mut there = File::from(there);
            for (name, value) in Attributes::of(&there, &path)?.all()? {
                part(name.as_bytes());
                part(&value);
            }
            if facts.is_file() {
                [facts.mtime(), facts.mtime_nsec()].iter().for_each(|number| part(&number.to_le_bytes()));
                part(content(below, &mut there)?.as_bytes());
            }
        }
        if facts.is_dir() {
            let entries = std::fs::read_dir(&path).map_err(|e| file::named(&path, &e))?;
            let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            names.sort_unstable();
            open.extend(names);
        }
    }
    Ok(hash.finalize().to_hex().to_string())
}

/// The directory of a path, held, and the name in it. No link is followed on the way.
pub(crate) fn parent(path: &Path) -> Result<(OwnedFd, &std::ffi::OsStr), CallError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(CallError::invalid(format!("{} names no file", path.display())));
    };
    Ok((directory(parent)?, name))
}

fn directory(path: &Path) -> Result<OwnedFd, CallError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, path, flags, Mode::empty(), links).map_err(|e| file::error(path, e))
}

fn make(path: &Path) -> Result<(), CallError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(file::error(path, e)),
    }
}

/// What was put aside longest ago goes.
fn make_room(parent: &Path) -> Result<(), CallError> {
    let entries = std::fs::read_dir(parent).map_err(|e| file::named(parent, &e))?;
    let mut all: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    all.sort_unstable();
    let too_many = (all.len() + 1).saturating_sub(KEPT);
    all.iter().take(too_many).try_for_each(|(_, path)| remove(path))
}

fn remove(stage: &Path) -> Result<(), CallError> {
    match std::fs::remove_dir_all(stage) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(file::named(stage, &e)),
        _ => Ok(()),
    }
}

struct Cleanup<'a>(&'a Path);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let _ = remove(self.0);
    }
}
