//! `model.rollback`

use super::shared::{LocalTier, SWITCHES, Switch, UNDO, prepare as switch, summary};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::models::{self, Shelf};
use aios_abi::infer::{ModelChoice, Tier, TierModel};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Use the model that a tier used before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The tier; without it the only one whose model was changed.
    #[serde(default)]
    tier: Option<LocalTier>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 224,
    name: "model.rollback",
    summary: "Go back to the language model that a tier used before",
    effect: Effect::Reversible,
    touches: &["which model a tier uses"],
    role: Role::Admin,
    timeout_ms: 900_000,
    examples: &[
        ("go back to the model before", "{}"),
        ("the new language model is bad, use the old one again", "{}"),
        ("roll back the model of the tactical tier", r#"{"tier":"tactical"}"#),
        ("undo the change of models", "{}"),
        ("the operational tier should use its previous model", r#"{"tier":"operational"}"#),
        ("rollback the LLM", "{}"),
    ],
    needs: SWITCHES,
    code: &Make { paths: no_paths, prepare, summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, Args { tier }: Args) -> Result<Switch, CallError> {
    let (tier, before) = choose(&models::tiers(ctx)?, tier.map(Tier::from))?;
    switch(ctx, &Shelf::of_machine(), tier, before)
}

/// The tier that goes back, and to what. Where nothing is remembered, that is the image's own model.
fn choose(tiers: &[TierModel], wanted: Option<Tier>) -> Result<(Tier, ModelChoice), CallError> {
    let before = |entry: &TierModel| {
        let own = (entry.current != ModelChoice::Image).then_some(ModelChoice::Image);
        entry.previous.clone().or(own).map(|before| (entry.tier, before))
    };
    let named = tiers.iter().filter(|entry| wanted.is_none_or(|wanted| wanted == entry.tier));
    let changed: Vec<(Tier, ModelChoice)> = named.filter_map(before).collect();
    match (changed.as_slice(), wanted) {
        ([only], _) => Ok(only.clone()),
        ([], Some(tier)) => {
            Err(CallError::not_found(format!("the {} tier used no other model before", tier.name())))
        }
        ([], None) => Err(CallError::not_found("no tier used another model before")),
        _ => Err(CallError::invalid(
            "the models of both tiers were changed; say which: operational or tactical",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_tier_that_was_changed_goes_back_and_of_two_one_must_be_named() {
        let entry = |tier, previous: Option<&str>| TierModel {
            tier,
            current: ModelChoice::Image,
            previous: previous.map(|name| ModelChoice::Imported(name.into())),
            trial: false,
            note: None,
        };
        let one = [entry(Tier::Operational, None), entry(Tier::Tactical, Some("a"))];
        assert_eq!(choose(&one, None).expect("one"), (Tier::Tactical, ModelChoice::Imported("a".into())));
        assert!(
            choose(&one, Some(Tier::Operational))
                .is_err_and(|e| e.message.contains("operational tier used no"))
        );
        let both = [entry(Tier::Operational, Some("b")), entry(Tier::Tactical, Some("a"))];
        assert!(choose(&both, None).is_err_and(|e| e.message.contains("say which")));
        assert_eq!(choose(&both, Some(Tier::Operational)).expect("named").0, Tier::Operational);
        assert!(choose(&[], None).is_err());
        let forgotten =
            TierModel { current: ModelChoice::Imported("x".into()), ..entry(Tier::Tactical, None) };
        assert_eq!(choose(&[forgotten], None).expect("one"), (Tier::Tactical, ModelChoice::Image));
    }
}
