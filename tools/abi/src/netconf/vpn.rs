//! Tunnels (WireGuard).

use super::{Hop, MAX_MTU, MAX_OF_ONE, MIN_MTU, Prefix, ROUTE_METRIC, Route};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

/// A tunnel to other machines through which packets go encrypted (WireGuard). Its own private key netd makes and keeps; nobody
/// else ever sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vpn {
    /// Own addresses in the tunnel.
    pub addresses: Vec<Prefix>,
    /// UDP port where others reach it; the kernel chooses one if none.
    pub port: Option<u16>,
    /// Bytes of the largest packet, [`MIN_MTU`] to [`MAX_MTU`]; what the kernel thinks fit if none.
    pub mtu: Option<u32>,
    /// Who is at the other end.
    pub peers: Vec<Peer>,
}

/// Somebody at the other end of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its public key: 32 bytes in base64.
    pub public_key: String,
    /// Where it is; one that is not known has to begin.
    pub endpoint: Option<SocketAddr>,
    /// Networks behind it: what comes from there is let in, and what goes there is sent to it.
    pub allowed: Vec<Prefix>,
    /// Seconds after which it hears something even if there is nothing to say: keeps the way through address translation open.
    pub keepalive: Option<u16>,
    /// Name under which netd keeps a secret that both sides know besides their keys.
    pub preshared: Option<String>,
}

/// Peers of one tunnel.
pub const MAX_PEERS: usize = 64;
/// Tunnels that are set.
pub const MAX_VPNS: usize = 16;

/// What a key looks like, as a regular expression of JSON Schema ([`check_key`]).
pub const KEY_FORM: &str = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$";
/// What an address or a name with a port looks like.
pub const ENDPOINT_FORM: &str = r"^(?:[0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$";

/// Whether this is a key as WireGuard's tools write it: 32 bytes in base64.
pub fn check_key(text: &str) -> Result<(), String> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
    // 43 characters hold 258 bits; the last two are none of the key's.
    let last = b"AEIMQUYcgkosw048";
    match text.as_bytes().split_last_chunk::<2>() {
        Some((front, [end, b'=']))
            if front.len() == 42 && front.iter().all(|c| fits(*c)) && last.contains(end) =>
        {
            Ok(())
        }
        _ => Err("this is no WireGuard key (44 characters of base64, the last one =)".into()),
    }
}

/// Whether this is a name under which a secret is kept: 32 hexadecimal digits.
pub fn check_secret_name(name: &str) -> Result<(), String> {
    match name.len() == 32 && name.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'a'..=b'f')) {
        true => Ok(()),
        false => Err(format!("{name:?} names no secret")),
    }
}

impl Vpn {
    /// Whether it can be, in one sentence if not.
    pub fn check(&self) -> Result<(), String> {
        let Self { addresses, port, mtu, peers } = self;
        if addresses.is_empty() || addresses.len() > MAX_OF_ONE {
            return Err(format!("a tunnel has 1 to {MAX_OF_ONE} addresses of its own"));
        }
        if let Some(own) = addresses.iter().find(|own| own.length == 0 || own.address.is_multicast()) {
            return Err(format!("{own} is not the address of a machine with its network's prefix"));
        }
        if *port == Some(0) {
            return Err("a port is 1 to 65535".into());
        }
        if let Some(mtu) = mtu.filter(|mtu| !(MIN_MTU..=MAX_MTU).contains(mtu)) {
            return Err(format!("mtu = {mtu} is not {MIN_MTU} to {MAX_MTU} bytes"));
        }
        if peers.len() > MAX_PEERS {
            return Err(format!("at most {MAX_PEERS} peers can be given"));
        }
        for (number, peer) in peers.iter().enumerate() {
            check_key(&peer.public_key).map_err(|e| format!("public key of peer {}: {e}", number + 1))?;
            if peers.iter().take(number).any(|other| other.public_key == peer.public_key) {
                return Err(format!("the peer {} is named twice", peer.public_key));
            }
            if peer.allowed.len() > MAX_PEERS {
                return Err(format!("at most {MAX_PEERS} networks can be behind one peer"));
            }
            if let Some(host) = peer.allowed.iter().find(|network| !network.is_network()) {
                return Err(format!(
                    "{host} names an address in a network; the network ends in zeros behind its prefix"
                ));
            }
            if let Some(twice) = peer
                .allowed
                .iter()
                .find(|network| peers.iter().take(number).any(|other| other.allowed.contains(network)))
            {
                return Err(format!("{twice} cannot be behind two peers"));
            }
            if peer.keepalive == Some(0) || peer.endpoint.is_some_and(|endpoint| endpoint.port() == 0) {
                return Err("keepalive and the port of an endpoint are 1 to 65535".into());
            }
            peer.preshared.as_deref().map_or(Ok(()), check_secret_name)?;
        }
        Ok(())
    }

    /// The routes that its peers' networks need. Everything is no such network: the tunnel's own packets would go into it.
    pub fn routes(&self, name: &str) -> impl Iterator<Item = Route> {
        let behind = self.peers.iter().flat_map(|peer| &peer.allowed).filter(|network| network.length > 0);
        behind.map(move |to| Route {
            to: *to,
            metric: ROUTE_METRIC,
            hops: vec![Hop { via: None, interface: Some(name.to_owned()), weight: 1 }],
        })
    }
}

impl fmt::Display for Vpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        write!(f, "WireGuard {}", addresses.join(" "))?;
        if let Some(port) = self.port {
            write!(f, ", port {port}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, ", MTU {mtu}")?;
        }
        match self.peers.len() {
            1 => f.write_str(", 1 peer"),
            number => write!(f, ", {number} peers"),
        }
    }
}

/// A tunnel as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnState {
    /// Its interface.
    pub name: String,
    /// What others need to know to reach it.
    pub public_key: Option<String>,
    /// UDP port where it is reached.
    pub port: Option<u16>,
    /// Own addresses.
    pub addresses: Vec<Prefix>,
    /// Who is at the other end.
    pub peers: Vec<PeerState>,
}

/// The other end of a tunnel as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// Its public key.
    pub public_key: String,
    /// Where it was last heard, or is looked for.
    pub endpoint: Option<SocketAddr>,
    /// Networks behind it.
    pub allowed: Vec<Prefix>,
    /// Seconds since 1970 when keys were last agreed on.
    pub handshake: Option<u64>,
    /// Bytes that came from it.
    pub received: u64,
    /// Bytes that were sent to it.
    pub sent: u64,
    /// Both sides know a secret besides their keys.
    pub preshared: bool,
}
