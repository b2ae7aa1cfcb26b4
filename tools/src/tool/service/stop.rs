//! `service.stop`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use crate::running::{self, Run, Wanted};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Stop a service until it is started again or the machine boots.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `netd`.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 101,
    name: "service.stop",
    summary: "Stop a service until it is started again or the machine boots",
    effect: Effect::Reversible,
    touches: &["the service named"],
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("stop the service inferd", r#"{"name":"inferd"}"#),
        ("stop netd", r#"{"name":"netd"}"#),
        ("shut the service agentd down", r#"{"name":"agentd"}"#),
        ("halt the service backup for now", r#"{"name":"backup"}"#),
        ("end the service report until I start it", r#"{"name":"report"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary: running::summary, undo: Some(running::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Run, CallError> {
    running::prepare(ctx, &args.name, Wanted::Stopped)
}
