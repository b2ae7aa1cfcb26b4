//! `service.enable`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use crate::switch::{self, Switch, Wanted};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Start a service at boot again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `inferd`.
    name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 26,
    name: "service.enable",
    summary: "Have the boot start a service again",
    effect: Effect::Reversible,
    touches: &["/data/config/services/disabled"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("enable netd", r#"{"name":"netd"}"#),
        ("let the boot start inferd again", r#"{"name":"inferd"}"#),
        ("enable the service agentd at boot", r#"{"name":"agentd"}"#),
        ("switch the service inferd on for every boot", r#"{"name":"inferd"}"#),
        ("have netd start with the machine", r#"{"name":"netd"}"#),
    ],
    needs: switch::NEEDS,
    code: &Make { paths: switch::paths, prepare, summary: switch::summary, undo: Some(switch::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Switch, CallError> {
    switch::prepare(ctx, &args.name, Wanted::Enabled)
}
