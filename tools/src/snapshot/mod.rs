//! Snapshots: chosen files and directories in one file, `NAME.tar.gz`, that tar(1), gzip(1) and b3sum(1) read as well.
//!
//! A POSIX archive (pax, IEEE 1003.1-2017) in one gzip member (RFC 1952):
//! - first `aios-backup.json`: which paths were saved, when and by whom ([`About`]); a list reads no more than that;
//! - then each path without its leading `/`, a directory before what is in it, with owner, mode, time to the nanosecond
//!   (`mtime`) and extended attributes, access lists among them (`SCHILY.xattr.NAME`);
//! - last `aios-backup.b3sums`: the BLAKE3 hash of each file in the order of the archive, as `b3sum --check` takes it.
//!
//! It is written as a draft beside its place, flushed, then renamed. Whoever reads one trusts nothing in it.

pub mod read;
mod restore;
mod write;

pub(crate) use restore::{Chosen, Note, Restored, identity, parent, put_back, stage};
pub(crate) use write::{Job, Written, exists, write};

use crate::file;
use aios_abi::{CallError, ErrorCode};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// How the file of a snapshot ends.
const SUFFIX: &str = ".tar.gz";
/// The first entry.
const ABOUT: &str = "aios-backup.json";
/// The last entry.
const SUMS: &str = "aios-backup.b3sums";
/// How the format is called in [`About`].
const FORMAT: u32 = 1;
/// Files, directories and links of one snapshot.
const MAX_ENTRIES: u64 = 500_000;
/// Paths that are saved together.
pub(crate) const MAX_PATHS: usize = 64;
/// Bytes that stay free on a disk that is written to.
const SPARE: u64 = 32 << 20;
/// Between two words about how far it is.
const STRIDE: u64 = 32 << 20;

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Which form of the format it is.
    pub format: u32,
    /// Tells it from others that had its name.
    pub id: String,
    /// When it was made, in RFC 3339, UTC.
    pub made: String,
    /// Who asked for it.
    pub by: String,
    /// The absolute paths that were saved, none below another.
    pub paths: Vec<String>,
}

/// A name for a snapshot that can be no path.
pub(crate) fn plain(name: &str) -> Result<&str, CallError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match (1..=100).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('.') {
        true => Ok(name.strip_suffix(SUFFIX).unwrap_or(name)),
        false => Err(CallError::invalid(format!(
            "`{name}` is no name of a snapshot; it has letters, digits, `-`, `_` and `.`, at most 100, and begins with no dot"
        ))),
    }
}

/// What nothing else here was called: the present nanosecond, and whose it is.
pub(crate) fn new_id() -> String {
    format!("{:x}-{:x}", jiff::Timestamp::now().as_nanosecond(), std::process::id())
}

/// The file of a snapshot.
pub(crate) fn file_name(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

/// The name of the snapshot that this file is.
pub(crate) fn name_of(file: &str) -> Option<&str> {
    file.strip_suffix(SUFFIX).filter(|name| plain(name).is_ok())
}

/// Open the directory of snapshots; no link is followed on the way.
pub(crate) fn folder(path: &str) -> Result<(OwnedFd, PathBuf), CallError> {
    let path = whole(Path::new(path))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = rustix::fs::openat2(rustix::fs::CWD, &path, flags, Mode::empty(), links);
    Ok((open.map_err(|e| file::error(&path, e))?, path))
}

/// Open a snapshot.
pub(crate) fn open(folder: &OwnedFd, place: &Path, name: &str) -> Result<File, CallError> {
    let file = file_name(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, &file, flags, Mode::empty()) {
        Ok(open) => Ok(open.into()),
        Err(rustix::io::Errno::NOENT) => Err(CallError::not_found(format!(
            "there is no snapshot {name} in {}; backup.list shows those that are there",
            place.display()
        ))),
        Err(e) => Err(file::error(&place.join(&file), e)),
    }
}

/// Remove a snapshot, durably.
pub(crate) fn remove(folder: &OwnedFd, place: &Path, name: &str) -> Result<(), CallError> {
    rustix::fs::unlinkat(folder, file_name(name), rustix::fs::AtFlags::empty())
        .and_then(|()| rustix::fs::fsync(folder))
        .map_err(|e| file::error(place, e))
}

/// An absolute path that says what it means: no `..`, no zero byte.
pub(crate) fn whole(path: &Path) -> Result<PathBuf, CallError> {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    match path.is_absolute() && plain && !path.as_os_str().as_bytes().contains(&0) {
        // Without `.`, doubled slashes and one at the end.
        true => Ok(path.components().collect()),
        false => Err(CallError::invalid(format!(
            "`{}` is not an absolute path without `..`; write it from / on",
            path.display()
        ))),
    }
}

/// What else a directory holds would not fit any more.
fn room(folder: &OwnedFd, wanted: u64) -> Result<(), CallError> {
    let disk = rustix::fs::fstatvfs(folder).map_err(std::io::Error::from)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match free >= wanted.saturating_add(SPARE) {
        true => Ok(()),
        false => Err(CallError::new(
            ErrorCode::Unavailable,
            format!(
                "the disk is nearly full: {} MiB are free and {} MiB stay so; remove something first, nothing was left behind",
                free >> 20,
                SPARE >> 20
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths() {
        for name in ["", ".", "..", ".hidden", "a/b", "../a", "a b", "a\0"] {
            assert!(plain(name).is_err(), "{name:?}");
        }
        assert_eq!(plain("nightly-2026.tar.gz").expect("a name"), "nightly-2026");
        assert_eq!((name_of("a.tar.gz"), name_of("a.tar"), name_of(".tar.gz")), (Some("a"), None, None));
        assert!(whole(Path::new("/a/../b")).is_err() && whole(Path::new("a")).is_err());
        assert_eq!(whole(Path::new("/a//b/./c/")).expect("a path"), Path::new("/a/b/c"));
    }
}
