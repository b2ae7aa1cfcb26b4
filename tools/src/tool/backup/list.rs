//! `backup.list`

use super::shared::{default_folder, names};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::reach::{Needs, Paths, Way};
use crate::snapshot::{self, About, read};
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Snapshots that are shown.
const MAX: usize = 500;

/// List snapshots.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the directory that they are in.
    #[serde(default = "default_folder")]
    folder: String,
}

/// The snapshots.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Snapshots {
    /// By name, at most 500.
    snapshots: Vec<Snapshot>,
    /// Bytes that all of them take.
    bytes: u64,
}

/// A snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Snapshot {
    /// Its name.
    name: String,
    /// Bytes of its file.
    bytes: u64,
    /// When it was made, in RFC 3339, UTC.
    made: Option<String>,
    /// Who asked for it.
    by: Option<String>,
    /// What was saved.
    paths: Vec<String>,
    /// Why it cannot be read.
    flaw: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 171,
    name: "backup.list",
    summary: "List the snapshots: when they were made and what they hold",
    effect: Effect::Read,
    touches: &["/data/backup or the directory named"],
    role: Role::Viewer,
    timeout_ms: 20_000,
    examples: &[
        ("which backups are there?", "{}"),
        ("list all snapshots", "{}"),
        ("when was the last backup made?", "{}"),
        ("show the snapshots on the stick in /run/usb", r#"{"folder":"/run/usb"}"#),
        ("how much room do the backups take?", "{}"),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Read, args.folder.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Snapshots, CallError> {
    let (folder, place) = snapshot::folder(&args.folder)?;
    ctx.may_see(&place)?;
    let mut snapshots = Vec::new();
    for name in names(&place, MAX)? {
        ctx.check()?;
        snapshots.push(look(&folder, &place, name));
    }
    let bytes = snapshots.iter().map(|one| one.bytes).sum();
    Ok(Snapshots { snapshots, bytes })
}

fn look(folder: &OwnedFd, place: &Path, name: String) -> Snapshot {
    let found = snapshot::open(folder, place, &name).and_then(|open| Ok((open.metadata()?.len(), open)));
    let (bytes, about) = match found {
        Ok((bytes, open)) => (bytes, read::about(open)),
        Err(e) => (0, Err(e)),
    };
    match about {
        Ok(About { made, by, paths, .. }) => {
            Snapshot { name, bytes, made: Some(made), by: Some(by), paths, flaw: None }
        }
        Err(e) => Snapshot { name, bytes, made: None, by: None, paths: Vec::new(), flaw: Some(e.message) },
    }
}

fn summary(found: &Snapshots) -> String {
    let last = found.snapshots.iter().filter_map(|one| Some((one.made.as_ref()?, &one.name))).max();
    match last {
        None => "there is no snapshot".into(),
        Some((made, name)) => format!(
            "{} snapshots, {}; the newest is {name} of {made}",
            found.snapshots.len(),
            human_bytes(found.bytes)
        ),
    }
}
