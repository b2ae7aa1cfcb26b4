//! `model.activate`

use super::shared::{LocalTier, SWITCHES, Switch, UNDO, prepare as switch, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::models::{Shelf, tier_of};
use aios_abi::infer::Tier;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Use a model, after a health test.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the model, as `model.list` shows it.
    name: String,
    /// The tier that uses it; without it the operational one below 1.5 thousand million parameters, else the tactical one.
    #[serde(default)]
    tier: Option<LocalTier>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 223,
    name: "model.activate",
    summary: "Use a language model in a tier once it has passed a health test; the one before is used again if it fails",
    effect: Effect::Reversible,
    touches: &["which model a tier uses"],
    role: Role::Admin,
    timeout_ms: 900_000,
    examples: &[
        ("use the model tiny", r#"{"name":"tiny"}"#),
        ("activate mistral-7b", r#"{"name":"mistral-7b"}"#),
        ("switch to the language model qwen2.5-3b", r#"{"name":"qwen2.5-3b"}"#),
        ("let the tactical tier think with phi", r#"{"name":"phi","tier":"tactical"}"#),
        ("use gemma as the operational model", r#"{"name":"gemma","tier":"operational"}"#),
        ("load llama-3b and answer with it from now on", r#"{"name":"llama-3b"}"#),
        ("make qwen the model of the tactical tier", r#"{"name":"qwen","tier":"tactical"}"#),
        ("go back to the image's model text", r#"{"name":"text"}"#),
    ],
    needs: SWITCHES,
    code: &Make { paths: no_paths, prepare, summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, Args { name, tier }: Args) -> Result<Switch, CallError> {
    let shelf = Shelf::of_machine();
    let model = shelf.find(&name)?;
    let wanted = tier.map(Tier::from);
    let tier = match (model.images, wanted) {
        (Some(own), Some(wanted)) if own != wanted => {
            return Err(CallError::invalid(format!(
                "{name} is the image's model of the {} tier and cannot be that of the {} tier",
                own.name(),
                wanted.name()
            )));
        }
        (Some(own), _) => own,
        (None, Some(wanted)) => wanted,
        (None, None) => tier_of(&model.check()?),
    };
    switch(ctx, &shelf, tier, model.choice())
}
