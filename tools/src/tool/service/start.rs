//! `service.start`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use crate::running::{self, Run, Wanted};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Start a service that does not run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `netd`.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 29,
    name: "service.start",
    summary: "Start a service that does not run",
    effect: Effect::Reversible,
    touches: &["the service named"],
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("start the service backup", r#"{"name":"backup"}"#),
        ("start netd", r#"{"name":"netd"}"#),
        ("bring the stopped service inferd up", r#"{"name":"inferd"}"#),
        ("let the service agentd run again", r#"{"name":"agentd"}"#),
        ("launch the service report", r#"{"name":"report"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary: running::summary, undo: Some(running::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Run, CallError> {
    running::prepare(ctx, &args.name, Wanted::Started)
}
