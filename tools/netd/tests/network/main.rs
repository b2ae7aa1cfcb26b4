//! The daemon on real links: each test has two networks of its own with a cable between them, the daemon at
//! one end and a DHCP server, or silence, at the other.

#![deny(unsafe_code)]

mod configure;
mod daemon;
mod firewall;
mod namespace;
mod server;
#[allow(unsafe_code)]
mod sys;

use aios_abi::ErrorCode;
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::net::{AddressFamily, HopSaid, Net, NetReply, NetRequest, PortState};
use daemon::Daemon;
use namespace::Namespace;
use server::{SERVER, Server};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// A virtual link is looked after only if it is named.
const DHCP: &str = "[link.eth0]\nipv4 = \"dhcp\"\n";
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 15);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 16);

#[test]
fn a_lease_comes_is_renewed_ends_and_a_link_local_address_stands_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let resolv_conf = || std::fs::read_to_string(folder.path().join("resolv.conf")).expect("resolv.conf");
    let (here, there) = (Namespace::new(), Namespace::new());
    // Ready without any link, let alone a lease.
    let daemon = Daemon::start(&here, folder.path(), &[DHCP]);
    there.plug("far0", SERVER, &here, "eth0");
    let server = Server::start(&there, "far0", &[FIRST]);
    daemon.says("10.99.0.15/24 from 10.99.0.1 for 10 s");
    assert_eq!(here.addresses(), [(FIRST, 24, true)]);
    assert_eq!(here.gateways(), [SERVER]);
    let text = resolv_conf();
    assert!(text.contains("search lan\nnameserver 10.99.0.53\n"), "{text}");

    server.hears("renew");
    daemon.says("10.99.0.15/24 from 10.99.0.1 for 10 s");

    there.carrier("far0", false);
    daemon.says("the cable is out");
    there.carrier("far0", true);
    server.hears("reboot");
    daemon.says("10.99.0.15/24 from 10.99.0.1 for 10 s");
    assert_eq!(here.gateways(), [SERVER]);

    drop(server);
    daemon.says("the lease is over");
    daemon.says("/16, link-local");
    let addresses = here.addresses();
    assert!(matches!(addresses[..], [(address, 16, false)] if address.is_link_local()), "{addresses:?}");
    assert!(here.gateways().is_empty());
    assert!(!resolv_conf().contains("nameserver"));

    let _server = Server::start(&there, "far0", &[SECOND]);
    daemon.says("10.99.0.16/24 from 10.99.0.1");
    assert_eq!(here.addresses(), [(SECOND, 24, true)]);
}

#[test]
fn an_address_that_a_neighbour_has_is_declined_and_a_restart_costs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (Namespace::new(), Namespace::new());
    there.plug("far0", SERVER, &here, "eth0");
    there.add("far0", FIRST);
    let server = Server::start(&there, "far0", &[FIRST, SECOND]);
    let daemon = Daemon::start(&here, folder.path(), &[DHCP]);
    server.hears("decline");
    daemon.says("10.99.0.16/24 from 10.99.0.1");

    drop(daemon);
    assert_eq!(here.addresses(), [(SECOND, 24, true)]);
    assert_eq!(here.gateways(), [SERVER]);
    let daemon = Daemon::start(&here, folder.path(), &[DHCP]);
    daemon.says("10.99.0.16/24 from 10.99.0.1");
    assert_eq!(here.addresses(), [(SECOND, 24, true)]);
    assert_eq!(here.gateways(), [SERVER]);
}

#[test]
fn names_are_looked_up_for_those_without_a_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (Namespace::new(), Namespace::new());
    there.plug("far0", SERVER, &here, "eth0");
    let fixed =
        format!("[link.eth0]\nipv4 = \"static\"\naddresses = [\"10.99.0.15/24\"]\ndns = [\"{SERVER}\"]\n");
    let daemon = Daemon::start(&here, folder.path(), &[&fixed]);
    daemon.says("10.99.0.15/24, static");
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-hosts",
        "--no-resolv",
        "--local=/lan/",
    ]);
    dnsmasq.args([
        "--user=root",
        "--pid-file=",
        "--log-facility=-",
        "--host-record=box.lan,192.0.2.7,2001:db8::7",
    ]);
    dnsmasq.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stderr(Stdio::piped());
    let mut server = there.run(|| dnsmasq.spawn()).expect("scripts/deps.sh test installs dnsmasq");
    let mut said = BufReader::new(server.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("started")), "dnsmasq did not start");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = Client::<Net>::at(folder.path().join("socket"));
    let ask = |name: &str, family| {
        let request = NetRequest::Resolve { name: name.to_owned(), family };
        runtime.block_on(client.call(Meta::default(), request))
    };
    let found = |addresses: &[&str]| {
        Ok(NetReply::Addresses(
            addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        ))
    };
    assert_eq!(ask("box.lan", AddressFamily::Ipv4), found(&["192.0.2.7"]));
    assert_eq!(ask("box.lan", AddressFamily::Ipv6), found(&["2001:db8::7"]));
    let missing = ask("nobody.lan", AddressFamily::Any).expect_err("there is no such name");
    assert_eq!((missing.code, missing.message.contains("nobody.lan")), (ErrorCode::NotFound, true));
    let broken = ask("a..b", AddressFamily::Any).expect_err("no name");
    assert!(broken.message.contains("a..b"), "{broken:?}");
    server.kill().expect("dnsmasq is ours");
    server.wait().expect("it ends");
    let silent = ask("box.lan", AddressFamily::Ipv4).expect_err("nobody is there");
    assert!(matches!(silent.code, ErrorCode::Timeout | ErrorCode::Unavailable), "{silent:?}");
}

#[test]
fn static_addresses_are_set_and_a_broken_file_does_not_matter() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (Namespace::new(), Namespace::new());
    there.plug("far0", SERVER, &here, "eth0");
    // What somebody left there goes away.
    here.add("eth0", FIRST);
    let fixed = "[link.eth0]\nipv4 = \"static\"\naddresses = [\"192.0.2.10/24\", \"192.0.2.11/24\"]\n\
                 gateway = \"192.0.2.1\"\ndns = [\"192.0.2.53\"]\n";
    let daemon = Daemon::start(&here, folder.path(), &[fixed, "[link.eth0]\nipv4 = 4\n"]);
    daemon.says("net1.toml:2");
    daemon.says("192.0.2.10/24 192.0.2.11/24, static");
    let expected = [(Ipv4Addr::new(192, 0, 2, 10), 24, false), (Ipv4Addr::new(192, 0, 2, 11), 24, false)];
    assert_eq!(here.addresses(), expected);
    assert_eq!(here.gateways(), [Ipv4Addr::new(192, 0, 2, 1)]);
    let text = std::fs::read_to_string(folder.path().join("resolv.conf")).expect("resolv.conf");
    assert!(text.ends_with("nameserver 192.0.2.53\n"), "{text}");

    // Switched off and on by somebody: the kernel forgot the route, the daemon did not.
    here.carrier("eth0", false);
    daemon.says("the cable is out");
    assert!(here.gateways().is_empty());
    here.carrier("eth0", true);
    daemon.says("static");
    assert_eq!(here.gateways(), [Ipv4Addr::new(192, 0, 2, 1)]);
}

#[test]
fn others_are_asked_whether_they_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (Namespace::new(), Namespace::new());
    there.plug("far0", SERVER, &here, "eth0");
    let fixed = "[link.eth0]\nipv4 = \"static\"\naddresses = [\"10.99.0.15/24\"]\n";
    let daemon = Daemon::start(&here, folder.path(), &[fixed]);
    daemon.says("10.99.0.15/24, static");
    let listener = there.run(|| std::net::TcpListener::bind((SERVER, 7_777))).expect("listens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = Client::<Net>::at(folder.path().join("socket"));
    let ask = |request| runtime.block_on(client.call(Meta::default(), request));
    let connect = |address: Ipv4Addr, port| match ask(NetRequest::Connect {
        address: address.into(),
        port,
        wait_ms: 3_000,
    }) {
        Ok(NetReply::Port { state, .. }) => state,
        other => panic!("{other:?}"),
    };
    assert_eq!(connect(SERVER, 7_777), PortState::Open);
    drop(listener);
    assert_eq!(connect(SERVER, 7_777), PortState::Refused);
    assert_eq!(connect(Ipv4Addr::new(192, 0, 2, 1), 80), PortState::Unreachable);
    let ping = |address: Ipv4Addr| ask(NetRequest::Ping { address: address.into(), count: 2, wait_ms: 500 });
    match ping(SERVER) {
        Ok(NetReply::Echoes(echoes)) => assert!(matches!(echoes[..], [Some(_), Some(_)]), "{echoes:?}"),
        other => panic!("{other:?}"),
    }
    let nobody = ping(Ipv4Addr::new(10, 99, 0, 77)).map(|reply| reply == NetReply::Echoes(vec![None, None]));
    assert!(
        nobody.as_ref().is_ok_and(|none| *none) || nobody.is_err_and(|e| e.code == ErrorCode::Unavailable)
    );
    let no_way = ping(Ipv4Addr::new(192, 0, 2, 1)).expect_err("there is no route");
    assert_eq!(no_way.code, ErrorCode::Unavailable, "{no_way}");
}

#[test]
fn the_way_to_a_machine_is_traced_through_a_router() {
    const FAR: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 9);
    let folder = tempfile::tempdir().expect("a folder");
    let (here, router, there) = (Namespace::new(), Namespace::new(), Namespace::new());
    router.plug("r0", SERVER, &here, "eth0");
    router.plug("r1", Ipv4Addr::new(10, 96, 0, 1), &there, "eth0");
    router.forward();
    there.add("eth0", FAR);
    there.carrier("eth0", true);
    there.gateway(Ipv4Addr::new(10, 96, 0, 1));
    let fixed =
        format!("[link.eth0]\nipv4 = \"static\"\naddresses = [\"10.99.0.15/24\"]\ngateway = \"{SERVER}\"\n");
    let daemon = Daemon::start(&here, folder.path(), &[&fixed]);
    daemon.says("10.99.0.15/24, static");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = Client::<Net>::at(folder.path().join("socket"));
    let trace = |address: Ipv4Addr, wait_ms| {
        let request = NetRequest::Trace { address: address.into(), hops: 8, wait_ms };
        match runtime.block_on(client.call(Meta::default(), request)) {
            Ok(NetReply::Path(path)) => {
                path.into_iter().map(|hop| hop.map(|hop| (hop.address, hop.said))).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    let (near, far) = (SERVER.into(), FAR.into());
    assert_eq!(trace(FAR, 3_000), [Some((near, HopSaid::Passed)), Some((far, HopSaid::Reached))]);
    assert_eq!(trace(SERVER, 3_000), [Some((near, HopSaid::Reached))]);
    // The router knows no way there.
    assert_eq!(trace(Ipv4Addr::new(10, 95, 0, 9), 3_000), [Some((near, HopSaid::Unreachable))]);
    // Nobody has that address.
    assert_eq!(trace(Ipv4Addr::new(10, 96, 0, 77), 200), [Some((near, HopSaid::Passed))]);
    let request = NetRequest::Trace { address: far, hops: 65, wait_ms: 1 };
    let error = runtime.block_on(client.call(Meta::default(), request)).expect_err("too far");
    assert_eq!(error.code, ErrorCode::Invalid);
}
