//! `net.vpn_list`

use super::shared::unexpected;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::tool::process::shared::human_bytes;
use aios_abi::CallError;
use aios_abi::net::{NetReply, NetRequest};
use aios_abi::netconf::{PeerState, VpnState};
use aios_abi::tool::Effect;
use aios_abi::who::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// Show the tunnels (WireGuard): public keys, peers, when they last agreed on keys, and what went through.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only the tunnel with this interface.
    #[serde(default)]
    interface: Option<String>,
}

/// The tunnels.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tunnels {
    /// The tunnels, by interface.
    tunnels: Vec<Tunnel>,
}

/// A tunnel.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tunnel {
    /// Its interface.
    interface: String,
    /// This machine's public key, which the other ends need.
    public_key: Option<String>,
    /// UDP port where others reach it.
    port: Option<u16>,
    /// Own addresses.
    addresses: Vec<String>,
    /// Who is at the other end.
    peers: Vec<Peer>,
}

/// Somebody at the other end.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Peer {
    /// Its public key.
    public_key: String,
    /// Where it was last heard, or is looked for.
    endpoint: Option<String>,
    /// Networks behind it.
    allowed: Vec<String>,
    /// Seconds since both agreed on keys; none if they never did. More than 180 means that nothing goes through now.
    handshake_seconds_ago: Option<u64>,
    /// Bytes that came from it.
    received: u64,
    /// Bytes that were sent to it.
    sent: u64,
    /// Both sides know a secret besides their keys.
    preshared_key: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 118,
    name: "net.vpn_list",
    summary: "Show the WireGuard VPN tunnels: public key, peers, last handshake, traffic",
    effect: Effect::Read,
    touches: &["the tunnels"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("which VPN tunnels are there?", "{}"),
        ("what is the WireGuard public key of this machine?", "{}"),
        ("is the VPN connected?", "{}"),
        ("when was the last handshake on wg0?", r#"{"interface":"wg0"}"#),
        ("wg show", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Tunnels, CallError> {
    let NetReply::Vpns(all) = ctx.net(NetRequest::Vpns)? else { return Err(unexpected()) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let wanted = |vpn: &VpnState| args.interface.as_ref().is_none_or(|wanted| *wanted == vpn.name);
    let tunnels: Vec<_> = all.into_iter().filter(wanted).map(|vpn| tunnel(vpn, now)).collect();
    match (&args.interface, tunnels.is_empty()) {
        (Some(wanted), true) => Err(CallError::not_found(format!("no tunnel {wanted} was set up"))),
        _ => Ok(Tunnels { tunnels }),
    }
}

fn tunnel(vpn: VpnState, now: u64) -> Tunnel {
    let VpnState { name: interface, public_key, port, addresses, peers } = vpn;
    let addresses = addresses.iter().map(ToString::to_string).collect();
    Tunnel {
        interface,
        public_key,
        port,
        addresses,
        peers: peers.into_iter().map(|one| peer(one, now)).collect(),
    }
}

fn peer(state: PeerState, now: u64) -> Peer {
    Peer {
        public_key: state.public_key,
        endpoint: state.endpoint.map(|endpoint| endpoint.to_string()),
        allowed: state.allowed.iter().map(ToString::to_string).collect(),
        handshake_seconds_ago: state.handshake.map(|at| now.saturating_sub(at)),
        received: state.received,
        sent: state.sent,
        preshared_key: state.preshared,
    }
}

fn summary(found: &Tunnels) -> String {
    let words: Vec<_> = found.tunnels.iter().map(in_words).collect();
    if words.is_empty() { "there is no VPN tunnel".into() } else { words.join("; ") }
}

fn in_words(tunnel: &Tunnel) -> String {
    let Tunnel { interface, public_key, peers, .. } = tunnel;
    let key = public_key.as_deref().unwrap_or("none");
    let met = peers.iter().filter(|peer| peer.handshake_seconds_ago.is_some_and(|ago| ago <= 180)).count();
    let (received, sent) = peers.iter().fold((0_u64, 0_u64), |(received, sent), peer| {
        (received.saturating_add(peer.received), sent.saturating_add(peer.sent))
    });
    format!(
        "{interface} with the public key {key}: {met} of {} peers connected, {} in, {} out",
        peers.len(),
        human_bytes(received),
        human_bytes(sent)
    )
}
