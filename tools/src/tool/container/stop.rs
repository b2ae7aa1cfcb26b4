//! `container.stop`

use super::shared::{ACTS_ON, Named, check};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::running::{self, Run, Wanted};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 159,
    name: "container.stop",
    summary: "Stop a container until it is run again or the machine boots",
    effect: Effect::Reversible,
    touches: &["the service of the container"],
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("stop the container shop", r#"{"name":"shop"}"#),
        ("docker stop wiki", r#"{"name":"wiki"}"#),
        ("shut the container blog down", r#"{"name":"blog"}"#),
        ("halt the container cache", r#"{"name":"cache"}"#),
        ("end the container mail for now", r#"{"name":"mail"}"#),
    ],
    needs: ACTS_ON,
    code: &Make { paths: no_paths, prepare, summary: running::summary, undo: Some(running::UNDO) },
};

fn prepare(ctx: &Ctx, args: Named) -> Result<Run, CallError> {
    check(ctx, &args.name)?;
    running::prepare(ctx, &args.name, Wanted::Stopped)
}
