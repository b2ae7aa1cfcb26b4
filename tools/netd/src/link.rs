//! One link's life: packets, time and the cable go into the state machines, and what they want is done.

use crate::arp::Arp;
use crate::config;
use crate::dhcp::{Lease, client, wire};
use crate::kernel::{self, Origin, Route, Wanted};
use crate::linklocal::{self, LinkLocal};
use crate::packet::{self, Packets};
use crate::resolver::{Resolver, Servers};
use crate::sys::Kind;
use aios_abi::netconf::{self, Method};
use rtnetlink::Handle;
use rustix::rand::GetRandomFlags;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// Which link it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The kernel's number of it.
    pub(crate) index: u32,
    /// Its name.
    pub(crate) name: String,
    /// Its hardware address.
    pub(crate) mac: [u8; 6],
}

/// A link that is looked after.
#[derive(Debug)]
pub(crate) struct Link {
    place: Place,
    config: netconf::Link,
    handle: Handle,
    resolver: Arc<Resolver>,
    identity: wire::Identity,
    began: Instant,
    client: client::Client,
    local: LinkLocal,
    /// Open while an answer is expected.
    dhcp: Option<Packets>,
    /// Open while it matters who has an address.
    arp: Option<Packets>,
    /// Open while a lease is being extended: without it the kernel would refuse the server's answer.
    udp: Option<UdpSocket>,
}

/// What a link waits for.
enum Event {
    Carrier(bool),
    Gone,
    Time,
    Dhcp(std::io::Result<Vec<u8>>),
    Arp(std::io::Result<Vec<u8>>),
}

impl Link {
    /// A link without cable.
    pub(crate) fn new(place: Place, config: netconf::Link, handle: Handle, resolver: Arc<Resolver>) -> Self {
        let mut seed = [0; 8];
        // Spreads clients apart and nothing more, so it must not wait until the kernel has gathered entropy,
        // which a machine without a source of it does for a long time after it started.
        if rustix::rand::getrandom(&mut seed, GetRandomFlags::INSECURE).is_err() {
            seed[..6].copy_from_slice(&place.mac);
        }
        let host = rustix::system::uname().nodename().to_str().unwrap_or_default().to_owned();
        let host = Some(host).filter(|name| !matches!(name.as_str(), "" | "(none)" | "localhost"));
        Self {
            identity: wire::Identity { mac: place.mac, host },
            began: Instant::now(),
            client: client::Client::new(u64::from_ne_bytes(seed)),
            local: LinkLocal::new(place.mac),
            dhcp: None,
            arp: None,
            udp: None,
            place,
            config,
            handle,
            resolver,
        }
    }

    /// Until nobody tells of the link any more. What the configuration says of addresses is set first, and how that went is
    /// told.
    pub(crate) async fn run(
        mut self,
        mut carrier: watch::Receiver<bool>,
        told: oneshot::Sender<Result<(), String>>,
    ) {
        let up = *carrier.borrow_and_update();
        let set = match self.config.method {
            Method::Static => self.apply_static().await,
            Method::None => self.apply(&Wanted::nothing(), Some(self.servers(&[], None))).await,
            // What an earlier run has set may stay until something better is known.
            Method::Dhcp | Method::LinkLocal => Ok(()),
        };
        // Nobody may want to know.
        let _ = told.send(set);
        if up {
            self.carrier(true).await;
        }
        loop {
            match self.next(&mut carrier).await {
                Event::Carrier(up) => {
                    self.log(6, if up { "the cable is in" } else { "the cable is out" });
                    self.carrier(up).await;
                }
                Event::Gone => break,
                Event::Time => {
                    let actions = self.client.tick(self.now());
                    self.obey(actions).await;
                    if self.config.method == Method::Dhcp
                        && self.client.is_unanswered()
                        && !self.local.is_on()
                    {
                        self.log(5, "no DHCP server answers; a link-local address will do until one does");
                        self.local.start(self.now());
                    }
                    let actions = self.local.tick(self.now());
                    self.obey_local(actions).await;
                }
                Event::Dhcp(Ok(packet)) => self.dhcp_packet(&packet).await,
                Event::Arp(Ok(packet)) => self.arp_packet(&packet).await,
                // The cable is out, mostly. Whoever sends next opens the socket anew.
                Event::Dhcp(Err(error)) => {
                    self.log(7, &format!("nothing can be heard of DHCP: {error}"));
                    self.dhcp = None;
                }
                Event::Arp(Err(error)) => {
                    self.log(7, &format!("nothing can be heard of ARP: {error}"));
                    self.arp = None;
                }
            }
            self.close_idle();
        }
    }

    async fn next(&self, carrier: &mut watch::Receiver<bool>) -> Event {
        let wake = self.client.wake().into_iter().chain(self.local.wake()).min();
        let time = async {
            match wake {
                Some(at) => tokio::time::sleep_until(self.began + Duration::from_millis(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = carrier.changed() => match changed {
                Ok(()) => Event::Carrier(*carrier.borrow_and_update()),
                Err(_) => Event::Gone,
            },
            () = time => Event::Time,
            packet = packet::receive(self.dhcp.as_ref()) => Event::Dhcp(packet),
            packet = packet::receive(self.arp.as_ref()) => Event::Arp(packet),
        }
    }

    /// Milliseconds of the state machines. The timer rounds up, so that a wake-up is never too early.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn log(&self, priority: u8, text: &str) {
        eprintln!("<{priority}>{}: {text}", self.place.name);
    }

    fn close_idle(&mut self) {
        if !self.client.listens() {
            self.dhcp = None;
            self.udp = None;
        }
        if self.client.checking().is_none() && !self.local.is_on() {
            self.arp = None;
        }
    }

    async fn carrier(&mut self, up: bool) {
        match self.config.method {
            // Set again: the kernel drops routes of a link that somebody switched off.
            Method::Static if up => drop(self.apply_static().await),
            Method::Dhcp => {
                // A cable that was out for a moment is only heard of when it is in again.
                let mut actions = self.client.carrier(self.now(), false);
                if up {
                    actions.extend(self.client.carrier(self.now(), true));
                }
                self.obey(actions).await;
            }
            Method::LinkLocal if up => self.local.start(self.now()),
            _ => {}
        }
        if !up && let Some(action) = self.local.stop() {
            self.obey_local(vec![action]).await;
        }
    }

    async fn dhcp_packet(&mut self, packet: &[u8]) {
        if let Some(answer) = wire::decode(packet, self.place.mac, self.client.xid()) {
            let actions = self.client.answer(self.now(), answer);
            self.obey(actions).await;
        }
    }

    async fn arp_packet(&mut self, packet: &[u8]) {
        let Some(arp) = Arp::decode(packet) else { return };
        if let Some(address) = self.client.checking()
            && arp.claims(address, self.place.mac)
        {
            let who = config::mac_text(arp.mac);
            self.log(4, &format!("{address} from the DHCP server belongs to {who} and is declined"));
            let actions = self.client.conflict(self.now());
            self.obey(actions).await;
        }
        if let Some(action) = self.local.heard(self.now(), &arp) {
            self.log(4, &format!("the link-local address belongs to {} as well", config::mac_text(arp.mac)));
            self.obey_local(vec![action]).await;
        }
    }

    async fn obey(&mut self, actions: Vec<client::Action>) {
        for action in actions {
            let sent = match action {
                client::Action::Broadcast { xid, secs, message } => {
                    wire::encode(&self.identity, xid, secs, message).and_then(|bytes| self.shout(&bytes))
                }
                client::Action::Unicast { xid, server, message } => {
                    match wire::encode(&self.identity, xid, 0, message) {
                        Ok(bytes) => self.whisper(server, &bytes).await,
                        Err(error) => Err(error),
                    }
                }
                client::Action::Probe(address) => self.send_arp(Ipv4Addr::UNSPECIFIED, address),
                client::Action::Announce(address) => self.send_arp(address, address),
                client::Action::Bind(lease) => {
                    self.local.stop();
                    self.apply_lease(&lease).await;
                    Ok(())
                }
                client::Action::Unbind => {
                    self.log(5, "the lease is over");
                    // What failed was logged.
                    let _ = self.apply(&Wanted::nothing(), None).await;
                    Ok(())
                }
            };
            if let Err(error) = sent {
                self.log(4, &error);
            }
        }
    }

    async fn obey_local(&mut self, actions: Vec<linklocal::Action>) {
        for action in actions {
            match action {
                linklocal::Action::Send(arp) => {
                    if let Err(error) = self.send_arp(arp.sender, arp.target) {
                        self.log(4, &error);
                    }
                }
                linklocal::Action::Bind(address) => {
                    let wanted = Wanted { addresses: vec![(address, 16)], ..Wanted::nothing() };
                    let _ = self.apply(&wanted, Some(self.servers(&[], None))).await;
                    self.log(6, &format!("{address}/16, link-local"));
                }
                linklocal::Action::Unbind => drop(self.apply(&Wanted::nothing(), None).await),
            }
        }
    }

    /// A DHCP message to everybody.
    fn shout(&mut self, message: &[u8]) -> Result<(), String> {
        if self.dhcp.is_none() {
            self.dhcp = Some(open(self.place.index, Kind::Dhcp)?);
        }
        let Some(packets) = &self.dhcp else { return Ok(()) };
        packets
            .broadcast(&wire::broadcast(message))
            .map_err(|e| format!("a DHCP message cannot be sent: {e}"))
    }

    /// A DHCP message to one server, which answers to the address that we have from it.
    async fn whisper(&mut self, server: Ipv4Addr, message: &[u8]) -> Result<(), String> {
        let failed = |e| format!("{server} cannot be asked to extend the lease: {e}");
        if self.dhcp.is_none() {
            self.dhcp = Some(open(self.place.index, Kind::Dhcp)?);
        }
        let own = self.client.lease().map_or(Ipv4Addr::UNSPECIFIED, |lease| lease.address);
        let socket = UdpSocket::bind((own, wire::CLIENT_PORT)).await.map_err(failed)?;
        socket.bind_device(Some(self.place.name.as_bytes())).map_err(failed)?;
        socket.send_to(message, (server, wire::SERVER_PORT)).await.map_err(failed)?;
        self.udp = Some(socket);
        Ok(())
    }

    fn send_arp(&mut self, sender: Ipv4Addr, target: Ipv4Addr) -> Result<(), String> {
        if self.arp.is_none() {
            self.arp = Some(open(self.place.index, Kind::Arp)?);
        }
        let Some(packets) = &self.arp else { return Ok(()) };
        let arp = Arp { mac: self.place.mac, sender, target };
        packets.broadcast(&arp.encode()).map_err(|e| format!("an ARP packet cannot be sent: {e}"))
    }

    async fn apply_static(&mut self) -> Result<(), String> {
        let own = self.config.addresses.iter();
        let addresses: Vec<_> = own
            .filter_map(|own| match own.address {
                IpAddr::V4(address) => Some((address, own.length)),
                IpAddr::V6(_) => None,
            })
            .collect();
        let everywhere = |via| Route { to: Ipv4Addr::UNSPECIFIED, prefix: 0, via };
        let routes = self.config.gateway.map(everywhere).into_iter().collect();
        let text: Vec<_> = addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect();
        let wanted = Wanted { origin: Origin::Static, addresses, lifetime: None, routes };
        let set = self.apply(&wanted, Some(self.servers(&[], None))).await;
        self.log(6, &format!("{}, static", text.join(" ")));
        set
    }

    async fn apply_lease(&mut self, lease: &Lease) {
        let routes =
            lease.routes.iter().map(|(to, prefix, via)| Route { to: *to, prefix: *prefix, via: *via });
        let wanted = Wanted {
            origin: Origin::Dhcp,
            addresses: vec![(lease.address, lease.prefix)],
            lifetime: Some(lease.seconds[2]),
            routes: routes.collect(),
        };
        let servers = self.servers(&lease.dns, lease.domain.as_ref());
        let _ = self.apply(&wanted, Some(servers)).await;
        let Lease { address, prefix, server, seconds: [_, _, seconds], .. } = lease;
        self.log(6, &format!("{address}/{prefix} from {server} for {seconds} s"));
    }

    /// What is written counts more than what a server said.
    fn servers(&self, dns: &[Ipv4Addr], domain: Option<&String>) -> Servers {
        let config = &self.config;
        let dns = if config.dns.is_empty() {
            dns.iter().copied().map(IpAddr::V4).collect()
        } else {
            config.dns.clone()
        };
        Servers { dns, search: config.search.clone().or_else(|| domain.cloned()) }
    }

    async fn apply(&self, wanted: &Wanted, servers: Option<Servers>) -> Result<(), String> {
        let set = kernel::configure(&self.handle, self.place.index, wanted).await;
        if let Err(error) = &set {
            self.log(3, error);
        }
        self.resolver.set(self.place.index, servers);
        set
    }
}

fn open(interface: u32, kind: Kind) -> Result<Packets, String> {
    Packets::open(interface, kind).map_err(|e| format!("the link cannot be listened to: {e}"))
}
