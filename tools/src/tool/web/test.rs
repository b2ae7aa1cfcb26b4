//! `web.test`

use super::shared::{Tested, test};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Have nginx check its configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 135,
    name: "web.test",
    summary: "Test whether nginx would take its configuration as it is written now, and say what is wrong and where",
    effect: Effect::Read,
    touches: &["nginx's configuration in /data/nginx, read by nginx itself in its own sandbox"],
    role: Role::Viewer,
    timeout_ms: 40_000,
    examples: &[
        ("are the web server's settings free of mistakes?", "{}"),
        ("nginx -t", "{}"),
        ("is there a syntax error in my site files?", "{}"),
        ("would the web server accept what I wrote in conf.d?", "{}"),
        ("check the new virtual host before it is loaded", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToRunLooks]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, _args: Args) -> Result<Tested, CallError> {
    test(ctx)
}

fn summary(tested: &Tested) -> String {
    match (tested.good, tested.findings.len()) {
        (true, 0) => "nginx takes its configuration".into(),
        (true, 1) => format!("nginx takes its configuration, and warns: {}", tested.why()),
        (true, many) => format!("nginx takes its configuration, with {many} warnings: {}", tested.why()),
        (false, _) => format!("nginx refuses its configuration: {}", tested.why()),
    }
}
