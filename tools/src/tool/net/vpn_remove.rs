//! `net.vpn_remove`

use super::vpn_set::lines;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::network::{self, Attempt, setup};
use crate::reach::{Asks, Needs};
use aios_abi::netconf::Change;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Remove a tunnel that was set up with `net.vpn_set`. Its key is kept, for the undo and for a tunnel of that name later. The
/// change is taken back by itself unless it is confirmed in time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the tunnel's interface.
    interface: String,
    /// Seconds that somebody has to confirm that the machine can still be reached.
    #[serde(default = "network::default_seconds")]
    #[schemars(range(min = 10, max = 600))]
    seconds: u16,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 119,
    name: "net.vpn_remove",
    summary: "Remove a WireGuard VPN tunnel",
    effect: Effect::Reversible,
    touches: &["the tunnel named", "the routing table: networks behind its peers"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("remove the VPN wg0", r#"{"interface":"wg0"}"#),
        ("tear the tunnel wg1 down for good", r#"{"interface":"wg1"}"#),
        ("delete the WireGuard interface wg0", r#"{"interface":"wg0"}"#),
        ("disconnect from the VPN on wg0", r#"{"interface":"wg0"}"#),
        ("the tunnel office is not needed any more", r#"{"interface":"office"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: network::summary, undo: Some(network::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Attempt, CallError> {
    let name = args.interface;
    let setup = setup(ctx)?;
    let Some(vpn) = setup.settings.vpn.get(&name).cloned() else {
        let known: Vec<_> = setup.settings.vpn.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(CallError::not_found(format!("no tunnel {name} was set up; there are: {known}")));
    };
    let words = [lines(&name, &vpn), String::new()];
    let change = Change::Vpn { name: name.clone(), before: Some(vpn), after: None };
    Attempt::new(&setup, change, name, words, args.seconds)
}
