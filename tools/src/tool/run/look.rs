//! `run.look`

use super::shared::{Args, Ran, summary, wait};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::run::RunHow;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 151,
    name: "run.look",
    summary: "Run a command of a service that changes nothing, and show what it says",
    effect: Effect::Read,
    touches: &["what the sandbox of the service lets it read"],
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("test the configuration of nginx", r#"{"service":"nginx","command":"test"}"#),
        ("is the nginx configuration valid?", r#"{"service":"nginx","command":"test"}"#),
        ("run the command version of postgresql", r#"{"service":"postgresql","command":"version"}"#),
        (
            "have web check its settings, verbosely",
            r#"{"service":"web","command":"check","arguments":["-v"]}"#,
        ),
        ("what does the command status of redis say?", r#"{"service":"redis","command":"status"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToRunLooks]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Ran, CallError> {
    wait(ctx, args.request(RunHow::Look))
}
