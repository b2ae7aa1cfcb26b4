//! `firewall.list`

use super::shared::{Ban, Rule, now, prefix};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Show the rules and the bans in force.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only what is about this address or prefix.
    #[serde(default)]
    address: Option<String>,
}

/// The firewall.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Firewall {
    /// Rules, in the order in which they count: of two that are about the same packet the first.
    rules: Vec<Rule>,
    /// Addresses of which nothing passes until their time is over.
    bans: Vec<Ban>,
    /// What happens to packets that no rule is about.
    otherwise: &'static str,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 107,
    name: "firewall.list",
    summary: "Show the firewall's rules and the banned addresses",
    effect: Effect::Read,
    touches: &["the kernel's firewall"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("show the firewall rules", "{}"),
        ("which addresses are banned?", "{}"),
        ("is 192.0.2.7 blocked by the firewall?", r#"{"address":"192.0.2.7"}"#),
        ("who is locked out, and until when?", "{}"),
        ("which firewall rules are about 198.51.100.0/24?", r#"{"address":"198.51.100.0/24"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Firewall, CallError> {
    let mut now = now(ctx)?;
    if let Some(address) = args.address.as_deref().map(prefix).transpose()? {
        now.rules.retain(|rule| rule.rule.from.is_none_or(|from| from.overlaps(&address)));
        now.bans.retain(|ban| ban.of.overlaps(&address));
    }
    let rules = now.rules.into_iter().map(Rule::from).collect();
    let bans = now.bans.into_iter().map(Ban::from).collect();
    Ok(Firewall { rules, bans, otherwise: "allow" })
}

fn summary(found: &Firewall) -> String {
    let says = |rule: &Rule| format!("{}: {}", rule.id, rule.says);
    let rules: Vec<_> = found.rules.iter().take(5).map(says).collect();
    let more = if found.rules.len() > rules.len() { "; …" } else { "" };
    let rules = if rules.is_empty() { "no rules".into() } else { rules.join("; ") };
    match found.bans.len() {
        0 => format!("{rules}{more}; nobody is banned"),
        count => format!("{rules}{more}; {count} banned, {} among them", found.bans[0].address),
    }
}
