//! All that is below a directory, on the same file system; no link is followed, and it comes to an end.

use crate::ctx::Ctx;
use crate::file::Found;
use aios_abi::CallError;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names that are looked at.
const MAX_SEEN: u64 = 500_000;
/// Time before a call's limit at which it stops, so that there is an answer.
const SPARE: Duration = Duration::from_secs(2);

/// How a walk went.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Names that were looked at.
    pub(crate) seen: u64,
    /// Not all could be looked at: there are too many, some are closed, or time was short.
    pub(crate) truncated: bool,
}

/// Show `visit` the path and the facts of everything at most `depth` levels below, each directory before what is in it.
pub(crate) fn walk(
    ctx: &Ctx,
    root: &Found,
    depth: u32,
    mut visit: impl FnMut(&Path, &Stat),
) -> Result<Walked, CallError> {
    let mut walked = Walked::default();
    let mut open: Vec<(PathBuf, u32)> = vec![(root.path.clone(), 1)];
    while let Some((path, level)) = open.pop() {
        ctx.check()?;
        if walked.seen >= MAX_SEEN || ctx.left() < SPARE || ctx.policy.may_see(&path).is_err() {
            walked.truncated = true;
            continue;
        }
        let folder = rustix::fs::openat2(
            rustix::fs::CWD,
            &path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        );
        let Ok((folder, entries)) =
            folder.and_then(|folder| Dir::read_from(&folder).map(|dir| (folder, dir)))
        else {
            walked.truncated = true;
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            walked.seen += 1;
            // A name that has gone meanwhile is no error.
            let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if directory && stat.st_dev != root.stat.st_dev {
                continue;
            }
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            visit(&path, &stat);
            if directory && level < depth {
                open.push((path, level + 1));
            }
        }
    }
    Ok(walked)
}
