//! `model.forget`

use super::shared::{Learned, learned_target, learned_undo};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::models;
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::undo::Kept;
use aios_abi::infer::{Adapted, InferRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Use only what the image has learned.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 227,
    name: "model.forget",
    summary: "Forget what was learned from approved calls on this machine; only what the image has learned is used again",
    effect: Effect::Reversible,
    touches: &["which of the things that were learned is used"],
    role: Role::Admin,
    timeout_ms: 120_000,
    examples: &[
        ("forget what you learned from us", "{}"),
        ("drop everything that was trained on this machine", "{}"),
        ("use only what the image has learned", "{}"),
        ("since the training you understand me worse, undo it", "{}"),
        ("discard the learned adapter", "{}"),
        ("unlearn our way of asking", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::ModelsToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: Some(learned_undo()) },
};

struct Forget {
    before: Adapted,
}

fn prepare(ctx: &Ctx, _: Args) -> Result<Forget, CallError> {
    Ok(Forget { before: models::adapted(ctx, InferRequest::Learned)? })
}

impl Change for Forget {
    type Output = Learned;

    fn target(&self) -> Target {
        learned_target()
    }

    fn preview(&self) -> Preview {
        let would = match &self.before.current {
            Some(name) => format!("use no longer what was learned here ({name})"),
            None => "change nothing: nothing that was learned here is used".into(),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&self.before.current, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Learned, CallError> {
        models::adapted(ctx, InferRequest::Adapt { to: None }).map(|now| Learned::of(&now))
    }
}

fn summary(learned: &Learned) -> String {
    match &learned.before {
        Some(name) => format!("what was learned here ({name}) is used no longer; it can be taken up again"),
        None => "nothing that was learned here was used".into(),
    }
}
