//! `net.vpn_set`

use super::route_add::prefix;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::network::{self, Attempt, setup};
use crate::reach::{Asks, Needs};
use aios_abi::netconf::{
    Change, ENDPOINT_FORM, KEY_FORM, PREFIX_FORM, Peer, Prefix, Vpn, check_key, interface_name,
};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Set up an encrypted tunnel to other machines (WireGuard). The machine makes its own key and shows the public half alone. The
/// change is taken back by itself unless it is confirmed in time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the tunnel's interface. One that is there already gets these settings instead of its own, and keeps its key.
    #[serde(default = "default_interface")]
    interface: String,
    /// Own addresses in the tunnel with the length of their network's prefix, such as `10.8.0.2/24`.
    #[schemars(inner(regex(pattern = PREFIX_FORM)))]
    addresses: Vec<String>,
    /// UDP port where others reach this machine; the kernel chooses one if none is given.
    #[serde(default)]
    #[schemars(range(min = 1))]
    port: Option<u16>,
    /// Who is at the other end.
    #[serde(default)]
    peers: Vec<Other>,
    /// Bytes of the largest packet; what the kernel thinks fit if none is given.
    #[serde(default)]
    #[schemars(range(min = 1_280, max = 65_535))]
    mtu: Option<u32>,
    /// Seconds that somebody has to confirm that the machine can still be reached.
    #[serde(default = "network::default_seconds")]
    #[schemars(range(min = 10, max = 600))]
    seconds: u16,
}

/// Somebody at the other end.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Other {
    /// Its public key, 32 bytes in base64.
    #[schemars(regex(pattern = KEY_FORM))]
    public_key: String,
    /// Networks behind it, such as `10.8.0.0/24`: routes to them lead into the tunnel, but for `0.0.0.0/0`, of which parts
    /// are given with `net.route_add`.
    #[schemars(inner(regex(pattern = PREFIX_FORM)))]
    allowed: Vec<String>,
    /// Its address and UDP port, such as `192.0.2.1:51820`; without one it has to begin.
    #[serde(default)]
    #[schemars(regex(pattern = ENDPOINT_FORM))]
    endpoint: Option<String>,
    /// A secret that both sides know besides their keys, 32 bytes in base64.
    #[serde(default)]
    #[schemars(extend("secret" = true), regex(pattern = KEY_FORM))]
    preshared_key: Option<String>,
    /// Seconds after which it hears something even if there is nothing to say.
    #[serde(default)]
    #[schemars(range(min = 1))]
    keepalive: Option<u16>,
}

/// The interface that people call so.
pub(crate) fn default_interface() -> String {
    "wg0".into()
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 117,
    name: "net.vpn_set",
    summary: "Set up a WireGuard VPN tunnel: addresses, port and peers",
    effect: Effect::Reversible,
    touches: &["the tunnel named", "the routing table: networks behind its peers"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        (
            "make a WireGuard tunnel with the address 10.8.0.2/24 that listens on port 51820",
            r#"{"addresses":["10.8.0.2/24"],"port":51820}"#,
        ),
        (
            "connect to the VPN server at 192.0.2.1:51820 with this public key",
            r#"{"addresses":["10.8.0.2/24"],"peers":[{"public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","allowed":["10.8.0.0/24"],"endpoint":"192.0.2.1:51820","keepalive":25}]}"#,
        ),
        (
            "let a phone with this key into the VPN as 10.8.0.7",
            r#"{"addresses":["10.8.0.1/24"],"port":51820,"peers":[{"public_key":"TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=","allowed":["10.8.0.7/32"]}]}"#,
        ),
        ("give the tunnel wg1 the address 10.9.0.1/24", r#"{"interface":"wg1","addresses":["10.9.0.1/24"]}"#),
        ("set up a VPN", r#"{"addresses":["10.8.0.1/24"],"port":51820}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: network::summary, undo: Some(network::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Attempt, CallError> {
    let Args { interface: name, addresses, port, peers, mtu, seconds } = args;
    interface_name(&name).map_err(CallError::invalid)?;
    let networks =
        |texts: &[String]| texts.iter().map(|text| prefix(text)).collect::<Result<Vec<Prefix>, _>>();
    let mut secrets = Vec::new();
    let mut others = Vec::new();
    for peer in peers {
        let endpoint = peer.endpoint.as_deref().map(|text| {
            let invalid = || {
                format!("{text:?} is no address with a port, such as 192.0.2.1:51820 or [2001:db8::1]:51820")
            };
            text.trim().parse().map_err(|_| CallError::invalid(invalid()))
        });
        let preshared = match peer.preshared_key {
            Some(secret) => {
                check_key(&secret).map_err(|e| CallError::invalid(format!("`preshared_key`: {e}")))?;
                // The settings name it by what it is, so that an undo finds the one that counted before.
                let name: String = blake3::hash(secret.as_bytes()).to_hex().chars().take(32).collect();
                secrets.push((name.clone(), secret));
                Some(name)
            }
            None => None,
        };
        others.push(Peer {
            public_key: peer.public_key,
            endpoint: endpoint.transpose()?,
            allowed: networks(&peer.allowed)?,
            keepalive: peer.keepalive,
            preshared,
        });
    }
    let vpn = Vpn { addresses: networks(&addresses)?, port, mtu, peers: others };
    vpn.check().map_err(CallError::invalid)?;
    let setup = setup(ctx)?;
    let before = setup.settings.vpn.get(&name).cloned();
    let words = [before.as_ref().map(|vpn| lines(&name, vpn)).unwrap_or_default(), lines(&name, &vpn)];
    let change = Change::Vpn { name: name.clone(), before, after: Some(vpn) };
    Ok(Attempt::new(&setup, change, name, words, seconds)?.with_secrets(secrets))
}

/// One line for each thing.
pub(crate) fn lines(name: &str, vpn: &Vpn) -> String {
    let mut text = format!("{name}: WireGuard\n");
    for address in &vpn.addresses {
        let _ = writeln!(text, "address {address}");
    }
    if let Some(port) = vpn.port {
        let _ = writeln!(text, "port {port}");
    }
    if let Some(mtu) = vpn.mtu {
        let _ = writeln!(text, "MTU {mtu}");
    }
    for peer in &vpn.peers {
        let _ = write!(text, "peer {}", peer.public_key);
        if let Some(endpoint) = peer.endpoint {
            let _ = write!(text, " at {endpoint}");
        }
        for network in &peer.allowed {
            let _ = write!(text, " {network}");
        }
        if let Some(seconds) = peer.keepalive {
            let _ = write!(text, ", keepalive {seconds} s");
        }
        let _ = writeln!(text, "{}", if peer.preshared.is_some() { ", with a preshared key" } else { "" });
    }
    text
}
