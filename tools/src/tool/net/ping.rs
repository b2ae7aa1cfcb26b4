//! `net.ping`

use super::resolve::{Family, look_up};
use super::shared::unexpected;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::net::{MAX_PINGS, NetReply, NetRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Milliseconds that each answer has.
const MAX_WAIT: u32 = 5_000;

/// Look whether a machine answers (ICMP echo).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Host name or address.
    host: String,
    /// How often it is asked.
    #[serde(default = "default_count")]
    #[schemars(range(min = 1, max = 100))]
    count: u8,
    /// Milliseconds to wait for each answer.
    #[serde(default = "default_wait")]
    #[schemars(range(min = 1, max = 5_000))]
    wait_ms: u32,
    /// Kind of address, for a name that has several; the first one counts.
    #[serde(default)]
    family: Family,
}

fn default_count() -> u8 {
    3
}

fn default_wait() -> u32 {
    1_000
}

/// What came back.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Echoes {
    /// The host that was asked for.
    host: String,
    /// Its address that was tried.
    address: String,
    /// How often it was asked.
    sent: u32,
    /// How often it answered.
    received: u32,
    /// Milliseconds until each answer; none where none came in time.
    milliseconds: Vec<Option<f64>>,
    /// The average of those that came.
    average: Option<f64>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 35,
    name: "net.ping",
    summary: "Ping a host: whether it answers, and how fast",
    effect: Effect::Read,
    touches: &["the host named: a few small packets", "the configured DNS servers"],
    // It has the machine speak to whomever the caller names.
    role: Role::Operator,
    timeout_ms: 540_000,
    examples: &[
        ("ping 192.0.2.1", r#"{"host":"192.0.2.1"}"#),
        ("does gateway.lan answer?", r#"{"host":"gateway.lan"}"#),
        ("is the host nas.lan up?", r#"{"host":"nas.lan","count":1}"#),
        ("how fast does example.org answer?", r#"{"host":"example.org","count":5}"#),
        (
            "ping the IPv6 address of example.org 10 times",
            r#"{"host":"example.org","count":10,"family":"ipv6"}"#,
        ),
    ],
    needs: Needs::NOTHING.asks(&[Asks::Net]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Echoes, CallError> {
    if !(1..=MAX_PINGS).contains(&args.count) {
        return Err(CallError::invalid(format!("`count` must be 1 to {MAX_PINGS}")));
    }
    if !(1..=MAX_WAIT).contains(&args.wait_ms) {
        return Err(CallError::invalid(format!("`wait_ms` must be 1 to {MAX_WAIT}")));
    }
    let (host, addresses, _) = look_up(ctx, &args.host, args.family)?;
    let address = *addresses.first().ok_or_else(unexpected)?;
    let request = NetRequest::Ping { address, count: args.count, wait_ms: args.wait_ms };
    let NetReply::Echoes(echoes) = ctx.net(request)? else { return Err(unexpected()) };
    let round = |micros: f64| (micros / 10.0).round() / 100.0;
    let came: Vec<u64> = echoes.iter().copied().flatten().collect();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Echoes {
        host,
        address: address.to_string(),
        sent: number(echoes.len()),
        received: number(came.len()),
        average: (!came.is_empty()).then(|| round(came.iter().sum::<u64>() as f64 / came.len() as f64)),
        milliseconds: echoes.into_iter().map(|echo| echo.map(|micros| round(micros as f64))).collect(),
    })
}

fn summary(echoes: &Echoes) -> String {
    let Echoes { host, address, sent, received, .. } = echoes;
    let at = if host == address { String::new() } else { format!(" ({address})") };
    match echoes.average {
        Some(average) => {
            format!("{host}{at} answered {received} of {sent} times, after {average} ms on average")
        }
        None => format!("{host}{at} did not answer, {sent} times asked"),
    }
}
