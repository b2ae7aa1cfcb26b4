//! Tunnels in the kernel: an interface of the kind wireguard, over rtnetlink(7), and its keys and peers, over generic netlink.

use crate::kernel;
use crate::watch::Configured;
use aios_abi::CallError;
use aios_abi::netconf::{PeerState, Prefix, Settings, Vpn, VpnState};
use nl_wireguard::{
    WireguardError, WireguardHandle, WireguardIpAddress, WireguardParsed, WireguardParsedPeerFlags,
    WireguardPeerParsed,
};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkUnspec, LinkWireguard};
use std::net::IpAddr;

/// Tells our tunnels from those of everybody else: what `ip link` shows as `alias`.
const OURS: &str = "aios-netd";

/// Let there be the tunnels that are set, and none of ours besides. What failed.
pub(crate) async fn put_all(handle: &Handle, configured: &Configured) -> Vec<String> {
    let mut failed = Vec::new();
    let wanted = &configured.settings.vpn;
    match kernel::links(handle).await {
        Ok(links) => {
            let names = links.iter().filter(|link| is_ours(link)).filter_map(name);
            for name in names.filter(|name| !wanted.contains_key(*name)) {
                failed.extend(remove(handle, name).await.err());
            }
        }
        Err(error) => failed.push(error),
    }
    for (name, vpn) in wanted {
        failed.extend(put(handle, configured, name, vpn).await.err());
    }
    failed
}

/// Let a tunnel be like this.
pub(crate) async fn put(
    handle: &Handle,
    configured: &Configured,
    name: &str,
    vpn: &Vpn,
) -> Result<(), String> {
    // Before anything is made: a key that is missing must leave nothing behind.
    let mut keys = configuration(configured, name, vpn).map_err(|e| e.to_string())?;
    let index = match find(handle, name).await? {
        Some(link) if is_ours(&link) => link.header.index,
        Some(_) => return Err(format!("there is an interface {name} already, which is no tunnel of netd's")),
        None => make(handle, name).await?,
    };
    let mut kernel = connect()?;
    let told = |e: WireguardError| format!("{name}: the keys and peers cannot be set: {}", e.msg);
    // Peers that stay keep what they agreed on: a restart of this daemon costs no connection.
    for known in kernel.get_by_name(name).await.map_err(told)?.peers.into_iter().flatten() {
        if let Some(key) =
            known.public_key.filter(|key| !vpn.peers.iter().any(|peer| peer.public_key == *key))
        {
            keys.peers.get_or_insert_default().push(WireguardPeerParsed::remove(&key));
        }
    }
    kernel.set(keys).await.map_err(told)?;
    addresses(handle, index, &vpn.addresses).await.map_err(|e| format!("{name}: {e}"))?;
    configured.mtu.set(handle, index, vpn.mtu).await.map_err(|e| format!("{name}: {e}"))?;
    kernel::up(handle, index).await.map_err(|e| format!("{name}: {e}"))
}

/// Let there be no such tunnel.
pub(crate) async fn remove(handle: &Handle, name: &str) -> Result<(), String> {
    match find(handle, name).await? {
        Some(link) if is_ours(&link) => {
            let removed = handle.link().del(link.header.index).execute().await;
            removed.map_err(|e| format!("{name} cannot be removed: {e}"))
        }
        // There is none, or it belongs to somebody else.
        _ => Ok(()),
    }
}

/// The tunnels as they are now.
pub(crate) async fn look(settings: &Settings) -> Result<Vec<VpnState>, CallError> {
    let mut states = Vec::new();
    for (name, vpn) in &settings.vpn {
        let found = connect().map_err(CallError::failed)?.get_by_name(name).await;
        let found =
            found.map_err(|e| CallError::failed(format!("the kernel does not tell of {name}: {}", e.msg)))?;
        states.push(VpnState {
            name: name.clone(),
            public_key: found.public_key,
            port: found.listen_port,
            addresses: vpn.addresses.clone(),
            peers: found.peers.unwrap_or_default().into_iter().filter_map(peer).collect(),
        });
    }
    Ok(states)
}

fn peer(found: WireguardPeerParsed) -> Option<PeerState> {
    let network = |it: WireguardIpAddress| Prefix::new(it.ip_addr, it.prefix_length);
    Some(PeerState {
        public_key: found.public_key?,
        endpoint: found.endpoint,
        allowed: found.allowed_ips.unwrap_or_default().into_iter().filter_map(network).collect(),
        handshake: found.last_handshake.map(|time| time.as_secs()).filter(|seconds| *seconds > 0),
        received: found.rx_bytes.unwrap_or(0),
        sent: found.tx_bytes.unwrap_or(0),
        // The kernel tells one of zeros where there is none.
        preshared: found
            .preshared_key
            .is_some_and(|key| key.trim_end_matches('=').bytes().any(|c| c != b'A')),
    })
}

/// Keys and peers as the kernel is told.
fn configuration(configured: &Configured, name: &str, vpn: &Vpn) -> Result<WireguardParsed, CallError> {
    let mut peers = Vec::new();
    for peer in &vpn.peers {
        let mut one = WireguardPeerParsed::default();
        one.public_key = Some(peer.public_key.clone());
        one.endpoint = peer.endpoint;
        // None is said as well: a peer that is known already forgets its old one.
        one.persistent_keepalive = Some(peer.keepalive.unwrap_or(0));
        // Zeros are none (linux/wireguard.h, `WGPEER_A_PRESHARED_KEY`).
        let none = || Ok(format!("{}=", "A".repeat(43)));
        let given = |name: &str| configured.keys.given(name);
        one.preshared_key = Some(peer.preshared.as_deref().map_or_else(none, given)?);
        let allowed = peer.allowed.iter().map(|network| WireguardIpAddress {
            prefix_length: network.length,
            ip_addr: network.address,
            flags: None,
        });
        one.allowed_ips = Some(allowed.collect());
        one.flags = Some(vec![WireguardParsedPeerFlags::ReplaceAllowedIps]);
        peers.push(one);
    }
    let mut all = WireguardParsed::default();
    all.iface_name = Some(name.to_owned());
    all.private_key = Some(configured.keys.own(name)?);
    all.listen_port = vpn.port;
    all.peers = Some(peers);
    Ok(all)
}

fn connect() -> Result<WireguardHandle, String> {
    let (connection, handle, _) =
        nl_wireguard::new_connection().map_err(|e| format!("the kernel's WireGuard cannot be asked: {e}"))?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn find(handle: &Handle, wanted: &str) -> Result<Option<LinkMessage>, String> {
    Ok(kernel::links(handle).await?.into_iter().find(|link| name(link) == Some(wanted)))
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn is_ours(link: &LinkMessage) -> bool {
    let wireguard = |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Wireguard));
    let has = |is: fn(&LinkAttribute) -> bool| link.attributes.iter().any(is);
    has(|attribute| matches!(attribute, LinkAttribute::IfAlias(alias) if alias == OURS))
        && link.attributes.iter().any(|attribute| match attribute {
            LinkAttribute::LinkInfo(all) => all.iter().any(wireguard),
            _ => false,
        })
}

async fn make(handle: &Handle, wanted: &str) -> Result<u32, String> {
    let made = handle.link().add(LinkWireguard::new(wanted).build()).execute().await;
    made.map_err(|e| format!("{wanted} cannot be made: {e} (the kernel needs its module wireguard)"))?;
    let index = find(handle, wanted).await?.map(|link| link.header.index);
    let index = index.ok_or_else(|| format!("{wanted} was made and is gone"))?;
    let mark = LinkUnspec::new_with_index(index).alias(OURS).build();
    if let Err(error) = handle.link().set(mark).execute().await {
        let _ = handle.link().del(index).execute().await;
        return Err(format!("{wanted} cannot be marked: {error}"));
    }
    Ok(index)
}

/// Give an interface these addresses and no others.
async fn addresses(handle: &Handle, index: u32, wanted: &[Prefix]) -> Result<(), String> {
    for message in kernel::addresses_of(handle, index).await? {
        let own = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        let own = own.and_then(|address: IpAddr| Prefix::new(address, message.header.prefix_len));
        if own.is_some_and(|own| !wanted.contains(&own)) {
            let removed = handle.address().del(message).execute().await;
            removed.map_err(|e| format!("an address cannot be removed: {e}"))?;
        }
    }
    for own in wanted {
        let set = handle.address().add(index, own.address, own.length).replace().execute().await;
        set.map_err(|e| format!("{own} cannot be set: {e}"))?;
    }
    Ok(())
}
