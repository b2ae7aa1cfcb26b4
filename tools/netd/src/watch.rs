//! Which links there are: the kernel tells of each that comes, goes or gets a cable.

use crate::config::{self, Config, Method};
use crate::link::{Link, Place};
use crate::{kernel, resolver::Resolver};
use futures_util::StreamExt;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What the kernel says of an Ethernet link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    place: Place,
    /// A cable is in and the other end alive.
    carrier: bool,
    /// A card rather than something made of software.
    physical: bool,
    /// Part of a bridge or bond, which has the address then.
    member: bool,
}

/// An Ethernet link, if that is what the message is about.
fn look(message: &LinkMessage) -> Option<Seen> {
    let header = &message.header;
    // Bridges tell of their ports under a family of their own.
    if header.interface_family != AddressFamily::Unspec || header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let (mut name, mut mac, mut physical, mut member) = (None, None, true, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(it) => name = Some(it.clone()),
            LinkAttribute::Address(it) => mac = <[u8; 6]>::try_from(it.as_slice()).ok(),
            LinkAttribute::LinkInfo(_) => physical = false,
            LinkAttribute::Controller(_) => member = true,
            _ => {}
        }
    }
    let place = Place { index: header.index, name: name?, mac: mac? };
    Some(Seen { place, carrier: header.flags.contains(LinkFlags::Running), physical, member })
}

struct Known {
    place: Place,
    carrier: watch::Sender<bool>,
    task: AbortHandle,
}

struct Watch {
    config: Config,
    resolver: Arc<Resolver>,
    handle: Handle,
    links: BTreeMap<u32, Known>,
    tasks: JoinSet<()>,
}

/// Look after all links, for ever.
pub(crate) async fn run(config: Config, resolver: Resolver) -> Result<(), String> {
    let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
        .map_err(|e| format!("the kernel does not tell of its links: {e}"))?;
    tokio::spawn(connection);
    let (resolver, links, tasks) = (Arc::new(resolver), BTreeMap::new(), JoinSet::new());
    let mut watch = Watch { config, resolver, handle, links, tasks };
    watch.survey().await?;
    aios_abi::daemon::ready();
    loop {
        tokio::select! {
            message = messages.next() => {
                // Without it nothing is known of links any more; the supervisor starts us anew.
                let (message, _) = message.ok_or("the kernel stopped telling of its links")?;
                match message.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => watch.seen(&link).await,
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                        if link.header.interface_family == AddressFamily::Unspec =>
                    {
                        watch.gone(link.header.index);
                    }
                    NetlinkPayload::Overrun(_) => watch.survey().await?,
                    _ => {}
                }
            }
            Some(ended) = watch.tasks.join_next() => {
                if let Err(error) = ended && !error.is_cancelled() {
                    return Err(format!("a link's task failed: {error}"));
                }
            }
        }
    }
}

impl Watch {
    /// Look at all links: at the start, and when messages were lost.
    async fn survey(&mut self) -> Result<(), String> {
        let links = kernel::links(&self.handle).await?;
        let lost: Vec<u32> = self
            .links
            .keys()
            .filter(|known| !links.iter().any(|l| l.header.index == **known))
            .copied()
            .collect();
        lost.into_iter().for_each(|index| self.gone(index));
        for link in &links {
            self.seen(link).await;
        }
        Ok(())
    }

    async fn seen(&mut self, message: &LinkMessage) {
        let Some(seen) = look(message) else { return };
        let place = &seen.place;
        let configured = self.config.of(&place.name, place.mac).cloned();
        if seen.member || (!seen.physical && configured.is_none()) {
            self.gone(place.index);
            return;
        }
        if let Some(known) = self.links.get(&place.index).filter(|known| known.place == *place) {
            known
                .carrier
                .send_if_modified(|carrier| std::mem::replace(carrier, seen.carrier) != seen.carrier);
            return;
        }
        // New, or under another name or hardware address, which is as good as new.
        self.gone(place.index);
        let config = configured.unwrap_or_default();
        let method = match config.method {
            Method::Dhcp => "DHCP",
            Method::Static => "static addresses",
            Method::LinkLocal => "a link-local address",
            Method::None => "no IPv4",
        };
        eprintln!("<6>{}: found, {}, {method}", place.name, config::mac_text(place.mac));
        if let Err(error) = kernel::up(&self.handle, place.index).await {
            eprintln!("<4>{}: {error}", place.name);
        }
        let (carrier, receiver) = watch::channel(seen.carrier);
        let link = Link::new(place.clone(), config, self.handle.clone(), Arc::clone(&self.resolver));
        let task = self.tasks.spawn(link.run(receiver));
        self.links.insert(place.index, Known { place: place.clone(), carrier, task });
    }

    fn gone(&mut self, index: u32) {
        if let Some(known) = self.links.remove(&index) {
            // At once: the next task of this link must not meet it.
            known.task.abort();
            self.resolver.set(index, None);
            eprintln!("<6>{}: gone", known.place.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(layer: LinkLayerType, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 2;
        message.header.link_layer_type = layer;
        message.header.flags = LinkFlags::Up | LinkFlags::Running;
        message.attributes = vec![LinkAttribute::IfName("eth0".into()), LinkAttribute::Address(vec![2; 6])];
        message.attributes.extend(attributes);
        message
    }

    #[test]
    fn a_card_with_a_cable_is_seen() {
        let seen = look(&message(LinkLayerType::Ether, vec![])).expect("seen");
        assert_eq!(seen.place, Place { index: 2, name: "eth0".into(), mac: [2; 6] });
        assert!(seen.carrier && seen.physical && !seen.member);
    }

    #[test]
    fn the_loopback_tunnels_and_bridge_messages_are_not_ours() {
        assert_eq!(look(&message(LinkLayerType::Loopback, vec![])), None);
        assert_eq!(look(&message(LinkLayerType::None, vec![])), None);
        let mut port = message(LinkLayerType::Ether, vec![]);
        port.header.interface_family = AddressFamily::Bridge;
        assert_eq!(look(&port), None);
    }

    #[test]
    fn a_port_of_a_bridge_and_a_thing_of_software_are_told_apart() {
        let port = look(&message(LinkLayerType::Ether, vec![LinkAttribute::Controller(7)])).expect("seen");
        assert!(port.member);
        let veth = look(&message(LinkLayerType::Ether, vec![LinkAttribute::LinkInfo(vec![])])).expect("seen");
        assert!(!veth.physical);
    }
}
