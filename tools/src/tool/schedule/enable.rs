//! `schedule.enable`

use super::shared::{NEEDS, Switch, UNDO, present, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::schedule::Entry;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Let an entry run again, from its next moment on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the entry.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 178,
    name: "schedule.enable",
    summary: "Let an entry of the schedule run again",
    effect: Effect::Reversible,
    touches: &["the schedule"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("resume the scheduled task nightly", r#"{"name":"nightly"}"#),
        ("let the planned job tidy run again", r#"{"name":"tidy"}"#),
        ("switch the schedule entry restart-web back on", r#"{"name":"restart-web"}"#),
        ("enable check-backup in the schedule", r#"{"name":"check-backup"}"#),
        ("unpause the planned task holes", r#"{"name":"holes"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare, summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Switch, CallError> {
    let from = present(ctx, &args.name)?;
    let to = Some(Entry { enabled: true, ..from.entry.clone() });
    Ok(Switch { name: args.name, from: Some(from), to })
}
