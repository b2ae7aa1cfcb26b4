//! `net.trace`

use super::resolve::{Family, look_up};
use super::shared::unexpected;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::net::{HopSaid, MAX_HOPS, NetReply, NetRequest, PathHop};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Milliseconds that the last answers have.
const MAX_WAIT: u32 = 5_000;

/// Show which routers packets pass on their way to a host (ICMP echoes with rising time to live).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Host name or address.
    host: String,
    /// The longest way that is looked at.
    #[serde(default = "default_hops")]
    #[schemars(range(min = 1, max = 64))]
    hops: u8,
    /// Milliseconds to wait for the last answers.
    #[serde(default = "default_wait")]
    #[schemars(range(min = 1, max = 5_000))]
    wait_ms: u32,
    /// Kind of address, for a name that has several; the first one counts.
    #[serde(default)]
    family: Family,
}

fn default_hops() -> u8 {
    30
}

fn default_wait() -> u32 {
    1_000
}

/// The way.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Way {
    /// The host that was asked for.
    host: String,
    /// Its address that was tried.
    address: String,
    /// Whether it answered.
    reached: bool,
    /// The places on the way, nearest first, to the host or as far as anybody answered.
    hops: Vec<Hop>,
}

/// A place on the way.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Hop {
    /// The how-manieth it is.
    number: u32,
    /// Who answered; none if nobody did, which many routers do not.
    address: Option<String>,
    /// Milliseconds until the answer.
    milliseconds: Option<f64>,
    /// `passed`, `reached`, `unreachable` (from here nothing leads on) or `silent`.
    state: &'static str,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 116,
    name: "net.trace",
    summary: "Trace the route to a host: which routers packets pass, and how long it takes",
    effect: Effect::Read,
    touches: &[
        "the host named and the routers on the way: a few small packets",
        "the configured DNS servers",
    ],
    // It has the machine speak to whomever the caller names.
    role: Role::Operator,
    timeout_ms: 40_000,
    examples: &[
        ("trace the route to example.org", r#"{"host":"example.org"}"#),
        ("which routers are between here and 192.0.2.1?", r#"{"host":"192.0.2.1"}"#),
        ("traceroute gateway.lan", r#"{"host":"gateway.lan"}"#),
        ("where do packets to 198.51.100.7 get lost?", r#"{"host":"198.51.100.7"}"#),
        (
            "trace the IPv6 path to example.org, at most 10 hops",
            r#"{"host":"example.org","family":"ipv6","hops":10}"#,
        ),
    ],
    needs: Needs::NOTHING.asks(&[Asks::Net]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Way, CallError> {
    if !(1..=MAX_HOPS).contains(&args.hops) {
        return Err(CallError::invalid(format!("`hops` must be 1 to {MAX_HOPS}")));
    }
    if !(1..=MAX_WAIT).contains(&args.wait_ms) {
        return Err(CallError::invalid(format!("`wait_ms` must be 1 to {MAX_WAIT}")));
    }
    let (host, addresses, _) = look_up(ctx, &args.host, args.family)?;
    let address = *addresses.first().ok_or_else(unexpected)?;
    let request = NetRequest::Trace { address, hops: args.hops, wait_ms: args.wait_ms };
    let NetReply::Path(path) = ctx.net(request)? else { return Err(unexpected()) };
    let reached = path.last().copied().flatten().is_some_and(|last| last.said == HopSaid::Reached);
    let hops = (1..).zip(path).map(|(number, hop)| place(number, hop)).collect();
    Ok(Way { host, address: address.to_string(), reached, hops })
}

fn place(number: u32, hop: Option<PathHop>) -> Hop {
    let state = match hop.map(|hop| hop.said) {
        Some(HopSaid::Passed) => "passed",
        Some(HopSaid::Reached) => "reached",
        Some(HopSaid::Unreachable) => "unreachable",
        None => "silent",
    };
    Hop {
        number,
        address: hop.map(|hop| hop.address.to_string()),
        milliseconds: hop.map(|hop| (hop.micros as f64 / 10.0).round() / 100.0),
        state,
    }
}

fn summary(way: &Way) -> String {
    let Way { host, address, reached, hops } = way;
    let at = if host == address { String::new() } else { format!(" ({address})") };
    let all: Vec<_> = hops.iter().map(|hop| hop.address.as_deref().unwrap_or("?")).collect();
    let through = if all.is_empty() { String::new() } else { format!(": {}", all.join(" > ")) };
    match (reached, hops.last()) {
        (true, _) => format!("{host}{at} is reached in {} steps{through}", hops.len()),
        (false, Some(Hop { state: "unreachable", address: Some(last), .. })) => {
            format!("{last} says that {host}{at} cannot be reached{through}")
        }
        (false, Some(_)) => format!("{host}{at} was not reached; the last that answered{through}"),
        (false, None) => format!("{host}{at} was not reached, and nobody on the way answered"),
    }
}
