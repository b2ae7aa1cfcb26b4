//! `container.restart`

use super::shared::{ACTS_ON, Named, check};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::tool::service::restart::{Restart, restart, summary};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 158,
    name: "container.restart",
    summary: "Restart a container",
    effect: Effect::Irreversible,
    touches: &["the service of the container"],
    // Harmless, but there is nothing to take back.
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("restart the container shop", r#"{"name":"shop"}"#),
        ("docker restart wiki", r#"{"name":"wiki"}"#),
        ("bounce the container blog", r#"{"name":"blog"}"#),
        ("stop and start the container cache again", r#"{"name":"cache"}"#),
        ("the container mail hangs, restart it", r#"{"name":"mail"}"#),
    ],
    needs: ACTS_ON,
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

fn prepare(ctx: &Ctx, args: Named) -> Result<Restart, CallError> {
    check(ctx, &args.name)?;
    restart(ctx, &args.name)
}
