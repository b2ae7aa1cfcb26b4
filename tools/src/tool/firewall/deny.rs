//! `firewall.deny`

use super::shared::{self, Edit};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::firewall::Action;
use aios_abi::netconf::SENDERS_FORM;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Throw packets away. A rule about fewer senders goes before one about more, and then one about fewer ports; so
/// "everything" leaves what other rules allow. One that is about the console is taken back unless it is confirmed in time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Whose packets: an address such as `192.0.2.7` or a prefix such as `192.0.2.0/24`; everybody's if none is given.
    #[serde(default)]
    #[schemars(regex(pattern = SENDERS_FORM))]
    from: Option<String>,
    /// Port of this machine; all ports if none is given.
    #[serde(default)]
    port: Option<u16>,
    /// The last port, if it is about several that follow each other.
    #[serde(default)]
    last_port: Option<u16>,
    /// Protocol; of ports TCP if none is given, and otherwise all.
    #[serde(default)]
    protocol: Option<shared::Protocol>,
    /// Interface by which the packets come, such as `eth0`; any if none is given.
    #[serde(default)]
    interface: Option<String>,
    /// Seconds that somebody has to confirm that the console can still be reached (`net.confirm`).
    #[serde(default = "shared::default_seconds")]
    #[schemars(range(min = 10, max = 600))]
    seconds: u16,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 102,
    name: "firewall.deny",
    summary: "Block packets with the firewall: from an address, to a port, or everything that is not allowed",
    effect: Effect::Reversible,
    touches: &["the kernel's firewall", "/data/netd/firewall.toml"],
    role: Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        ("block port 23", r#"{"port":23}"#),
        ("deny everything from 203.0.113.0/24", r#"{"from":"203.0.113.0/24"}"#),
        ("close SSH for everybody", r#"{"port":22}"#),
        ("drop all UDP that comes in by eth1", r#"{"protocol":"udp","interface":"eth1"}"#),
        ("close all ports that no rule opens", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: shared::summary, undo: Some(shared::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Edit, CallError> {
    let Args { from, port, last_port, protocol, interface, seconds } = args;
    let args = shared::Args { from, port, last_port, protocol, interface };
    shared::rule(ctx, args, Action::Deny, seconds)
}
