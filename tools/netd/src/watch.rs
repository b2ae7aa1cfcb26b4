//! Which links there are: the kernel tells of each that comes, goes or gets a cable. And what is wanted of them: the one
//! place that knows the configuration and changes it.

use crate::config::{self, Config, Kept};
use crate::link::{Link, Place};
use crate::trial::Attempt;
use crate::{kernel, keys::Keys, mtu, resolver::Resolver, routes, vpn};
use aios_abi::netconf::{self, Change, Method, Settings, Setup, VpnState};
use aios_abi::{CallError, ErrorCode};
use futures_util::StreamExt;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
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
    seen: Seen,
    carrier: watch::Sender<bool>,
    task: AbortHandle,
}

/// What is configured, and where that is from.
pub(crate) struct Configured {
    /// What a person wrote down.
    pub(crate) base: Config,
    /// What tools have set.
    pub(crate) settings: Settings,
    /// Where that is kept.
    pub(crate) kept: Kept,
    /// What links had before.
    pub(crate) mtu: mtu::Before,
    /// Secrets of tunnels.
    pub(crate) keys: Keys,
}

struct Watch {
    configured: Configured,
    resolver: Arc<Resolver>,
    handle: Handle,
    links: BTreeMap<u32, Known>,
    tasks: JoinSet<()>,
}

/// Where an answer goes.
type Answer<T> = oneshot::Sender<T>;

/// What others want of the configuration.
pub(crate) enum Order {
    Show(Answer<Setup>),
    Change(Box<Change>, Answer<Result<(), CallError>>),
    Keep(Answer<Result<(), CallError>>),
    Vpns(Answer<Result<Vec<VpnState>, CallError>>),
    KeepSecret(String, String, Answer<Result<(), CallError>>),
}

/// The way to the configuration.
#[derive(Clone)]
pub(crate) struct Control(mpsc::Sender<Order>);

impl Control {
    /// And its other end, for [`run`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (sender, receiver) = mpsc::channel(16);
        (Self(sender), receiver)
    }

    async fn ask<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, CallError> {
        let ended = || CallError::unavailable("netd is ending; try again in a moment");
        let (answer, answered) = oneshot::channel();
        self.0.send(order(answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
    }

    /// How the network is set up; what is on trial others know.
    pub(crate) async fn show(&self) -> Result<Setup, CallError> {
        self.ask(Order::Show).await
    }

    /// The tunnels as they are now.
    pub(crate) async fn vpns(&self) -> Result<Vec<VpnState>, CallError> {
        self.ask(Order::Vpns).await?
    }

    /// Keep a secret of a tunnel.
    pub(crate) async fn keep_secret(&self, name: String, secret: String) -> Result<(), CallError> {
        self.ask(|answer| Order::KeepSecret(name, secret, answer)).await?
    }

    /// A change that can be tried.
    pub(crate) fn attempt(&self, change: Change) -> Result<Attempt, CallError> {
        if change.is_nothing() {
            return Err(CallError::invalid("nothing would be different"));
        }
        if let Change::Link { after: Some(link), .. } = &change {
            link.check_sense().map_err(CallError::invalid)?;
        }
        let step = |change: Change| {
            let this = self.clone();
            async move { this.ask(|answer| Order::Change(Box::new(change), answer)).await? }
        };
        let this = self.clone();
        Ok(Attempt {
            what: change.to_string(),
            make: Box::pin(step(change.clone())),
            keep: Box::pin(async move { this.ask(Order::Keep).await? }),
            back: Box::pin(step(change.reversed())),
        })
    }
}

/// Look after all links, for ever.
pub(crate) async fn run(
    configured: Configured,
    resolver: Resolver,
    mut orders: mpsc::Receiver<Order>,
) -> Result<(), String> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&groups)
        .map_err(|e| format!("the kernel does not tell of its links: {e}"))?;
    tokio::spawn(connection);
    let (resolver, links, tasks) = (Arc::new(resolver), BTreeMap::new(), JoinSet::new());
    let mut watch = Watch { configured, resolver, handle, links, tasks };
    watch.survey().await?;
    // Also what an earlier run had on trial is removed.
    for error in vpn::put_all(&watch.handle, &watch.configured).await {
        eprintln!("<3>{error}");
    }
    watch.set_routes().await;
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
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(_)) => {}
                    NetlinkPayload::Overrun(_) => watch.survey().await?,
                    _ => continue,
                }
                if !watch.configured.settings.routes().is_empty() {
                    watch.set_routes().await;
                }
            }
            Some(order) = orders.recv() => watch.obey(order).await,
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

    /// What counts for a link, if anything is written or set.
    fn wanted(&self, place: &Place) -> Option<&netconf::Link> {
        let set = self.configured.settings.link.get(&place.name);
        set.or_else(|| self.configured.base.of(&place.name, place.mac))
    }

    async fn seen(&mut self, message: &LinkMessage) {
        let Some(seen) = look(message) else { return };
        if let Some(known) = self.links.get_mut(&seen.place.index)
            && known.seen.place == seen.place
            && !seen.member
        {
            let now = seen.carrier;
            known.carrier.send_if_modified(|carrier| std::mem::replace(carrier, now) != now);
            known.seen = seen;
            return;
        }
        // New, or under another name or hardware address, which is as good as new.
        if let Some(Err(error)) = self.look_after(seen).await {
            eprintln!("<3>{error}");
        }
    }

    /// Begin anew with a link, if it is one to look after. How setting its configuration went.
    async fn look_after(&mut self, seen: Seen) -> Option<Result<(), String>> {
        let place = &seen.place;
        self.gone(place.index);
        let wanted = self.wanted(place).cloned();
        if seen.member || (!seen.physical && wanted.is_none()) {
            return None;
        }
        let config = wanted.unwrap_or_default();
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
        let sized = self.configured.mtu.set(&self.handle, place.index, config.mtu).await;
        let (carrier, receiver) = watch::channel(seen.carrier);
        let link = Link::new(place.clone(), config, self.handle.clone(), Arc::clone(&self.resolver));
        let (tell, told) = oneshot::channel();
        let task = self.tasks.spawn(link.run(receiver, tell));
        let name = place.name.clone();
        self.links.insert(place.index, Known { seen, carrier, task });
        let set = told.await.unwrap_or_else(|_| Err("its task has ended".into()));
        Some(sized.and(set).map_err(|e| format!("{name}: {e}")))
    }

    fn gone(&mut self, index: u32) {
        if let Some(known) = self.links.remove(&index) {
            // At once: the next task of this link must not meet it.
            known.task.abort();
            self.resolver.set(index, None);
            eprintln!("<6>{}: gone", known.seen.place.name);
        }
    }

    async fn obey(&mut self, order: Order) {
        // Whoever asked may have gone.
        match order {
            Order::Show(answer) => drop(answer.send(self.show())),
            Order::Change(change, answer) => drop(answer.send(self.change(*change).await)),
            Order::Keep(answer) => {
                let Configured { kept, settings, .. } = &self.configured;
                drop(answer.send(kept.write(settings)));
            }
            Order::Vpns(answer) => drop(answer.send(vpn::look(&self.configured.settings).await)),
            Order::KeepSecret(name, secret, answer) => {
                drop(answer.send(self.configured.keys.keep(&name, &secret)));
            }
        }
    }

    fn show(&self) -> Setup {
        let known = self.links.values().map(|known| &known.seen.place);
        let links = known.map(|place| (place.name.clone(), self.wanted(place).cloned().unwrap_or_default()));
        Setup { settings: self.configured.settings.clone(), links: links.collect(), trial: None }
    }

    /// Let a change count. One that fails half-way is taken back at once.
    async fn change(&mut self, change: Change) -> Result<(), CallError> {
        let new = self.configured.settings.after(&change)?;
        let old = std::mem::replace(&mut self.configured.settings, new);
        let Err(error) = self.carry_out(&change).await else { return Ok(()) };
        self.configured.settings = old;
        if let Err(worse) = self.carry_out(&change.reversed()).await {
            eprintln!("<3>a change that failed was not wholly taken back: {worse}");
        }
        Err(CallError::new(ErrorCode::Failed, format!("{error}; nothing was changed")))
    }

    async fn carry_out(&mut self, change: &Change) -> Result<(), String> {
        if let Change::Link { name, .. } = change
            && let Some(seen) =
                self.links.values().map(|known| &known.seen).find(|seen| seen.place.name == *name)
        {
            self.look_after(seen.clone()).await.unwrap_or(Ok(()))?;
        }
        match change {
            Change::Vpn { name, after: Some(vpn), .. } => {
                vpn::put(&self.handle, &self.configured, name, vpn).await?;
            }
            Change::Vpn { name, after: None, .. } => vpn::remove(&self.handle, name).await?,
            _ => {}
        }
        let unset = self.set_routes().await;
        match change {
            Change::Route { after: Some(route), .. } => match unset.into_iter().find(|(one, _)| one == route)
            {
                Some((route, error)) => Err(format!("the route {route} cannot be set: {error}")),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Those that cannot be set now, and why: their link may be down.
    async fn set_routes(&self) -> Vec<(netconf::Route, String)> {
        let set = routes::put(&self.handle, &self.configured.settings.routes()).await;
        set.unwrap_or_else(|error| {
            eprintln!("<3>routes cannot be set: {error}");
            Vec::new()
        })
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
