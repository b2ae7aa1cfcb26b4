//! `schedule.disable`

use super::shared::{NEEDS, Switch, UNDO, present, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::schedule::Entry;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Pause an entry: it stays in the schedule and does not run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the entry.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 179,
    name: "schedule.disable",
    summary: "Pause an entry of the schedule",
    effect: Effect::Reversible,
    touches: &["the schedule"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("pause the scheduled task nightly", r#"{"name":"nightly"}"#),
        ("do not run the planned job tidy for now", r#"{"name":"tidy"}"#),
        ("suspend restart-web in the schedule", r#"{"name":"restart-web"}"#),
        ("disable check-backup in the schedule", r#"{"name":"check-backup"}"#),
        ("hold the planned task holes until I say so", r#"{"name":"holes"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare, summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Switch, CallError> {
    let from = present(ctx, &args.name)?;
    let to = Some(Entry { enabled: false, ..from.entry.clone() });
    Ok(Switch { name: args.name, from: Some(from), to })
}
