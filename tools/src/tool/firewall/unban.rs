//! `firewall.unban`

use super::shared::{self, Edit, default_seconds, now, prefix};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::firewall::FirewallChange;
use aios_abi::netconf::SENDERS_FORM;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// End a ban before its time is over.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The address or prefix that is banned.
    #[schemars(regex(pattern = SENDERS_FORM))]
    address: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 106,
    name: "firewall.unban",
    summary: "End the ban of an address or a network",
    effect: Effect::Reversible,
    touches: &["the kernel's firewall", "/data/netd/firewall.toml"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("unban 203.0.113.9", r#"{"address":"203.0.113.9"}"#),
        ("lift the ban of 198.51.100.0/24", r#"{"address":"198.51.100.0/24"}"#),
        ("192.0.2.7 was banned by mistake, let it in again", r#"{"address":"192.0.2.7"}"#),
        ("forgive the address 203.0.113.77", r#"{"address":"203.0.113.77"}"#),
        ("end the ban of 2001:db8:66::/48", r#"{"address":"2001:db8:66::/48"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: shared::summary, undo: Some(shared::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Edit, CallError> {
    let of = prefix(&args.address)?;
    let bans = now(ctx)?.bans;
    let Some(found) = bans.iter().find(|ban| ban.of == of) else {
        let text = match bans.iter().find(|ban| ban.of.overlaps(&of)) {
            Some(other) => format!("{of} itself is not banned, but {} is; end that ban", other.of),
            None => format!("{of} is not banned; firewall.list shows who is, and which rules deny something"),
        };
        return Err(CallError::not_found(text));
    };
    let before = Some(found.ban.clone());
    shared::edit(FirewallChange::Ban { of, before, after: None }, default_seconds())
}
