//! `service.disable`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use crate::switch::{self, Switch, Wanted};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Do not start a service at boot any more. It keeps running until it is stopped.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `inferd`.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 27,
    name: "service.disable",
    summary: "Keep the boot from starting a service",
    effect: Effect::Reversible,
    touches: &["/data/config/services/disabled"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("disable inferd", r#"{"name":"inferd"}"#),
        ("do not start agentd at boot any more", r#"{"name":"agentd"}"#),
        ("disable the service netd at boot", r#"{"name":"netd"}"#),
        ("keep inferd from starting with the machine", r#"{"name":"inferd"}"#),
        ("switch the service agentd off for the next boots", r#"{"name":"agentd"}"#),
    ],
    needs: switch::NEEDS,
    code: &Make { paths: switch::paths, prepare, summary: switch::summary, undo: Some(switch::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Switch, CallError> {
    switch::prepare(ctx, &args.name, Wanted::Disabled)
}
