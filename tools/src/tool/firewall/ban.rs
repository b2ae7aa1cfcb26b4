//! `firewall.ban`

use super::shared::{self, Edit, default_seconds, now, prefix};
use crate::audit::now_ms;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::firewall::{Ban, FirewallChange};
use aios_abi::netconf::SENDERS_FORM;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Throw everything away that comes from an address, until its time is over. It holds for connections that stand as well.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Address such as `192.0.2.7`, or prefix such as `192.0.2.0/24`.
    #[schemars(regex(pattern = SENDERS_FORM))]
    address: String,
    /// Seconds that it lasts, at most a year; a ban that is there already lasts so long from now.
    #[serde(default = "an_hour")]
    #[schemars(range(min = 1, max = 31_622_400))]
    seconds: u32,
    /// Why, in a few words.
    #[serde(default = "by_hand")]
    reason: String,
}

fn an_hour() -> u32 {
    3_600
}

fn by_hand() -> String {
    "by hand".into()
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 105,
    name: "firewall.ban",
    summary: "Ban an address or a network for a while",
    effect: Effect::Reversible,
    touches: &["the kernel's firewall", "/data/netd/firewall.toml"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("ban 203.0.113.9 for an hour", r#"{"address":"203.0.113.9"}"#),
        ("lock 198.51.100.0/24 out for a day", r#"{"address":"198.51.100.0/24","seconds":86400}"#),
        (
            "203.0.113.77 scans our ports, keep it away for ten minutes",
            r#"{"address":"203.0.113.77","seconds":600,"reason":"scans ports"}"#,
        ),
        ("ban the IPv6 network 2001:db8:66::/48", r#"{"address":"2001:db8:66::/48"}"#),
        (
            "shut out the attacker at 192.0.2.66 until next week",
            r#"{"address":"192.0.2.66","seconds":604800}"#,
        ),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: shared::summary, undo: Some(shared::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Edit, CallError> {
    let of = prefix(&args.address)?;
    let until_ms = now_ms().saturating_add(u64::from(args.seconds) * 1_000);
    let ban = Ban { until_ms, seconds: args.seconds, reason: args.reason };
    ban.check(&of).map_err(CallError::invalid)?;
    let before = now(ctx)?.bans.into_iter().find(|ban| ban.of == of).map(|ban| ban.ban);
    shared::edit(FirewallChange::Ban { of, before, after: Some(ban) }, default_seconds())
}
