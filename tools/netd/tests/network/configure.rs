//! What tools set: on trial, kept, taken back; compared with what the kernel says.

use crate::daemon::Daemon;
use crate::namespace::Namespace;
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::net::{Net, NetReply, NetRequest};
use aios_abi::netconf::{Change, Hop, Link, Method, Peer, Prefix, Route, Setup, Trial, Vpn};
use aios_abi::{CallError, ErrorCode};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::net::Ipv4Addr;
use std::path::Path;

/// Two links that the daemon looks after.
const BASE: &str = "[link.eth0]\nipv4 = \"static\"\naddresses = [\"10.99.0.15/24\"]\ngateway = \"10.99.0.1\"\n\
                    [link.eth1]\nipv4 = \"none\"\n";

/// The daemon's client.
struct Asker(tokio::runtime::Runtime, Client<Net>);

impl Asker {
    fn new(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self(runtime, Client::at(folder.join("socket")))
    }

    fn ask(&self, request: NetRequest) -> Result<NetReply, CallError> {
        self.0.block_on(self.1.call(Meta::default(), request))
    }

    fn attempt(&self, change: &Change) -> Result<Trial, CallError> {
        match self.ask(NetRequest::Try { change: change.clone(), seconds: 10 })? {
            NetReply::Trial(Some(trial)) => Ok(trial),
            other => panic!("{other:?}"),
        }
    }

    fn confirm(&self) {
        assert!(matches!(self.ask(NetRequest::Confirm), Ok(NetReply::TrialOver(_))));
    }

    fn setup(&self) -> Setup {
        match self.ask(NetRequest::Setup) {
            Ok(NetReply::Setup(setup)) => *setup,
            other => panic!("{other:?}"),
        }
    }

    /// The change that makes this of a link.
    fn link(&self, name: &str, after: Option<Link>) -> Change {
        Change::Link { name: name.into(), before: self.setup().settings.link.get(name).cloned(), after }
    }
}

struct Place {
    folder: tempfile::TempDir,
    here: Namespace,
    _there: Namespace,
}

impl Place {
    fn new() -> Self {
        let (here, there) = (Namespace::new(), Namespace::new());
        there.plug("far0", Ipv4Addr::new(10, 99, 0, 1), &here, "eth0");
        there.plug("far1", Ipv4Addr::new(10, 98, 0, 1), &here, "eth1");
        Self { folder: tempfile::tempdir().expect("a folder"), here, _there: there }
    }

    fn daemon(&self) -> Daemon {
        let daemon = Daemon::start(&self.here, self.folder.path(), &[BASE]);
        daemon.says("10.99.0.15/24, static");
        daemon
    }
}

fn fixed(address: &str, gateway: Option<[u8; 4]>, mtu: Option<u32>) -> Link {
    Link {
        method: Method::Static,
        addresses: vec![address.parse().expect("a prefix")],
        gateway: gateway.map(Ipv4Addr::from),
        mtu,
        ..Link::default()
    }
}

fn route(to: &str, ways: &[(&[u8; 4], u16)]) -> Route {
    let hop =
        |(via, weight): &(&[u8; 4], u16)| Hop { via: Some((**via).into()), interface: None, weight: *weight };
    Route { to: to.parse().expect("a network"), metric: 50, hops: ways.iter().map(hop).collect() }
}

#[test]
fn what_nobody_confirms_is_taken_back_and_what_was_confirmed_is_kept() {
    let place = Place::new();
    let daemon = place.daemon();
    let asker = Asker::new(place.folder.path());
    let before = place.here.state();
    assert!(before.iter().any(|line| line == "eth0 10.99.0.15/24"), "{before:?}");

    let change = asker.link("eth0", Some(fixed("10.97.0.2/24", Some([10, 97, 0, 1]), Some(1_400))));
    let trial = asker.attempt(&change).expect("is tried");
    assert_eq!(
        (trial.seconds_left, trial.what.as_str()),
        (10, "eth0 with 10.97.0.2/24, gateway 10.97.0.1, MTU 1400")
    );
    let tried = place.here.state();
    assert!(
        tried.contains(&"eth0 10.97.0.2/24".into()) && tried.contains(&"eth0 mtu 1400".into()),
        "{tried:?}"
    );
    assert!(tried.iter().any(|line| line.contains("via 10.97.0.1 on eth0")), "{tried:?}");
    let second = asker.attempt(&asker.link("eth1", Some(Link::default()))).expect_err("one at a time");
    assert_eq!(second.code, ErrorCode::Conflict, "{second}");
    daemon.says("nobody confirmed it in time, taken back: eth0 with 10.97.0.2/24");
    // The line comes before the change.
    assert_eq!(asker.setup().trial, None);
    assert_eq!(place.here.state(), before);

    let trial = asker.attempt(&change).expect("is tried again");
    assert_eq!(asker.ask(NetRequest::Trial), Ok(NetReply::Trial(Some(trial))));
    asker.confirm();
    assert_eq!(asker.ask(NetRequest::Confirm).expect_err("confirmed").code, ErrorCode::NotFound);
    drop(daemon);
    let _daemon = Daemon::start(&place.here, place.folder.path(), &[BASE]);
    assert_eq!(place.here.state(), tried);
    assert_eq!(asker.setup().links.len(), 2);
    asker.attempt(&change.reversed()).expect("is tried");
    assert_eq!(place.here.state(), before);
}

#[test]
fn a_daemon_that_dies_or_is_stopped_in_the_middle_of_a_trial_takes_it_back() {
    let place = Place::new();
    let mut daemon = place.daemon();
    let asker = Asker::new(place.folder.path());
    let before = place.here.state();
    let link = asker.link("eth0", Some(fixed("10.97.0.2/24", None, Some(1_300))));
    let way = Change::Route { before: None, after: Some(route("198.51.100.0/24", &[(&[10, 99, 0, 7], 1)])) };
    for change in [link, way] {
        asker.attempt(&change).expect("is tried");
        assert_ne!(place.here.state(), before);
        drop(daemon);
        daemon = place.daemon();
        assert_eq!(place.here.state(), before);
        assert_eq!(asker.setup().trial, None);
        asker.attempt(&change).expect("is tried again");
        daemon.stop();
        assert_eq!(place.here.state(), before);
        daemon = place.daemon();
    }
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_changed() {
    let place = Place::new();
    let _daemon = place.daemon();
    let asker = Asker::new(place.folder.path());
    let before = place.here.state();
    let add = |route| Change::Route { before: None, after: Some(route) };
    let stale = Change::Link { name: "eth0".into(), before: Some(Link::default()), after: None };
    for (change, code, words) in [
        (
            asker.link("eth0", Some(fixed("10.97.0.2/24", Some([10, 96, 0, 1]), None))),
            ErrorCode::Invalid,
            "10.96.0.1",
        ),
        (asker.link("eth0", None), ErrorCode::Invalid, "nothing would be different"),
        (stale, ErrorCode::Conflict, "somebody else"),
        (add(route("10.1.0.0/16", &[(&[10, 5, 0, 1], 1)])), ErrorCode::Failed, "10.1.0.0/16"),
        (add(route("10.1.2.3/16", &[(&[10, 99, 0, 1], 1)])), ErrorCode::Invalid, "ends in zeros"),
    ] {
        let error = asker.attempt(&change).expect_err("must be refused");
        assert!(error.code == code && error.message.contains(words), "{change:?}: {error}");
        assert_eq!((place.here.state(), asker.setup().trial), (before.clone(), None));
    }
}

/// One of the changes that a sequence is made of.
fn step() -> impl Strategy<Value = (u8, u8, u8)> {
    (0..5_u8, 0..6_u8, 0..4_u8)
}

fn change(asker: &Asker, (what, one, two): (u8, u8, u8)) -> Change {
    let settings = asker.setup().settings;
    if what == 4 {
        // A kernel without WireGuard refuses it, and nothing must be left of it then.
        let name = format!("wg{one}");
        let peer = Peer {
            public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".into(),
            endpoint: None,
            allowed: vec![Prefix { address: [10, 100 + one, 0, 0].into(), length: 16 }],
            keepalive: None,
            preshared: None,
        };
        let after = (two > 0).then(|| Vpn {
            addresses: vec![Prefix { address: [10, 200, one, two].into(), length: 24 }],
            peers: if two == 1 { vec![] } else { vec![peer] },
            ..Vpn::default()
        });
        return Change::Vpn { before: settings.vpn.get(&name).cloned(), name, after };
    }
    if what < 2 {
        let (name, net) = if one % 2 == 0 { ("eth0", 99) } else { ("eth1", 98) };
        let after = match two {
            0 => None,
            1 => Some(Link { method: Method::None, ..Link::default() }),
            _ => {
                let mtu = (two == 3).then_some(1_400 + u32::from(one));
                Some(fixed(&format!("10.{net}.0.2{one}/24"), (one < 4).then_some([10, net, 0, 1]), mtu))
            }
        };
        return asker.link(name, after);
    }
    let to = Prefix { address: [10, one, 0, 0].into(), length: 16 };
    let before = settings.route.iter().find(|route| route.to == to).cloned();
    let (near, far) = (&[10, 99, 0, 7], &[10, 98, 0, 7]);
    let after = match two {
        0 => None,
        1 => Some(route(&to.to_string(), &[(near, 1)])),
        2 => Some(route(&to.to_string(), &[(far, 1)])),
        _ => Some(route(&to.to_string(), &[(near, 3), (far, 1)])),
    };
    Change::Route { before, after }
}

#[test]
fn changes_that_are_taken_back_in_turn_leave_the_kernel_as_it_was() {
    let place = Place::new();
    let _daemon = place.daemon();
    let asker = Asker::new(place.folder.path());
    let made = std::cell::Cell::new(0);
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&prop::collection::vec(step(), 1..12), |steps| {
        let mut done = Vec::new();
        for step in steps {
            let (before, change) = (place.here.state(), change(&asker, step));
            match asker.attempt(&change) {
                Ok(_) => {
                    asker.confirm();
                    done.push((before, change));
                }
                // No way leads to that router now.
                Err(error) => {
                    prop_assert!(change.is_nothing() || error.code == ErrorCode::Failed, "{}", error);
                    prop_assert_eq!(place.here.state(), before);
                }
            }
        }
        made.set(made.get() + done.len());
        for (before, change) in done.into_iter().rev() {
            asker.attempt(&change.reversed()).map_err(|e| TestCaseError::fail(e.to_string()))?;
            asker.confirm();
            prop_assert_eq!(place.here.state(), before);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(made.get() > 30, "only {} changes were made", made.get());
}
