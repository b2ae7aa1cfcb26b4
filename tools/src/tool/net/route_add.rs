//! `net.route_add`

use super::configure::address;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::network::{self, Attempt, setup};
use crate::reach::{Asks, Needs};
use aios_abi::netconf::{ADDRESS_FORM, Change, Hop, Prefix, ROUTE_METRIC, Route, TARGET_FORM};
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;

/// Add a route. With several ways it balances the load: each connection takes one of them, by weight. The change is taken
/// back by itself unless it is confirmed in time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Network with the length of its prefix, such as `198.51.100.0/24`; `default` for everything in IPv4, `::/0` in IPv6.
    #[schemars(regex(pattern = TARGET_FORM))]
    to: String,
    /// The routers or interfaces that it leads through.
    through: Vec<Way>,
    /// Among routes to the same network the lowest counts.
    #[serde(default = "default_metric")]
    #[schemars(range(min = 1))]
    metric: u32,
    /// Seconds that somebody has to confirm that the machine can still be reached.
    #[serde(default = "network::default_seconds")]
    #[schemars(range(min = 10, max = 600))]
    seconds: u16,
}

/// One way.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Way {
    /// Address of the router; without one the network is on the link itself.
    #[serde(default)]
    #[schemars(regex(pattern = ADDRESS_FORM))]
    gateway: Option<String>,
    /// The interface; found by the router's address if none is given.
    #[serde(default)]
    interface: Option<String>,
    /// How much of the traffic it gets compared with the others.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 256))]
    weight: u16,
}

fn default_metric() -> u32 {
    ROUTE_METRIC
}

fn one() -> u16 {
    1
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 114,
    name: "net.route_add",
    summary: "Add a static route, through one router or balanced over several",
    effect: Effect::Reversible,
    touches: &["the routing table"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        (
            "route 198.51.100.0/24 through 192.0.2.254",
            r#"{"to":"198.51.100.0/24","through":[{"gateway":"192.0.2.254"}]}"#,
        ),
        (
            "balance outgoing traffic over the routers 192.0.2.1 and 192.0.2.2",
            r#"{"to":"default","through":[{"gateway":"192.0.2.1"},{"gateway":"192.0.2.2"}]}"#,
        ),
        (
            "send two thirds of the load over 192.0.2.1 and the rest over 203.0.113.1",
            r#"{"to":"default","through":[{"gateway":"192.0.2.1","weight":2},{"gateway":"203.0.113.1"}]}"#,
        ),
        (
            "add a route to 10.8.0.0/16 on the interface wg0",
            r#"{"to":"10.8.0.0/16","through":[{"interface":"wg0"}]}"#,
        ),
        ("make 192.0.2.1 the default gateway", r#"{"to":"default","through":[{"gateway":"192.0.2.1"}]}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: network::summary, undo: Some(network::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Attempt, CallError> {
    let to = prefix(&args.to)?;
    let hop = |way: &Way| -> Result<Hop, CallError> {
        let via: Option<IpAddr> = way.gateway.as_deref().map(address).transpose()?;
        Ok(Hop { via, interface: way.interface.clone(), weight: way.weight })
    };
    let hops = args.through.iter().map(hop).collect::<Result<_, _>>()?;
    let route = Route { to, metric: args.metric, hops };
    route.check().map_err(CallError::invalid)?;
    let setup = setup(ctx)?;
    let before = setup.settings.route.iter().find(|known| known.key() == route.key()).cloned();
    if let Some(other) = before.as_ref().filter(|other| **other != route) {
        let text =
            format!("there is a route {other} already; remove it first, or give this one another metric");
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    let words = [before.as_ref().map(ToString::to_string).unwrap_or_default(), route.to_string()];
    let target = format!("route {}", args.to);
    Attempt::new(&setup, Change::Route { before, after: Some(route) }, target, words, args.seconds)
}

/// A network as people write it.
pub(crate) fn prefix(text: &str) -> Result<Prefix, CallError> {
    match text.trim() {
        "default" => Ok(Prefix::everything(false)),
        other => other.parse().map_err(CallError::invalid),
    }
}
