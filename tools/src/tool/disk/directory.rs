//! `disk.directory`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// Files that are counted before it stops.
const MAX_SEEN: u64 = 500_000;
/// Entries in one answer.
const MAX: u32 = 200;
/// Milliseconds before its time limit at which it stops and answers with what it has.
const SPARE: Duration = Duration::from_secs(2);

/// Show what takes the room in a directory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the directory.
    path: String,
    /// At most this many entries, the largest first.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 200))]
    limit: u32,
}

fn default_limit() -> u32 {
    20
}

/// What takes the room.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Room {
    /// The directory's real path.
    path: String,
    /// Bytes on the disk, all in all.
    total: u64,
    /// What is in it, the largest first.
    entries: Vec<Share>,
    /// Files and directories that were counted.
    counted: u64,
    /// Not all could be counted or listed: there are too many, some are closed, or time was short.
    truncated: bool,
}

/// One entry of the directory.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Share {
    /// Its name.
    name: String,
    /// Bytes on the disk, with everything below it.
    bytes: u64,
    /// It is a directory.
    directory: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 41,
    name: "disk.directory",
    summary: "Show which files and folders take the most space in a directory",
    effect: Effect::Read,
    touches: &["names and sizes of files below the directory"],
    role: Role::Viewer,
    timeout_ms: 20_000,
    examples: &[
        ("what takes up the space in /data?", r#"{"path":"/data"}"#),
        ("which folder in /data is the biggest?", r#"{"path":"/data","limit":1}"#),
        ("how large is the directory /models?", r#"{"path":"/models"}"#),
        ("du /usr", r#"{"path":"/usr"}"#),
        ("find the largest files and directories under /", r#"{"path":"/"}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

struct Count<'a> {
    ctx: &'a Ctx,
    device: u64,
    seen: u64,
    truncated: bool,
    /// Files with several names are counted once.
    linked: HashSet<u64>,
}

fn paths(args: &Args) -> Paths {
    vec![(Way::List, args.path.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Room, CallError> {
    if args.limit == 0 || args.limit > MAX {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX} entries")));
    }
    let found = file::find(&args.path, true)?;
    ctx.may_see(&found.path)?;
    if found.kind() != FileType::Directory {
        return Err(CallError::invalid(format!("{} is not a directory", found.path.display())));
    }
    let mut count =
        Count { ctx, device: found.stat.st_dev, seen: 0, truncated: false, linked: HashSet::new() };
    let mut entries = Vec::new();
    let (own, below) = count.folder(found.path.clone(), |name, bytes, directory| {
        entries.push(Share { name: name.to_string_lossy().into_owned(), bytes, directory });
    })?;
    // Sub-directories are walked one after the other, so that each has its own sum.
    let mut total = own;
    for folder in below {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut bytes = 0;
        let mut open = vec![folder];
        while let Some(next) = open.pop() {
            let (own, below) = count.folder(next, |_, _, _| {})?;
            bytes += own;
            open.extend(below);
        }
        total += bytes;
        entries.push(Share { name, bytes, directory: true });
    }
    entries.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    let truncated = count.truncated || entries.len() > args.limit as usize;
    entries.truncate(args.limit as usize);
    Ok(Room { path: found.path.display().to_string(), total, entries, counted: count.seen, truncated })
}

impl Count<'_> {
    /// Bytes of the files right in this directory, each of which is shown to `file`, and the
    /// directories in it on the same file system.
    fn folder(
        &mut self,
        path: PathBuf,
        mut file: impl FnMut(&OsStr, u64, bool),
    ) -> Result<(u64, Vec<PathBuf>), CallError> {
        let mut own = 0;
        let mut below = Vec::new();
        self.ctx.check()?;
        if self.seen >= MAX_SEEN || self.ctx.left() < SPARE || self.ctx.policy.may_see(&path).is_err() {
            self.truncated = true;
            return Ok((own, below));
        }
        let folder = rustix::fs::openat2(
            rustix::fs::CWD,
            &path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        );
        let Ok(entries) = folder.and_then(|folder| Dir::read_from(&folder).map(|dir| (folder, dir))) else {
            self.truncated = true;
            return Ok((own, below));
        };
        let (folder, entries) = entries;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.seen += 1;
            let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let bytes = stat.st_blocks.cast_unsigned() * 512;
            let name = OsStr::from_bytes(name.to_bytes());
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                if stat.st_dev == self.device {
                    own += bytes;
                    below.push(path.join(name));
                }
            } else if stat.st_nlink < 2 || self.linked.insert(stat.st_ino) {
                own += bytes;
                file(name, bytes, false);
            }
        }
        Ok((own, below))
    }
}

fn summary(room: &Room) -> String {
    let words: Vec<_> = room
        .entries
        .iter()
        .take(3)
        .map(|share| format!("{} {}", share.name, human_bytes(share.bytes)))
        .collect();
    format!("{} takes {}: {}", room.path, human_bytes(room.total), words.join(", "))
}
