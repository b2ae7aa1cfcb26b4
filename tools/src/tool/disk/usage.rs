//! `disk.usage`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::process::{MountInfo, Process};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

/// Show how full the file systems are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only the file system that holds this absolute path.
    #[serde(default)]
    path: Option<String>,
    /// Also those that take no room, such as /proc.
    #[serde(default)]
    all: bool,
}

/// The file systems.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// The file systems, by mount point.
    file_systems: Vec<FileSystem>,
}

/// One file system.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileSystem {
    /// Where it is mounted.
    mount: String,
    /// Device or source.
    source: String,
    /// Kind, such as `ext4`.
    kind: String,
    /// Bytes in all.
    total: u64,
    /// Bytes in use.
    used: u64,
    /// Bytes that are free for everyone.
    available: u64,
    /// Used part in percent, as df(1) counts it.
    used_percent: f64,
    /// Used part of the inodes in percent; none where they are not counted.
    inodes_used_percent: Option<f64>,
    /// It cannot be written.
    read_only: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 40,
    name: "disk.usage",
    summary: "Show how full the disks and file systems are",
    effect: Effect::Read,
    touches: &["facts of the mounted file systems"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("how full is the disk?", "{}"),
        ("how much free space is left?", "{}"),
        ("show disk usage", "{}"),
        ("is there enough room on /data?", r#"{"path":"/data"}"#),
        ("df", "{}"),
        ("disk space", "{}"),
        ("which file systems are mounted?", r#"{"all":true}"#),
        ("is the disk full?", "{}"),
        ("how big is the data partition?", r#"{"path":"/data"}"#),
    ],
    needs: Needs::NOTHING.read(&["/proc"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Usage, CallError> {
    let failed = |e| CallError::failed(format!("/proc/self/mountinfo cannot be read: {e}"));
    let mounts = Process::myself().and_then(|p| p.mountinfo()).map_err(failed)?.0;
    let only = args.path.as_deref().map(|path| crate::file::find(path, true)).transpose()?;
    let wanted = only.as_ref().and_then(|found| holder(&mounts, &found.path));
    let mut seen = HashSet::new();
    let mut file_systems = Vec::new();
    // The last mount on a point hides the ones before it.
    for mount in mounts.iter().rev() {
        ctx.check()?;
        if wanted.is_some_and(|wanted| wanted != mount.mnt_id) || !seen.insert(mount.mount_point.clone()) {
            continue;
        }
        // A part of a file system that is mounted elsewhere as well is no file system of its own.
        if wanted.is_none() && mount.root != "/" {
            continue;
        }
        let Ok(facts) = rustix::fs::statvfs(&mount.mount_point) else { continue };
        if facts.f_blocks == 0 && !args.all && wanted.is_none() {
            continue;
        }
        let block = facts.f_frsize;
        let used = facts.f_blocks.saturating_sub(facts.f_bfree).saturating_mul(block);
        let available = facts.f_bavail.saturating_mul(block);
        file_systems.push(FileSystem {
            mount: mount.mount_point.display().to_string(),
            source: mount.mount_source.clone().unwrap_or_default(),
            kind: mount.fs_type.clone(),
            total: facts.f_blocks.saturating_mul(block),
            used,
            available,
            used_percent: percent(used, used.saturating_add(available)),
            inodes_used_percent: (facts.f_files > 0)
                .then(|| percent(facts.f_files.saturating_sub(facts.f_ffree), facts.f_files)),
            // Of the file system: this daemon's own view is read-only in most places.
            read_only: mount.super_options.contains_key("ro"),
        });
    }
    file_systems.sort_by(|a, b| a.mount.cmp(&b.mount));
    Ok(Usage { file_systems })
}

/// The mount that holds a real path: the last one of the longest that fit.
fn holder(mounts: &[MountInfo], path: &Path) -> Option<i32> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.components().count())
        .map(|mount| mount.mnt_id)
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1000.0).round() / 10.0 }
}

fn summary(usage: &Usage) -> String {
    let words: Vec<_> = usage
        .file_systems
        .iter()
        .filter(|fs| fs.total > 0)
        .take(8)
        .map(|fs| {
            let state =
                if fs.read_only { "read-only".into() } else { format!("{} free", human_bytes(fs.available)) };
            format!("{} {} % of {} ({state})", fs.mount, fs.used_percent, human_bytes(fs.total))
        })
        .collect();
    words.join("; ")
}
