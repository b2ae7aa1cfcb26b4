//! Routes that were set by tools. The kernel forgets a route when its link goes down or loses an address, so they are
//! compared with what the kernel has whenever something changes, and set again.

use crate::kernel;
use aios_abi::netconf::{Hop, Prefix, Route};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{Handle, RouteMessageBuilder, RouteNextHopBuilder};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tells our routes from those of everybody else (rtnetlink(7), `rtm_protocol`); above those that are known
/// (`/etc/iproute2/rt_protos`).
const OURS: RouteProtocol = RouteProtocol::Other(161);

/// Let the kernel have these routes of ours and no others. What cannot be set now, and why.
pub(crate) async fn put(handle: &Handle, wanted: &[Route]) -> Result<Vec<(Route, String)>, String> {
    let names = names(handle).await?;
    let mut there = Vec::new();
    for message in all(handle).await? {
        let known = read(&message, &names).and_then(|found| {
            wanted.iter().find(|route| is_met(route, &found)).filter(|r| !there.contains(r))
        });
        match known {
            Some(route) => there.push(route),
            // The kernel may have removed it meanwhile.
            None => drop(handle.route().del(message).execute().await),
        }
    }
    let mut failed = Vec::new();
    for route in wanted.iter().filter(|route| !there.contains(route)) {
        let set = match message(route, &names) {
            Ok(message) => handle.route().add(message).execute().await.map_err(|e| e.to_string()),
            Err(error) => Err(error),
        };
        if let Err(error) = set {
            failed.push((route.clone(), error));
        }
    }
    Ok(failed)
}

async fn names(handle: &Handle) -> Result<HashMap<u32, String>, String> {
    let name = |attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    };
    let links = kernel::links(handle).await?.into_iter();
    Ok(links.filter_map(|l| Some((l.header.index, l.attributes.into_iter().find_map(name)?))).collect())
}

/// Our routes in the kernel.
async fn all(handle: &Handle) -> Result<Vec<RouteMessage>, String> {
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    let mut all = Vec::new();
    for question in [v4, v6] {
        let is_v6 = question.header.address_family == AddressFamily::Inet6;
        match handle.route().get(question).execute().try_collect::<Vec<_>>().await {
            Ok(found) => all.extend(found),
            // A kernel without it has none.
            Err(_) if is_v6 => {}
            Err(e) => return Err(format!("the kernel did not list its routes: {e}")),
        }
    }
    all.retain(|m| m.header.table == RouteHeader::RT_TABLE_MAIN && m.header.protocol == OURS);
    Ok(all)
}

/// Whether a route of the kernel is what was wanted. The kernel names the link also where nobody did.
fn is_met(wanted: &Route, found: &Route) -> bool {
    let same = |(wanted, found): (&Hop, &Hop)| {
        wanted.via == found.via
            && (wanted.interface.is_none() || wanted.interface == found.interface)
            && (wanted.weight == found.weight || wanted.weight == 1)
    };
    wanted.key() == found.key()
        && wanted.hops.len() == found.hops.len()
        && wanted.hops.iter().zip(&found.hops).all(same)
}

fn read(message: &RouteMessage, names: &HashMap<u32, String>) -> Option<Route> {
    let v6 = message.header.address_family == AddressFamily::Inet6;
    let (mut to, mut metric, mut hops) = (Prefix::everything(v6), 0, Vec::new());
    let mut only = Hop { via: None, interface: None, weight: 1 };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                to = Prefix::new(ip(address)?, message.header.destination_prefix_length)?;
            }
            RouteAttribute::Gateway(address) => only.via = ip(address),
            RouteAttribute::Oif(index) => only.interface = names.get(index).cloned(),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::MultiPath(several) => {
                for one in several {
                    let via = one.attributes.iter().find_map(|attribute| match attribute {
                        RouteAttribute::Gateway(address) => ip(address),
                        _ => None,
                    });
                    let interface = names.get(&one.interface_index).cloned();
                    hops.push(Hop { via, interface, weight: u16::from(one.hops) + 1 });
                }
            }
            _ => {}
        }
    }
    if hops.is_empty() {
        hops.push(only);
    }
    Some(Route { to, metric, hops })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn message(route: &Route, names: &HashMap<u32, String>) -> Result<RouteMessage, String> {
    let index = |name: &String| {
        let found = names.iter().find(|(_, known)| *known == name).map(|(index, _)| *index);
        found.ok_or_else(|| format!("there is no interface {name}"))
    };
    fn strange(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(route.to.address, route.to.length)
        .map_err(strange)?
        .priority(route.metric)
        .protocol(OURS);
    if let [only] = route.hops.as_slice() {
        if let Some(name) = &only.interface {
            builder = builder.output_interface(index(name)?);
        }
        return Ok(match only.via {
            Some(via) => builder.gateway(via).map_err(strange)?.build(),
            None => builder.scope(RouteScope::Link).build(),
        });
    }
    let family = if route.to.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut hops = Vec::new();
    for hop in &route.hops {
        // The kernel counts from 0.
        let weight = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
        let mut next = RouteNextHopBuilder::new(family).weight(weight);
        if let Some(name) = &hop.interface {
            next = next.interface(index(name)?);
        }
        if let Some(via) = hop.via {
            next = next.via(via).map_err(strange)?;
        }
        hops.push(next.build());
    }
    Ok(builder.multipath(hops).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> HashMap<u32, String> {
        HashMap::from([(2, "eth0".into()), (3, "eth1".into())])
    }

    fn hop(via: &str, interface: Option<&str>, weight: u16) -> Hop {
        Hop { via: Some(via.parse().expect("an address")), interface: interface.map(str::to_owned), weight }
    }

    #[test]
    fn a_route_is_read_as_it_was_sent() {
        for (to, hops) in [
            ("10.0.0.0/8", vec![hop("192.0.2.1", Some("eth0"), 1)]),
            ("0.0.0.0/0", vec![hop("192.0.2.1", Some("eth0"), 256), hop("198.51.100.1", Some("eth1"), 2)]),
            ("2001:db8::/32", vec![hop("fe80::1", Some("eth1"), 1)]),
            ("::/0", vec![hop("fe80::1", Some("eth1"), 1), hop("fe80::2", Some("eth0"), 3)]),
        ] {
            let route = Route { to: to.parse().expect("a network"), metric: 50, hops };
            let sent = message(&route, &names()).expect("a message");
            assert_eq!(sent.header.protocol, OURS);
            assert_eq!(read(&sent, &names()), Some(route.clone()));
            assert!(is_met(&route, &route));
        }
    }

    #[test]
    fn the_link_of_a_router_is_found_by_the_kernel_and_an_unknown_one_is_named() {
        let wanted =
            Route { to: Prefix::everything(false), metric: 50, hops: vec![hop("192.0.2.1", None, 1)] };
        let found = Route { hops: vec![hop("192.0.2.1", Some("eth0"), 1)], ..wanted.clone() };
        assert!(is_met(&wanted, &found) && !is_met(&found, &wanted));
        let strange = Route { hops: vec![hop("192.0.2.1", Some("wan7"), 1)], ..wanted };
        assert!(message(&strange, &names()).expect_err("unknown").contains("wan7"));
    }
}
