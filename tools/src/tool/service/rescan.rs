//! `service.rescan`

use super::shared::{ask, unexpected};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Read the service files again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rescanned {
    /// Services that are new; they are started.
    added: Vec<String>,
    /// Services whose file changed; it counts from their next start.
    changed: Vec<String>,
    /// Services that are gone; they are stopped.
    removed: Vec<String>,
    /// Service files that were refused, one sentence each.
    refused: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 25,
    name: "service.rescan",
    summary: "Read all service files again: start new services, stop those whose file is gone",
    effect: Effect::Irreversible,
    touches: &["services whose file was added, changed or removed"],
    role: Role::Operator,
    timeout_ms: 30_000,
    examples: &[
        ("read the service files again", "{}"),
        ("rescan the service files", "{}"),
        ("look for new service files", "{}"),
        ("I have added a service file, start it", "{}"),
        ("take the changed service files into force", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Rescan;

fn prepare(_ctx: &Ctx, _args: Args) -> Result<Rescan, CallError> {
    Ok(Rescan)
}

impl Change for Rescan {
    type Output = Rescanned;

    fn target(&self) -> Target {
        Target::Service("(all)".into())
    }

    fn preview(&self) -> Preview {
        Preview { would: "read all service files and start or stop what they add or lack".into(), diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Rescanned, CallError> {
        match ask(ctx, InitRequest::Rescan)? {
            InitReply::Rescanned { added, changed, removed, refused } => {
                Ok(Rescanned { added, changed, removed, refused })
            }
            _ => Err(unexpected()),
        }
    }
}

fn summary(done: &Rescanned) -> String {
    let named = [("new", &done.added), ("changed", &done.changed), ("gone", &done.removed)];
    let mut said: Vec<String> = named
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(word, names)| format!("{word}: {}", names.join(", ")))
        .collect();
    if !done.refused.is_empty() {
        said.push(format!("{} files were refused", done.refused.len()));
    }
    match said.is_empty() {
        true => "nothing has changed in the service files".into(),
        false => said.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_said_in_one_line() {
        let mut done = Rescanned { added: vec![], changed: vec![], removed: vec![], refused: vec![] };
        assert_eq!(summary(&done), "nothing has changed in the service files");
        done.added = vec!["web".into(), "db".into()];
        done.refused = vec!["x.toml:1: bad".into()];
        assert_eq!(summary(&done), "new: web, db; 1 files were refused");
    }
}
