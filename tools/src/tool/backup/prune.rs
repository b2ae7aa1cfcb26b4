//! `backup.prune`

use super::shared::{default_folder, names};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview};
use crate::policy::Target;
use crate::reach::{Paths, Way};
use crate::snapshot::{self, read};
use crate::tool::fs::shared::CHANGES;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Snapshots that are looked at.
const MAX: usize = 10_000;

/// Remove all snapshots but the newest ones, for good: what a planned backup needs beside it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// So many of the newest stay.
    #[schemars(range(min = 1, max = 10_000))]
    keep: u32,
    /// Only snapshots whose name begins with this text.
    #[serde(default)]
    prefix: String,
    /// Absolute path of the directory that they are in.
    #[serde(default = "default_folder")]
    folder: String,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pruned {
    /// Names of the snapshots that are gone, the oldest first.
    removed: Vec<String>,
    /// Bytes that are free for it.
    bytes: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 185,
    name: "backup.prune",
    summary: "Remove old snapshots, all but the newest ones",
    effect: Effect::Irreversible,
    touches: &["/data/backup or the directory named"],
    role: Role::Admin,
    timeout_ms: 60_000,
    examples: &[
        ("keep only the last 7 backups", r#"{"keep":7}"#),
        ("prune old snapshots, the newest ten stay", r#"{"keep":10}"#),
        ("remove all but the newest 3 backups that begin with nightly", r#"{"keep":3,"prefix":"nightly"}"#),
        ("thin out the backups on /run/usb to the last 5", r#"{"keep":5,"folder":"/run/usb"}"#),
        ("delete backups older than the last 30", r#"{"keep":30}"#),
    ],
    needs: CHANGES,
    code: &Make { paths, prepare, summary, undo: None },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Change, args.folder.clone().into())]
}

struct Prune {
    folder: OwnedFd,
    place: PathBuf,
    prefix: String,
    /// Those that go, the oldest first, with their bytes.
    old: Vec<(String, u64)>,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Prune, CallError> {
    if args.keep == 0 {
        return Err(CallError::invalid("`keep` must be at least 1; backup.remove removes the last one"));
    }
    let (folder, place) = snapshot::folder(&args.folder)?;
    ctx.policy.may_write(&place.join("any"))?;
    let mut all = Vec::new();
    for name in names(&place, MAX)?.into_iter().filter(|name| name.starts_with(&args.prefix)) {
        ctx.check()?;
        let open = snapshot::open(&folder, &place, &name)?;
        let bytes = open.metadata()?.len();
        // What is no snapshot of ours is not ours to remove.
        let Ok(about) = read::about(open) else { continue };
        all.push((about.made, name, bytes));
    }
    all.sort_unstable();
    let going = all.len().saturating_sub(args.keep as usize);
    let old = all.into_iter().take(going).map(|(_, name, bytes)| (name, bytes)).collect();
    Ok(Prune { folder, place, prefix: args.prefix, old })
}

impl Change for Prune {
    type Output = Pruned;

    fn target(&self) -> Target {
        Target::Backup(format!("{}*", self.prefix))
    }

    fn preview(&self) -> Preview {
        let bytes = self.old.iter().map(|(_, bytes)| bytes).sum();
        let would = format!("remove {} snapshots, {}, for good", self.old.len(), human_bytes(bytes));
        let list: String = self.old.iter().map(|(name, _)| format!("-{name}\n")).collect();
        Preview { would, diff: (!list.is_empty()).then_some(list) }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Pruned, CallError> {
        let mut pruned = Pruned { removed: Vec::new(), bytes: 0 };
        for (name, bytes) in &self.old {
            ctx.check()?;
            snapshot::remove(&self.folder, &self.place, name)?;
            pruned.removed.push(name.clone());
            pruned.bytes += bytes;
        }
        Ok(pruned)
    }
}

fn summary(pruned: &Pruned) -> String {
    format!("removed {} snapshots, {}", pruned.removed.len(), human_bytes(pruned.bytes))
}
