//! `net.check_port`

use super::resolve::{Family, look_up};
use super::shared::unexpected;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::net::{MAX_WAIT_MS, NetReply, NetRequest, PortState};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Look whether somebody accepts TCP connections: one is made and closed at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Host name or address.
    host: String,
    /// TCP port.
    #[schemars(range(min = 1))]
    port: u16,
    /// Kind of address, for a name that has several; the first one counts.
    #[serde(default)]
    family: Family,
    /// Milliseconds to wait.
    #[serde(default = "default_wait")]
    #[schemars(range(min = 1, max = 10_000))]
    wait_ms: u32,
}

fn default_wait() -> u32 {
    3_000
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Checked {
    /// The host that was asked for.
    host: String,
    /// Its address that was tried.
    address: String,
    /// TCP port.
    port: u16,
    /// Somebody accepts connections there.
    open: bool,
    /// `open`, `refused` (the machine is there, nobody listens), `silent` (nothing came back) or `unreachable` (no way
    /// leads there).
    state: &'static str,
    /// Milliseconds until that was known.
    milliseconds: f64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 34,
    name: "net.check_port",
    summary: "Check whether a TCP port of a host can be connected to",
    effect: Effect::Read,
    touches: &["the host named: one connection", "the configured DNS servers"],
    // It has the machine speak to whomever the caller names.
    role: Role::Operator,
    timeout_ms: 20_000,
    examples: &[
        ("is port 443 of example.org open?", r#"{"host":"example.org","port":443}"#),
        ("can this machine reach 192.0.2.7 on port 22?", r#"{"host":"192.0.2.7","port":22,"wait_ms":500}"#),
        ("does anything answer on localhost port 8443?", r#"{"host":"localhost","port":8443}"#),
        ("telnet db.lan 5432", r#"{"host":"db.lan","port":5432}"#),
        ("check the connection to the mail server mx.lan, port 25", r#"{"host":"mx.lan","port":25}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::Net]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Checked, CallError> {
    if !(1..=MAX_WAIT_MS).contains(&args.wait_ms) {
        return Err(CallError::invalid(format!("`wait_ms` must be 1 to {MAX_WAIT_MS}")));
    }
    if args.port == 0 {
        return Err(CallError::invalid("`port` must be 1 to 65535"));
    }
    let (host, addresses, _) = look_up(ctx, &args.host, args.family)?;
    let address = *addresses.first().ok_or_else(unexpected)?;
    let request = NetRequest::Connect { address, port: args.port, wait_ms: args.wait_ms };
    let NetReply::Port { state, micros } = ctx.net(request)? else { return Err(unexpected()) };
    let state = match state {
        PortState::Open => "open",
        PortState::Refused => "refused",
        PortState::Silent => "silent",
        PortState::Unreachable => "unreachable",
    };
    let milliseconds = (micros as f64 / 10.0).round() / 100.0;
    let address = address.to_string();
    Ok(Checked { host, address, port: args.port, open: state == "open", state, milliseconds })
}

fn summary(checked: &Checked) -> String {
    let Checked { host, port, milliseconds, .. } = checked;
    match checked.state {
        "open" => format!("{host} accepts connections on port {port}, after {milliseconds} ms"),
        "refused" => format!("{host} is there, but nobody listens on its port {port}"),
        "silent" => format!("nothing came back from {host} port {port} within {milliseconds} ms"),
        _ => format!("there is no way to {host} ({})", checked.address),
    }
}
