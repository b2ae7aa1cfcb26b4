//! `firewall.allow`

use super::shared::{self, Args, Edit, default_seconds};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::firewall::Action;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 108,
    name: "firewall.allow",
    summary: "Allow packets through the firewall: from an address, to a port",
    effect: Effect::Reversible,
    touches: &["the kernel's firewall", "/data/netd/firewall.toml"],
    role: Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        ("allow SSH from 192.0.2.0/24", r#"{"from":"192.0.2.0/24","port":22}"#),
        ("open port 8080", r#"{"port":8080}"#),
        ("let 198.51.100.7 reach everything here", r#"{"from":"198.51.100.7"}"#),
        ("accept UDP port 51820 for the VPN", r#"{"port":51820,"protocol":"udp"}"#),
        ("open the ports 5000 to 5010 on eth1", r#"{"port":5000,"last_port":5010,"interface":"eth1"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: shared::summary, undo: Some(shared::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Edit, CallError> {
    shared::rule(ctx, args, Action::Allow, default_seconds())
}
