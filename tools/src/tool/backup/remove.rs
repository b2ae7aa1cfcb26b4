//! `backup.remove`

use super::shared::default_folder;
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview};
use crate::policy::Target;
use crate::reach::{Paths, Way};
use crate::snapshot;
use crate::tool::fs::shared::CHANGES;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Remove a snapshot for good.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the snapshot.
    name: String,
    /// Absolute path of the directory that it is in.
    #[serde(default = "default_folder")]
    folder: String,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Removed {
    /// Name of the snapshot.
    name: String,
    /// Bytes that are free for it.
    bytes: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 173,
    name: "backup.remove",
    summary: "Delete a snapshot for good",
    effect: Effect::Irreversible,
    touches: &["the snapshot's file"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("delete the backup before-upgrade", r#"{"name":"before-upgrade"}"#),
        ("remove the snapshot projects-may", r#"{"name":"projects-may"}"#),
        ("throw away the old snapshot weekly", r#"{"name":"weekly"}"#),
        ("drop the backup nightly to free room", r#"{"name":"nightly"}"#),
        ("erase the backup nightly from /run/usb", r#"{"name":"nightly","folder":"/run/usb"}"#),
    ],
    needs: CHANGES,
    code: &Make { paths, prepare, summary, undo: None },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Change, args.folder.clone().into())]
}

struct Remove {
    folder: OwnedFd,
    place: PathBuf,
    name: String,
    bytes: u64,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Remove, CallError> {
    let name = snapshot::plain(&args.name)?.to_owned();
    let (folder, place) = snapshot::folder(&args.folder)?;
    ctx.policy.may_write(&place.join(snapshot::file_name(&name)))?;
    let bytes = snapshot::open(&folder, &place, &name)?.metadata()?.len();
    Ok(Remove { folder, place, name, bytes })
}

impl Change for Remove {
    type Output = Removed;

    fn target(&self) -> Target {
        Target::Backup(self.name.clone())
    }

    fn preview(&self) -> Preview {
        let would = format!("remove the snapshot {}, {}, for good", self.name, human_bytes(self.bytes));
        Preview { would, diff: None }
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Removed, CallError> {
        snapshot::remove(&self.folder, &self.place, &self.name)?;
        Ok(Removed { name: self.name.clone(), bytes: self.bytes })
    }
}

fn summary(removed: &Removed) -> String {
    format!("removed the snapshot {}, {}", removed.name, human_bytes(removed.bytes))
}
