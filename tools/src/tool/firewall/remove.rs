//! `firewall.remove`

use super::shared::{self, Edit, now};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::firewall::FirewallChange;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Remove a rule. One that allows the console is taken back unless that is confirmed in time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Number of the rule, as `firewall.list` shows it.
    id: u32,
    /// Seconds that somebody has to confirm that the console can still be reached (`net.confirm`).
    #[serde(default = "shared::default_seconds")]
    #[schemars(range(min = 10, max = 600))]
    seconds: u16,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 103,
    name: "firewall.remove",
    summary: "Remove a rule from the firewall",
    effect: Effect::Reversible,
    touches: &["the kernel's firewall", "/data/netd/firewall.toml"],
    role: Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        ("remove firewall rule 3", r#"{"id":3}"#),
        ("delete rule 12 of the firewall", r#"{"id":12}"#),
        ("drop the firewall rule number 1", r#"{"id":1}"#),
        ("firewall rule 5 is no longer needed", r#"{"id":5}"#),
        ("take rule 7 out, and give me two minutes to confirm", r#"{"id":7,"seconds":120}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: shared::summary, undo: Some(shared::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Edit, CallError> {
    let found = now(ctx)?.rules.into_iter().find(|rule| rule.id == args.id);
    let missing = || CallError::not_found(format!("there is no rule {}; firewall.list shows all", args.id));
    let rule = found.ok_or_else(missing)?.rule;
    shared::edit(FirewallChange::Rule { id: args.id, before: Some(rule), after: None }, args.seconds)
}
