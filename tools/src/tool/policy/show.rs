//! `policy.show`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::judge::{PolicyAnswer, PolicyQuestion};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Show who may do what, and how far the agent goes on its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Also what rules can speak of: all tools, kinds of targets and circumstances, as a Cedar schema.
    #[serde(default)]
    schema: bool,
}

/// The policy that counts.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// The document as it was set (TOML); what it does not say has the value of a new appliance.
    document: String,
    /// Why the document on disk is not used, if it is not: then the agent asks before each change.
    refused: Option<String>,
    /// All rules: those of every appliance, then those of the document.
    rules: Vec<Rule>,
    /// What rules can speak of, if it was asked for.
    schema: Option<String>,
}

/// A rule.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rule {
    /// Its name, as refusals give it.
    name: String,
    /// In Cedar.
    text: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 95,
    name: "policy.show",
    summary: "Show the policy: who may do what, the agent's autonomy, limits and protected targets",
    effect: Effect::Read,
    touches: &["the policy"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("show the policy", "{}"),
        ("what is the agent allowed to do on its own?", "{}"),
        ("which autonomy level is set?", "{}"),
        ("what rules decide who may change something?", "{}"),
        ("what can a policy rule speak of?", r#"{"schema":true}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::Policy]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Shown, CallError> {
    let PolicyAnswer::Present { document, refused, rules, schema } = ctx.policy(PolicyQuestion::Show)? else {
        return Err(super::shared::unexpected());
    };
    let rules = rules.into_iter().map(|(name, text)| Rule { name, text }).collect();
    Ok(Shown { document, refused, rules, schema: args.schema.then_some(schema) })
}

fn summary(shown: &Shown) -> String {
    match (&shown.refused, shown.document.trim().is_empty()) {
        (Some(why), _) => {
            format!("the document on disk is not used ({why}); the agent asks before each change")
        }
        (None, true) => format!("{} rules, as on every new appliance", shown.rules.len()),
        (None, false) => format!("{} rules, with a document of one's own", shown.rules.len()),
    }
}
