//! Addresses and routes in the kernel, over rtnetlink(7).

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope, CacheInfo};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::packet_route::{AddressFamily, link::LinkMessage};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr};

/// `INFINITY_LIFE_TIME` of the kernel.
const FOR_EVER: u32 = u32::MAX;

/// Where an address is from; routes carry it as their protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration.
    Static,
    /// A lease.
    Dhcp,
}

impl Origin {
    fn protocol(self) -> RouteProtocol {
        match self {
            Self::Static => RouteProtocol::Static,
            Self::Dhcp => RouteProtocol::Dhcp,
        }
    }

    /// Lower wins; what a person wrote counts more than what a server said, and then the first link.
    fn metric(self, link: u32) -> u32 {
        let base = match self {
            Self::Static => 100,
            Self::Dhcp => 1_000,
        };
        link.min(500) + base
    }
}

/// A way to another network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// The network.
    pub(crate) to: Ipv4Addr,
    /// Length of its prefix; 0 for everywhere.
    pub(crate) prefix: u8,
    /// Through whom; 0.0.0.0 if it is on the link.
    pub(crate) via: Ipv4Addr,
}

/// All IPv4 that a link shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Where it is from.
    pub(crate) origin: Origin,
    /// Addresses with the lengths of their prefixes.
    pub(crate) addresses: Vec<(Ipv4Addr, u8)>,
    /// Seconds after which the kernel removes them by itself.
    pub(crate) lifetime: Option<u32>,
    /// Routes.
    pub(crate) routes: Vec<Route>,
}

impl Wanted {
    /// No IPv4 at all.
    pub(crate) fn nothing() -> Self {
        Self { origin: Origin::Dhcp, addresses: Vec::new(), lifetime: None, routes: Vec::new() }
    }
}

/// All links there are.
pub(crate) async fn links(handle: &Handle) -> Result<Vec<LinkMessage>, String> {
    handle
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(|e| format!("the kernel did not list its links: {e}"))
}

/// Switch a link on.
pub(crate) async fn up(handle: &Handle, link: u32) -> Result<(), String> {
    let message = LinkUnspec::new_with_index(link).up().build();
    handle.link().set(message).execute().await.map_err(|e| format!("it cannot be switched on: {e}"))
}

/// Give a link these addresses and routes and no others. What cannot be done is said, and the rest done.
pub(crate) async fn configure(handle: &Handle, link: u32, wanted: &Wanted) -> Result<(), String> {
    let mut failed = Vec::new();
    let mut note = |what: String, outcome: Result<(), rtnetlink::Error>| {
        if let Err(error) = outcome {
            failed.push(format!("{what}: {error}"));
        }
    };
    // Removed first: with the first address of a network, the kernel removes its others too.
    for message in addresses(handle, link).await? {
        let Some(address) = local(&message) else { continue };
        if !wanted.addresses.contains(&(address, message.header.prefix_len)) {
            note(format!("{address} cannot be removed"), handle.address().del(message).execute().await);
        }
    }
    for (address, prefix) in &wanted.addresses {
        let mut add = handle.address().add(link, IpAddr::V4(*address), *prefix).replace();
        let message = add.message_mut();
        let mut times = CacheInfo::default();
        times.ifa_valid = wanted.lifetime.unwrap_or(FOR_EVER);
        times.ifa_preferred = times.ifa_valid;
        message.attributes.push(AddressAttribute::CacheInfo(times));
        if address.is_link_local() {
            message.header.scope = AddressScope::Link;
        }
        note(format!("{address}/{prefix} cannot be set"), add.execute().await);
    }
    let new: Vec<_> = wanted.routes.iter().map(|route| message(route, link, wanted)).collect();
    for old in routes(handle, link).await? {
        let stays = new.iter().any(|new| key(new) == key(&old));
        if !stays {
            // The kernel may have removed it with its address already.
            let _ = handle.route().del(old).execute().await;
        }
    }
    for (message, route) in new.into_iter().zip(&wanted.routes) {
        let what = format!("the route to {}/{} through {} cannot be set", route.to, route.prefix, route.via);
        note(what, handle.route().add(message).replace().execute().await);
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

fn message(route: &Route, link: u32, wanted: &Wanted) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .output_interface(link)
        .destination_prefix(route.to, route.prefix)
        .priority(wanted.origin.metric(link))
        .protocol(wanted.origin.protocol());
    builder = match wanted.addresses.first() {
        Some((source, _)) => builder.pref_source(*source),
        None => builder,
    };
    if route.via.is_unspecified() {
        return builder.scope(RouteScope::Link).build();
    }
    // Hosters give a lone /32 with a router outside of it.
    let near = wanted.addresses.iter().any(|(address, prefix)| shares(*address, route.via, *prefix));
    let builder = builder.gateway(route.via);
    if near { builder.build() } else { builder.onlink().build() }
}

fn shares(a: Ipv4Addr, b: Ipv4Addr, prefix: u8) -> bool {
    (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(prefix)
}

/// What tells two routes of a link apart.
fn key(
    message: &RouteMessage,
) -> (u8, RouteProtocol, Option<Ipv4Addr>, Option<Ipv4Addr>, Option<Ipv4Addr>, u32) {
    let (mut to, mut via, mut source, mut metric) = (None, None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(it)) => to = Some(*it),
            RouteAttribute::Gateway(RouteAddress::Inet(it)) => via = Some(*it),
            RouteAttribute::PrefSource(RouteAddress::Inet(it)) => source = Some(*it),
            RouteAttribute::Priority(it) => metric = *it,
            _ => {}
        }
    }
    let to = to.filter(|to| !to.is_unspecified());
    (message.header.destination_prefix_length, message.header.protocol, to, via, source, metric)
}

async fn addresses(handle: &Handle, link: u32) -> Result<Vec<AddressMessage>, String> {
    let mut all = addresses_of(handle, link).await?;
    all.retain(|message| message.header.family == AddressFamily::Inet);
    Ok(all)
}

/// Addresses of a link, of whatever family.
pub(crate) async fn addresses_of(handle: &Handle, link: u32) -> Result<Vec<AddressMessage>, String> {
    let mut all: Vec<AddressMessage> = handle
        .address()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(|e| format!("the kernel did not list its addresses: {e}"))?;
    all.retain(|message| message.header.index == link);
    Ok(all)
}

fn local(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })
}

/// The routes of a link that this daemon has set, now or in an earlier life.
async fn routes(handle: &Handle, link: u32) -> Result<Vec<RouteMessage>, String> {
    let all: Vec<RouteMessage> = handle
        .route()
        .get(RouteMessageBuilder::<Ipv4Addr>::new().build())
        .execute()
        .try_collect()
        .await
        .map_err(|e| format!("the kernel did not list its routes: {e}"))?;
    let ours = |m: &RouteMessage| {
        m.header.table == RouteHeader::RT_TABLE_MAIN
            && matches!(m.header.protocol, RouteProtocol::Dhcp | RouteProtocol::Static)
            && m.attributes.iter().any(|a| matches!(a, RouteAttribute::Oif(index) if *index == link))
    };
    Ok(all.into_iter().filter(ours).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(prefix: u8) -> Wanted {
        Wanted { addresses: vec![(Ipv4Addr::new(10, 0, 2, 15), prefix)], ..Wanted::nothing() }
    }

    #[test]
    fn a_router_outside_of_the_network_is_reached_all_the_same() {
        let route = Route { to: Ipv4Addr::UNSPECIFIED, prefix: 0, via: Ipv4Addr::new(10, 0, 2, 2) };
        let flags = |prefix| message(&route, 2, &wanted(prefix)).header.flags;
        assert!(flags(24).is_empty());
        assert!(!flags(32).is_empty());
    }

    #[test]
    fn a_route_without_router_is_on_the_link() {
        let route = Route { to: Ipv4Addr::new(192, 0, 2, 0), prefix: 24, via: Ipv4Addr::UNSPECIFIED };
        assert_eq!(message(&route, 2, &wanted(24)).header.scope, RouteScope::Link);
    }
}
