//! `schedule.remove`

use super::shared::{NEEDS, Switch, UNDO, present, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Take an entry out of the schedule; a run that is under way comes to its end.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the entry.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 177,
    name: "schedule.remove",
    summary: "Take an entry out of the schedule",
    effect: Effect::Reversible,
    touches: &["the schedule"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("take nightly out of the schedule", r#"{"name":"nightly"}"#),
        ("stop planning restart-web for good", r#"{"name":"restart-web"}"#),
        ("delete the planned task tidy", r#"{"name":"tidy"}"#),
        ("unschedule check-backup", r#"{"name":"check-backup"}"#),
        ("I do not want the scheduled job holes any more", r#"{"name":"holes"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare, summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Switch, CallError> {
    let from = present(ctx, &args.name)?;
    let to = None;
    Ok(Switch { name: args.name, from: Some(from), to })
}
