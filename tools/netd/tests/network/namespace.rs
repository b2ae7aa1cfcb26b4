//! Network namespaces and the cables between them.

use crate::sys;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;

/// A network without anything in it, which lasts as long as this value and what runs in it.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| {
            sys::leave_network()?;
            File::open("/proc/thread-self/ns/net")
        });
        let made = made.join().expect("the thread ends");
        Self(made.unwrap_or_else(|e| {
            panic!(
                "no network namespace can be made: {e}. This test needs root and a kernel with CONFIG_NET_NS."
            )
        }))
    }

    /// Do something in this network.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).expect("moves");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Ask this network's kernel something, or tell it.
    pub(crate) fn kernel<T: Send>(&self, work: impl AsyncFnOnce(Handle) -> T + Send) -> T {
        self.run(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().expect("netlink");
                tokio::spawn(connection);
                work(handle).await
            })
        })
    }

    /// Lay a cable: `near` is this network's end of it, up and with an address; `far` the other's.
    pub(crate) fn plug(&self, near: &str, address: Ipv4Addr, other: &Self, far: &str) {
        let there = other.0.as_raw_fd();
        self.kernel(async |handle| {
            handle
                .link()
                .add(LinkVeth::new(near, far).build())
                .execute()
                .await
                .expect("a veth pair is made; this test needs a kernel with CONFIG_VETH");
            self.give(&handle, near, address).await;
            let give = LinkUnspec::new_with_name(far).setns_by_fd(there).build();
            handle.link().set(give).execute().await.expect("the far end moves");
        });
        self.carrier(near, true);
    }

    /// Give a link one more address.
    pub(crate) fn add(&self, link: &str, address: Ipv4Addr) {
        self.kernel(async |handle| self.give(&handle, link, address).await);
    }

    async fn give(&self, handle: &Handle, link: &str, address: Ipv4Addr) {
        let found: Vec<_> =
            handle.link().get().match_name(link).execute().try_collect().await.expect("the link is there");
        let add = handle.address().add(found[0].header.index, IpAddr::V4(address), 24);
        add.execute().await.expect("the address is set");
    }

    /// The way to everywhere else.
    pub(crate) fn gateway(&self, via: Ipv4Addr) {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(via).build();
        self.kernel(async |handle| handle.route().add(route).execute().await.expect("the route is set"));
    }

    /// Pass packets on.
    pub(crate) fn forward(&self) {
        self.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwards"));
    }

    /// Switch an end of a cable on or off; the other end sees a cable that goes in or out.
    pub(crate) fn carrier(&self, link: &str, up: bool) {
        let message = LinkUnspec::new_with_name(link);
        let message = if up { message.up() } else { message.down() }.build();
        self.kernel(async |handle| handle.link().set(message).execute().await.expect("the link is switched"));
    }

    /// All IPv4 addresses with their prefixes and whether they end by themselves.
    pub(crate) fn addresses(&self) -> Vec<(Ipv4Addr, u8, bool)> {
        let all: Vec<_> = self
            .kernel(async |handle| handle.address().get().execute().try_collect().await.expect("addresses"));
        let mut found = Vec::new();
        for message in all {
            let mut expires = false;
            for attribute in &message.attributes {
                if let AddressAttribute::CacheInfo(times) = attribute {
                    expires = times.ifa_valid != u32::MAX;
                }
            }
            for attribute in message.attributes {
                if let AddressAttribute::Local(IpAddr::V4(address)) = attribute {
                    found.push((address, message.header.prefix_len, expires));
                }
            }
        }
        found
    }

    /// The gateways of default routes.
    pub(crate) fn gateways(&self) -> Vec<Ipv4Addr> {
        let ask = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let all: Vec<_> = self
            .kernel(async |handle| handle.route().get(ask).execute().try_collect().await.expect("routes"));
        let defaults = all.into_iter().filter(|route| route.header.destination_prefix_length == 0);
        let gateway = |attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(address),
            _ => None,
        };
        defaults.flat_map(|route| route.attributes).filter_map(gateway).collect()
    }

    /// Links with the size of their packets, IPv4 addresses and routes of the main table, in words and in order.
    pub(crate) fn state(&self) -> Vec<String> {
        let ask = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let (links, addresses, routes) = self.kernel(async |handle| {
            let links: Vec<_> = handle.link().get().execute().try_collect().await.expect("links");
            let addresses: Vec<_> = handle.address().get().execute().try_collect().await.expect("addresses");
            let routes: Vec<_> = handle.route().get(ask).execute().try_collect().await.expect("routes");
            (links, addresses, routes)
        });
        let mut state = Vec::new();
        let mut names = std::collections::HashMap::new();
        for link in links {
            for attribute in &link.attributes {
                if let LinkAttribute::IfName(name) = attribute {
                    names.insert(link.header.index, name.clone());
                }
            }
            let name = names.get(&link.header.index).cloned().unwrap_or_default();
            let sizes = link.attributes.iter().filter_map(|attribute| match attribute {
                LinkAttribute::Mtu(mtu) => Some(format!("{name} mtu {mtu}")),
                _ => None,
            });
            state.extend(sizes);
        }
        let name = |index: u32| names.get(&index).map_or("?", String::as_str);
        for message in addresses {
            for attribute in &message.attributes {
                if let AddressAttribute::Local(IpAddr::V4(address)) = attribute {
                    state.push(format!(
                        "{} {address}/{}",
                        name(message.header.index),
                        message.header.prefix_len
                    ));
                }
            }
        }
        for route in routes.into_iter().filter(|route| route.header.table == RouteHeader::RT_TABLE_MAIN) {
            let (mut to, mut words) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), String::new());
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(it)) => to = IpAddr::V4(*it),
                    RouteAttribute::Gateway(RouteAddress::Inet(via)) => words += &format!(" via {via}"),
                    RouteAttribute::Oif(index) => words += &format!(" on {}", name(*index)),
                    RouteAttribute::Priority(metric) => words += &format!(" metric {metric}"),
                    RouteAttribute::MultiPath(hops) => {
                        for hop in hops {
                            let via = hop.attributes.iter().find_map(|attribute| match attribute {
                                RouteAttribute::Gateway(RouteAddress::Inet(via)) => Some(via),
                                _ => None,
                            });
                            words += &format!(" hop {via:?} on {} {}", name(hop.interface_index), hop.hops);
                        }
                    }
                    _ => {}
                }
            }
            state.push(format!("{to}/{}{words}", route.header.destination_prefix_length));
        }
        state.sort();
        state
    }
}
