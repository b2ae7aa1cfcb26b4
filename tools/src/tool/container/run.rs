//! `container.run`

use super::shared::{ACTS_ON, Named, check};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::running::{self, Run, Wanted};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 156,
    name: "container.run",
    summary: "Run a container that does not run",
    effect: Effect::Reversible,
    touches: &["the service of the container"],
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("run the container shop", r#"{"name":"shop"}"#),
        ("start the container blog", r#"{"name":"blog"}"#),
        ("docker start wiki", r#"{"name":"wiki"}"#),
        ("bring the stopped container cache up", r#"{"name":"cache"}"#),
        ("launch the container mail", r#"{"name":"mail"}"#),
    ],
    needs: ACTS_ON,
    code: &Make { paths: no_paths, prepare, summary: running::summary, undo: Some(running::UNDO) },
};

fn prepare(ctx: &Ctx, args: Named) -> Result<Run, CallError> {
    check(ctx, &args.name)?;
    running::prepare(ctx, &args.name, Wanted::Started)
}
