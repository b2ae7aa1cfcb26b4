//! `run.command`

use super::shared::{Args, Wait, prepare, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::run::RunHow;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 152,
    name: "run.command",
    summary: "Run a command of a service in that service's sandbox, and wait for its output and exit status",
    effect: Effect::Irreversible,
    touches: &["what the sandbox of the service lets it change"],
    role: Role::Admin,
    timeout_ms: 600_000,
    examples: &[
        ("run the command dump of postgresql", r#"{"service":"postgresql","command":"dump"}"#),
        ("reindex the database", r#"{"service":"postgresql","command":"reindex"}"#),
        ("execute backup of the service redis", r#"{"service":"redis","command":"backup"}"#),
        (
            "let the service site run its command build with the argument production",
            r#"{"service":"site","command":"build","arguments":["production"]}"#,
        ),
        ("run web's command migrate and wait for it", r#"{"service":"web","command":"migrate"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare: begin, summary, undo: None },
};

fn begin(ctx: &Ctx, args: Args) -> Result<Wait, CallError> {
    prepare(ctx, args, RunHow::Wait).map(Wait)
}
