//! `disk.cleanup`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview};
use crate::file;
use crate::policy::Target;
use crate::reach::{Paths, Way};
use crate::tool::fs::shared::CHANGES;
use crate::tool::process::shared::human_bytes;
use crate::walk::walk;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use aios_policy::Area;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat, unlinkat};
use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Files that are removed by one call.
const MAX: usize = 10_000;
/// Files that are named.
const MAX_NAMED: usize = 100;

/// Remove old files below a directory for temporary files or caches. The directories stay.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the directory.
    #[serde(default = "default_path")]
    path: String,
    /// Only files that nobody has changed, read or renamed for so many hours.
    #[serde(default = "default_hours")]
    #[schemars(range(min = 1, max = 87_600))]
    older_hours: u32,
}

fn default_path() -> String {
    "/tmp".into()
}

fn default_hours() -> u32 {
    240
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cleaned {
    /// The directory's real path.
    path: String,
    /// Files that were removed.
    removed: u32,
    /// Bytes on the disk that are free for it.
    bytes: u64,
    /// Files that somebody touched at this moment and that stay.
    kept: u32,
    /// Some of their paths, at most 100; bytes that are no UTF-8 are replaced.
    files: Vec<String>,
    /// There are more to remove, or not all could be looked at: call it again.
    truncated: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 43,
    name: "disk.cleanup",
    summary: "Remove old temporary files; a dry run lists them",
    effect: Effect::Irreversible,
    touches: &["old files below the directory named, in /data, /tmp or /run"],
    role: Role::Admin,
    timeout_ms: 60_000,
    examples: &[
        ("clean up old temporary files", "{}"),
        ("remove files in /tmp that are older than 3 days", r#"{"path":"/tmp","older_hours":72}"#),
        ("empty the cache /data/cache of old files", r#"{"path":"/data/cache"}"#),
        (
            "tidy up /data/downloads, everything that nobody has used for 30 days",
            r#"{"path":"/data/downloads","older_hours":720}"#,
        ),
        ("delete stale files below /run/app older than a day", r#"{"path":"/run/app","older_hours":24}"#),
    ],
    needs: CHANGES,
    code: &Make { paths, prepare, summary, undo: None },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Change, args.path.trim_end_matches('/').into())]
}

/// Device, inode, size, and when anything was changed last.
type Identity = (u64, u64, i64, (i64, u64));

/// A file as it was found: whoever changes it meanwhile keeps it.
struct Old {
    path: PathBuf,
    identity: Identity,
    bytes: u64,
}

struct Cleanup {
    path: PathBuf,
    old: Vec<Old>,
    truncated: bool,
}

/// Changes with whatever is done to a file.
fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino, stat.st_size, (stat.st_ctime, stat.st_ctime_nsec))
}

/// Whether it may go: a file with one name, which nobody has touched since then.
fn is_old(stat: &Stat, since: i64) -> bool {
    let touched = stat.st_mtime.max(stat.st_atime).max(stat.st_ctime);
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1 && touched < since
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Cleanup, CallError> {
    if args.older_hours == 0 {
        return Err(CallError::invalid("`older_hours` must be at least 1"));
    }
    let found = file::find(&args.path, false)?;
    if found.kind() != FileType::Directory {
        return Err(CallError::invalid(format!("{} is not a directory", found.path.display())));
    }
    ctx.policy.may_write(&found.path.join("*"))?;
    let since = clock_gettime(ClockId::Realtime).tv_sec - i64::from(args.older_hours) * 3600;
    let (mut old, mut more) = (Vec::new(), false);
    let walked = walk(ctx, &found, u32::MAX, |path, stat| {
        // Configuration never is litter.
        let may = || ctx.policy.area(path) == Area::Open;
        if is_old(stat, since) && may() {
            more |= old.len() >= MAX;
            if old.len() < MAX {
                let bytes = stat.st_blocks.cast_unsigned() * 512;
                old.push(Old { path: path.into(), identity: identity(stat), bytes });
            }
        }
    })?;
    Ok(Cleanup { path: found.path, old, truncated: walked.truncated || more })
}

impl Cleanup {
    fn bytes(&self) -> u64 {
        self.old.iter().map(|old| old.bytes).sum()
    }
}

impl Change for Cleanup {
    type Output = Cleaned;

    fn target(&self) -> Target {
        Target::Below(self.path.clone())
    }

    fn preview(&self) -> Preview {
        let (count, bytes) = (self.old.len(), human_bytes(self.bytes()));
        let would = format!("remove {count} old files below {}, {bytes}, for good", self.path.display());
        let list: String = self
            .old
            .iter()
            .take(MAX_NAMED)
            .map(|old| format!("-{} ({})\n", old.path.display(), human_bytes(old.bytes)))
            .collect();
        Preview { would, diff: (!list.is_empty()).then_some(list) }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Cleaned, CallError> {
        let path = self.path.display().to_string();
        let mut cleaned =
            Cleaned { path, removed: 0, bytes: 0, kept: 0, files: Vec::new(), truncated: self.truncated };
        let mut folder: Option<(PathBuf, OwnedFd)> = None;
        for old in &self.old {
            ctx.check()?;
            if !remove(old, &mut folder) {
                cleaned.kept += 1;
                continue;
            }
            cleaned.removed += 1;
            cleaned.bytes += old.bytes;
            if cleaned.files.len() < MAX_NAMED {
                cleaned.files.push(old.path.display().to_string());
            }
        }
        Ok(cleaned)
    }
}

/// Remove it if it is still what was found; files of one directory follow each other.
fn remove(old: &Old, folder: &mut Option<(PathBuf, OwnedFd)>) -> bool {
    let (Some(parent), Some(name)) = (old.path.parent(), old.path.file_name()) else { return false };
    if folder.as_ref().is_none_or(|(open, _)| open != parent) {
        *folder = open(parent).map(|opened| (parent.to_path_buf(), opened));
    }
    let Some((_, folder)) = folder else { return false };
    let same =
        statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| identity(&stat) == old.identity);
    same && unlinkat(&*folder, name, AtFlags::empty()).is_ok()
}

fn open(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS).ok()
}

fn summary(cleaned: &Cleaned) -> String {
    let more = if cleaned.truncated { "; there is more" } else { "" };
    format!(
        "removed {} old files below {}, {}{more}",
        cleaned.removed,
        cleaned.path,
        human_bytes(cleaned.bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_nobody_touched_are_old_and_who_touches_one_keeps_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "x").expect("written");
        let stat = rustix::fs::stat(&path).expect("is there");
        let after = stat.st_ctime + 1;
        assert!(is_old(&stat, after) && !is_old(&stat, stat.st_ctime));
        assert!(!is_old(&rustix::fs::stat(dir.path()).expect("is there"), after), "a directory stays");
        let touches: [fn(&mut Stat, i64); 4] = [
            |stat, now| stat.st_atime = now,
            |stat, now| stat.st_mtime = now,
            |stat, now| stat.st_ctime = now,
            |stat, _| stat.st_nlink = 2,
        ];
        for touch in touches {
            let mut touched = stat;
            touch(&mut touched, after);
            assert!(!is_old(&touched, after));
        }
        let found = |bytes| {
            let identity = identity(&rustix::fs::stat(&path).expect("is there"));
            Old { path: path.clone(), identity, bytes }
        };
        let old = found(1);
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, "another one").expect("written");
        let mut folder = None;
        assert!(!remove(&old, &mut folder) && path.exists());
        assert!(remove(&found(11), &mut folder) && !path.exists());
        assert!(!remove(&old, &mut folder));
    }
}
