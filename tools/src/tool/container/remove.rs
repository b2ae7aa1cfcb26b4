//! `container.remove`

use super::shared::{Named, check};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make};
use crate::reach::Paths;
use crate::tool::pkg::remove::removal;
use crate::tool::pkg::shared::{NEEDS, Switch, UNDO, changed, summary};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 161,
    name: "container.remove",
    summary: "Remove a container; its data stays, and its image until the room is needed",
    effect: Effect::Reversible,
    touches: &["/data/extensions", "/data/config/services", "the service of the container"],
    role: Role::Admin,
    timeout_ms: 120_000,
    examples: &[
        ("remove the container shop", r#"{"name":"shop"}"#),
        ("docker rm wiki", r#"{"name":"wiki"}"#),
        ("delete the container blog from this machine", r#"{"name":"blog"}"#),
        ("I do not need the container cache any more", r#"{"name":"cache"}"#),
        ("take the container mail away", r#"{"name":"mail"}"#),
    ],
    needs: NEEDS,
    code: &Make { paths, prepare, summary, undo: Some(UNDO) },
};

fn paths(_: &Named) -> Paths {
    changed()
}

fn prepare(ctx: &Ctx, Named { name }: Named) -> Result<Switch, CallError> {
    check(ctx, &name)?;
    removal(ctx, name)
}
