//! `net.route_remove`

use super::route_add::prefix;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::network::{self, Attempt, setup};
use crate::reach::{Asks, Needs};
use aios_abi::netconf::{Change, ROUTE_METRIC, TARGET_FORM};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Remove a route that was added with `net.route_add`. The change is taken back by itself unless it is confirmed in time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Network with the length of its prefix, such as `198.51.100.0/24`; `default` for everything in IPv4, `::/0` in IPv6.
    #[schemars(regex(pattern = TARGET_FORM))]
    to: String,
    /// The metric that it was added with.
    #[serde(default = "default_metric")]
    #[schemars(range(min = 1))]
    metric: u32,
    /// Seconds that somebody has to confirm that the machine can still be reached.
    #[serde(default = "network::default_seconds")]
    #[schemars(range(min = 10, max = 600))]
    seconds: u16,
}

fn default_metric() -> u32 {
    ROUTE_METRIC
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 115,
    name: "net.route_remove",
    summary: "Remove a static route that was added before",
    effect: Effect::Reversible,
    touches: &["the routing table"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("remove the route to 198.51.100.0/24", r#"{"to":"198.51.100.0/24"}"#),
        ("delete the static default route", r#"{"to":"default"}"#),
        ("do not balance outgoing traffic any more", r#"{"to":"default"}"#),
        ("drop the route to 10.8.0.0/16 with metric 200", r#"{"to":"10.8.0.0/16","metric":200}"#),
        ("ip route del 203.0.113.0/24", r#"{"to":"203.0.113.0/24"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: network::summary, undo: Some(network::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Attempt, CallError> {
    let to = prefix(&args.to)?;
    let setup = setup(ctx)?;
    let known = setup.settings.route.iter().find(|route| route.key() == (to, args.metric)).cloned();
    let Some(route) = known else {
        let all: Vec<_> = setup.settings.route.iter().map(ToString::to_string).collect();
        let all = if all.is_empty() { "none".to_owned() } else { all.join("; ") };
        let text = format!("no route to {} with metric {} was added; there are: {all}", args.to, args.metric);
        return Err(CallError::not_found(text));
    };
    let words = [route.to_string(), String::new()];
    let target = format!("route {}", args.to);
    Attempt::new(&setup, Change::Route { before: Some(route), after: None }, target, words, args.seconds)
}
