//! `pkg.updates`

use super::shared::{LOOKS, Newer, default_directories, newer};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::reach::{Needs, Paths, Way};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Find newer versions of what is installed among image files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute paths of the directories that are looked through.
    #[serde(default = "default_directories")]
    directories: Vec<String>,
}

/// What could be updated.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Updates {
    /// By name.
    updates: Vec<Newer>,
    /// Newer versions that cannot be installed, and why.
    refused: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 183,
    name: "pkg.updates",
    summary: "Find newer versions of the installed extensions",
    effect: Effect::Read,
    touches: &["the directories named", "/data/extensions"],
    role: Role::Viewer,
    timeout_ms: 60_000,
    examples: &[
        ("are there updates for the extensions?", "{}"),
        ("which installed packages are out of date?", "{}"),
        ("does the stick in /run/usb bring newer versions?", r#"{"directories":["/run/usb"]}"#),
        ("check /data/upload for package upgrades", r#"{"directories":["/data/upload"]}"#),
        ("is anything newer than what is installed available?", "{}"),
    ],
    needs: Needs::NOTHING.read(LOOKS),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    args.directories.iter().map(|path| (Way::Read, path.into())).collect()
}

fn run(ctx: &Ctx, args: Args) -> Result<Updates, CallError> {
    let (updates, refused) = newer(ctx, &args.directories)?;
    Ok(Updates { updates, refused })
}

fn summary(found: &Updates) -> String {
    let refused = match found.refused.len() {
        0 => String::new(),
        count => format!("; {count} newer versions cannot be installed"),
    };
    let all: Vec<String> =
        found.updates.iter().map(|one| format!("{} {} → {}", one.name, one.installed, one.version)).collect();
    match all.is_empty() {
        true => format!("no newer version is there{refused}"),
        false => format!("{}{refused}", all.join(", ")),
    }
}
