//! `disk.directory`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use crate::tool::process::shared::human_bytes;
use crate::walk::walk;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::fs::FileType;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;

/// Entries in one answer.
const MAX: u32 = 200;

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
    let mut shares: HashMap<OsString, Share> = HashMap::new();
    // Files with several names are counted once.
    let mut linked = HashSet::new();
    let walked = walk(ctx, &found, u32::MAX, |path, stat| {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !directory && stat.st_nlink > 1 && !linked.insert(stat.st_ino) {
            return;
        }
        let Some(name) = path.strip_prefix(&found.path).ok().and_then(|rest| rest.iter().next()) else {
            return;
        };
        // A directory comes before what is in it.
        let share = shares.entry(name.to_owned()).or_insert_with(|| Share {
            name: name.to_string_lossy().into_owned(),
            bytes: 0,
            directory,
        });
        share.bytes += stat.st_blocks.cast_unsigned() * 512;
    })?;
    let mut entries: Vec<Share> = shares.into_values().collect();
    let total = entries.iter().map(|share| share.bytes).sum();
    entries.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    let truncated = walked.truncated || entries.len() > args.limit as usize;
    entries.truncate(args.limit as usize);
    let path = found.path.display().to_string();
    Ok(Room { path, total, entries, counted: walked.seen, truncated })
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
