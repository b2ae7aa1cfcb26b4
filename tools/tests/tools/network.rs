//! Tools that ask netd, which is played here: the true one is tested with the kernel's network.

use super::{look, result};
use crate::house::House;
use aios_abi::firewall::{
    Ban, BanNow, Count, FirewallChange, FirewallNow, FirewallRequest, Prefix, Rule, RuleNow,
};
use aios_abi::net::{MAX_PINGS, Net, NetReply, NetRequest, PortState};
use aios_abi::netconf::{Change, Settings, Setup, Trial};
use aios_abi::server::{Context, Handler};
use aios_abi::tool::{ToolReply, ToolRequest};
use aios_abi::who::Role;
use aios_abi::{CallError, ErrorCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// One host that answers the first of two pings, and has one port open.
#[derive(Default)]
struct PlayedNet {
    firewall: Mutex<PlayedFirewall>,
}

impl Handler<Net> for PlayedNet {
    async fn handle(self: Arc<Self>, _: Context<Net>, request: NetRequest) -> Result<NetReply, CallError> {
        match request {
            NetRequest::Resolve { name, .. } if name == "box.lan" => {
                Ok(NetReply::Addresses(vec!["192.0.2.7".parse().expect("an address")]))
            }
            NetRequest::Resolve { name, .. } => {
                Err(CallError::not_found(format!("the name {name} does not exist")))
            }
            NetRequest::Connect { port, .. } => {
                let state = if port == 443 { PortState::Open } else { PortState::Refused };
                Ok(NetReply::Port { state, micros: 1_234 })
            }
            NetRequest::Ping { count, .. } => {
                Ok(NetReply::Echoes((0..count).map(|n| (n == 0).then_some(2_500)).collect()))
            }
            NetRequest::Trial => Ok(NetReply::Trial(None)),
            NetRequest::Firewall(request) => self.firewall.lock().expect("whole").answer(request),
            other => panic!("{other:?} is asked of the true netd"),
        }
    }
}

/// A firewall that keeps what it is told; that of the true netd is tested with the kernel's.
#[derive(Default)]
struct PlayedFirewall {
    rules: BTreeMap<u32, Rule>,
    bans: BTreeMap<Prefix, Ban>,
    next: u32,
    /// What was to be tried, and for how long.
    tried: Vec<u16>,
}

impl PlayedFirewall {
    fn answer(&mut self, request: FirewallRequest) -> Result<NetReply, CallError> {
        match request {
            FirewallRequest::List => {
                let count = Count { packets: 3, bytes: 180 };
                let rules =
                    self.rules.iter().map(|(id, rule)| RuleNow { id: *id, rule: rule.clone(), count });
                let bans = self.bans.iter().map(|(of, ban)| BanNow {
                    of: *of,
                    ban: ban.clone(),
                    left_ms: 1_500,
                    count,
                });
                let rest = vec![("answers".into(), count)];
                let now = FirewallNow {
                    rules: rules.collect(),
                    bans: bans.collect(),
                    rest,
                    next_id: self.next + 1,
                };
                Ok(NetReply::Firewall(Box::new(now)))
            }
            FirewallRequest::Change(change) => self.change(change).map(|()| NetReply::Done),
            FirewallRequest::Try { change, seconds } => {
                let what = change.to_string();
                self.change(change)?;
                self.tried.push(seconds);
                Ok(NetReply::Trial(Some(Trial { what, seconds_left: seconds })))
            }
            FirewallRequest::Login { .. } => panic!("a tool told who logged in"),
        }
    }

    fn change(&mut self, change: FirewallChange) -> Result<(), CallError> {
        fn put<K: Ord, V: PartialEq>(
            all: &mut BTreeMap<K, V>,
            key: K,
            before: Option<V>,
            after: Option<V>,
        ) -> bool {
            let same = all.get(&key) == before.as_ref();
            match after {
                Some(after) => drop(all.insert(key, after)),
                None => drop(all.remove(&key)),
            }
            same
        }
        let as_said = match change {
            FirewallChange::Rule { id, before, after } => {
                self.next = self.next.max(id);
                put(&mut self.rules, id, before, after)
            }
            FirewallChange::Ban { of, before, after } => put(&mut self.bans, of, before, after),
        };
        if as_said { Ok(()) } else { Err(CallError::failed("it was not as it was said to be before")) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_the_firewall_is_taken_back_as_it_was_made() {
    let house = House::new();
    let socket =
        tokio_seqpacket::UnixSeqpacketListener::bind(house.state().join("../netd.sock")).expect("binds");
    let net = Arc::new(PlayedNet::default());
    tokio::spawn(aios_abi::server::serve::<Net, _>(socket, net.clone()));
    let kept = || {
        let firewall = net.firewall.lock().expect("whole");
        (firewall.rules.clone(), firewall.bans.clone())
    };
    let change = async |tool: &str, args: Value| {
        let role = aios_toold::tool::by_name(tool).expect("a tool").role;
        house.call(role, "a test", tool, args.clone()).await.unwrap_or_else(|e| panic!("{tool} {args}: {e}"))
    };
    change("firewall.allow", json!({ "from": "192.0.2.0/24", "port": 443 })).await;
    change("firewall.ban", json!({ "address": "203.0.113.9", "reason": "scans ports" })).await;
    let mut states = vec![kept()];
    let mut made = Vec::new();
    for (tool, args) in [
        ("firewall.allow", json!({ "port": 5000, "last_port": 5010, "interface": "eth1" })),
        ("firewall.deny", json!({ "from": "2001:db8:66::/48", "protocol": "udp" })),
        ("firewall.deny", json!({ "seconds": 120 })),
        ("firewall.remove", json!({ "id": 1, "seconds": 30 })),
        ("firewall.ban", json!({ "address": "198.51.100.0/24", "seconds": 600 })),
        ("firewall.ban", json!({ "address": "203.0.113.9", "seconds": 60 })),
        ("firewall.unban", json!({ "address": "203.0.113.9" })),
    ] {
        made.push(change(tool, args.clone()).await);
        assert_ne!(states.last(), Some(&kept()), "{tool} {args}");
        states.push(kept());
    }
    // What is about the console is tried, and nothing else.
    assert_eq!(net.firewall.lock().expect("whole").tried, [120, 30]);
    assert_eq!(result(&made[2])["trial"]["seconds_left"], 120);
    let list = look(&house, "firewall.list", json!({})).await;
    assert_eq!(
        (list["rules"][0]["says"].as_str(), list["bans"][0]["left_seconds"].as_u64()),
        (Some("allow TCP ports 5000 to 5010 from everybody on eth1"), Some(2),)
    );
    let about = look(&house, "firewall.list", json!({ "address": "203.0.113.0/24" })).await;
    assert_eq!(
        (about["rules"].as_array().map(Vec::len), about["bans"].as_array().map(Vec::len)),
        (Some(2), Some(0))
    );
    let counters = look(&house, "firewall.counters", json!({ "window_ms": 50 })).await;
    assert_eq!(
        (&counters["counters"][0]["packets"], &counters["counters"][0]["per_second"]),
        (&json!(3), &json!(0.0))
    );
    for (tool, args, code) in [
        ("firewall.allow", json!({ "last_port": 5 }), ErrorCode::Invalid),
        ("firewall.allow", json!({ "port": 9, "last_port": 5 }), ErrorCode::Invalid),
        ("firewall.allow", json!({ "from": "10.0.0.5/8" }), ErrorCode::Invalid),
        ("firewall.allow", json!({ "interface": "a b" }), ErrorCode::Invalid),
        ("firewall.allow", json!({ "from": "2001:db8:66::/48", "protocol": "udp" }), ErrorCode::Conflict),
        ("firewall.deny", json!({ "port": 1, "seconds": 5 }), ErrorCode::Invalid),
        ("firewall.remove", json!({ "id": 99 }), ErrorCode::NotFound),
        ("firewall.ban", json!({ "address": "127.0.0.1" }), ErrorCode::Invalid),
        ("firewall.ban", json!({ "address": "0.0.0.0/0" }), ErrorCode::Invalid),
        ("firewall.ban", json!({ "address": "192.0.2.1", "seconds": 0 }), ErrorCode::Invalid),
        ("firewall.unban", json!({ "address": "192.0.2.1" }), ErrorCode::NotFound),
        ("firewall.list", json!({ "address": "gateway.lan" }), ErrorCode::Invalid),
    ] {
        let error = house.call(Role::Admin, "a test", tool, args.clone()).await.expect_err("must be refused");
        assert_eq!(error.code, code, "{tool} {args}: {error}");
    }
    for (done, before) in made.iter().zip(&states).rev() {
        let undo = ToolRequest::Undo { audit: done.audit };
        house.ask(Role::Admin, "a test", undo).await.unwrap_or_else(|e| panic!("{}: {e}", done.summary));
        assert_eq!(&kept(), before, "{}", done.summary);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_are_asked_through_netd() {
    let house = House::new();
    let socket =
        tokio_seqpacket::UnixSeqpacketListener::bind(house.state().join("../netd.sock")).expect("binds");
    tokio::spawn(aios_abi::server::serve::<Net, _>(socket, Arc::new(PlayedNet::default())));
    let open = look(&house, "net.check_port", json!({ "host": "box.lan", "port": 443 })).await;
    assert_eq!(
        (&open["open"], &open["address"], &open["milliseconds"]),
        (&json!(true), &json!("192.0.2.7"), &json!(1.23))
    );
    let closed = look(&house, "net.check_port", json!({ "host": "192.0.2.9", "port": 22 })).await;
    assert_eq!((&closed["open"], &closed["state"]), (&json!(false), &json!("refused")));
    let ping = look(&house, "net.ping", json!({ "host": "box.lan", "count": 2 })).await;
    assert_eq!((&ping["sent"], &ping["received"], &ping["average"]), (&json!(2), &json!(1), &json!(2.5)));
    for (tool, args, code) in [
        ("net.ping", json!({ "host": "nobody.lan" }), ErrorCode::NotFound),
        ("net.ping", json!({ "host": "box.lan", "count": MAX_PINGS + 1 }), ErrorCode::Invalid),
        ("net.check_port", json!({ "host": "box.lan", "port": 0 }), ErrorCode::Invalid),
        ("net.check_port", json!({ "host": "", "port": 1 }), ErrorCode::Invalid),
    ] {
        let error = house.call(Role::Operator, "", tool, args.clone()).await.expect_err("must be refused");
        assert_eq!(error.code, code, "{tool} {args}: {error}");
    }
    let counters = look(&house, "net.counters", json!({ "name": "lo", "window_ms": 100 })).await;
    assert!(counters["interfaces"][0]["now"]["received_bytes"].is_number(), "{counters}");
    assert!(look(&house, "net.neighbours", json!({})).await["neighbours"].is_array());
}

/// The books of netd without a network: what is set, and what is on trial.
#[derive(Default)]
struct PlayedSetup(Mutex<Books>);

/// What is set, what is on trial, and secrets.
type Books = (Settings, Option<(Change, Trial)>, Vec<String>);

impl Handler<Net> for PlayedSetup {
    async fn handle(self: Arc<Self>, _: Context<Net>, request: NetRequest) -> Result<NetReply, CallError> {
        let mut state = self.0.lock().expect("whole");
        let (settings, trial, secrets) = &mut *state;
        let running = trial.as_ref().map(|(_, trial)| trial.clone());
        let over = |trial: Option<(Change, Trial)>| {
            trial.ok_or_else(|| CallError::not_found("nothing is on trial")).map(|(change, _)| change)
        };
        match request {
            NetRequest::Setup => {
                let links = vec![("eth0".to_owned(), settings.link.get("eth0").cloned().unwrap_or_default())];
                Ok(NetReply::Setup(Box::new(Setup { settings: settings.clone(), links, trial: running })))
            }
            NetRequest::Trial => Ok(NetReply::Trial(running)),
            NetRequest::Try { change, seconds } => {
                *settings = settings.after(&change)?;
                let told = Trial { what: change.to_string(), seconds_left: seconds };
                *trial = Some((change, told.clone()));
                Ok(NetReply::Trial(Some(told)))
            }
            NetRequest::Confirm => Ok(NetReply::TrialOver(over(trial.take())?.to_string())),
            NetRequest::TakeBack => {
                let change = over(trial.take())?;
                *settings = settings.after(&change.clone().reversed())?;
                Ok(NetReply::TrialOver(change.to_string()))
            }
            NetRequest::KeepSecret { name, secret } => {
                secrets.push(format!("{name} {secret}"));
                Ok(NetReply::Kept)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_changed_on_trial_confirmed_and_taken_back() {
    let house = House::new();
    let socket =
        tokio_seqpacket::UnixSeqpacketListener::bind(house.state().join("../netd.sock")).expect("binds");
    let netd = Arc::new(PlayedSetup::default());
    tokio::spawn(aios_abi::server::serve::<Net, _>(socket, netd.clone()));
    let settings = || netd.0.lock().expect("whole").0.clone();
    let call = async |tool, args| house.call(Role::Admin, "a test", tool, args).await;
    let undo = async |audit| match house.ask(Role::Admin, "a test", ToolRequest::Undo { audit }).await {
        Ok(ToolReply::Done(done)) => done.summary,
        other => panic!("{other:?}"),
    };
    let address = json!({ "interface": "eth0", "method": "static", "addresses": ["192.0.2.10/24"], "gateway": "192.0.2.1" });
    let number = aios_toold::tool::by_name("net.configure").expect("a tool").number;
    let dry = ToolRequest::Call { tool: number, args: address.to_string(), dry_run: true };
    let Ok(ToolReply::Done(dry)) = house.ask(Role::Admin, "a test", dry).await else { panic!("no dry run") };
    assert!(
        dry.result.contains("+address 192.0.2.10/24") && dry.result.contains("-eth0: IPv4 DHCP"),
        "{}",
        dry.result
    );
    assert_eq!(settings(), Settings::default());

    let done = call("net.configure", address.clone()).await.expect("is tried");
    assert!(
        done.summary.ends_with("confirm with `aiosctl net confirm --why …` within 60 s, or it is taken back"),
        "{}",
        done.summary
    );
    assert!(settings().link.contains_key("eth0") && done.undoable);
    let second =
        call("net.route_add", json!({ "to": "default", "through": [{ "gateway": "192.0.2.2" }] })).await;
    assert!(second.expect_err("one at a time").message.contains("aiosctl net confirm"));
    assert!(
        look(&house, "net.trial", json!({})).await["trial"]["what"]
            .as_str()
            .is_some_and(|what| what.contains("eth0"))
    );
    // While it is on trial an undo ends that.
    assert!(undo(done.audit).await.starts_with("taken back"));
    assert_eq!(settings(), Settings::default());

    let done = call("net.configure", address.clone()).await.expect("is tried");
    assert!(call("net.confirm", json!({})).await.expect("lasts").summary.contains("confirmed"));
    assert!(call("net.revert", json!({})).await.is_err());
    assert_eq!(
        call("net.configure", address).await.expect("is so").summary,
        "nothing was changed: it was so already"
    );
    let balanced = json!({ "to": "default", "through": [{ "gateway": "192.0.2.1", "weight": 2 }, { "gateway": "192.0.2.2" }] });
    let route = call("net.route_add", balanced).await.expect("is tried");
    assert!(route.summary.contains("(weight 2)"), "{}", route.summary);
    call("net.confirm", json!({})).await.expect("lasts");
    let before = settings();
    call("net.route_remove", json!({ "to": "default" })).await.expect("is tried");
    call("net.revert", json!({})).await.expect("is taken back");
    assert_eq!(settings(), before);
    // What was confirmed is taken back on trial.
    for audit in [route.audit, done.audit] {
        assert!(undo(audit).await.contains("aiosctl net confirm"));
        call("net.confirm", json!({})).await.expect("lasts");
    }
    assert_eq!(settings(), Settings::default());

    let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let secret = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
    let peer = json!({ "public_key": key, "allowed": ["10.8.0.0/24"], "endpoint": "192.0.2.1:51820", "preshared_key": secret });
    call("net.vpn_set", json!({ "addresses": ["10.8.0.2/24"], "peers": [peer] })).await.expect("is tried");
    call("net.confirm", json!({})).await.expect("lasts");
    assert!(netd.0.lock().expect("whole").2[0].ends_with(secret));
    let said = format!("{:?} {:?}", settings(), house.records().await);
    assert!(said.contains(key) && !said.contains(secret), "a secret is told: {said}");
    call("net.vpn_remove", json!({ "interface": "wg0" })).await.expect("is tried");
    assert!(settings().vpn.is_empty());
    for (tool, args, words) in [
        ("net.configure", json!({ "interface": "eth7", "method": "dhcp" }), "there are: eth0"),
        ("net.configure", json!({ "interface": "eth0", "method": "static" }), "needs `addresses`"),
        ("net.configure", json!({ "interface": "eth0", "method": "as_file", "mtu": 1400 }), "nothing else"),
        (
            "net.configure",
            json!({ "interface": "eth0", "method": "static", "addresses": ["192.0.2.10/24"], "gateway": "10.0.0.1" }),
            "does not lie in the network",
        ),
        ("net.route_remove", json!({ "to": "10.0.0.0/8" }), "there are: none"),
        (
            "net.vpn_set",
            json!({ "addresses": ["10.8.0.2/24"], "peers": [{ "public_key": "x", "allowed": [] }] }),
            "no WireGuard key",
        ),
        (
            "net.vpn_set",
            json!({ "interface": "a/b", "addresses": ["10.8.0.2/24"] }),
            "no name of a network interface",
        ),
    ] {
        let error = call(tool, args).await.expect_err("must be refused");
        assert!(error.message.contains(words), "{tool}: {error}");
    }
    assert!(house.change("net.revert", json!({})).await.is_err(), "an operator ends a trial");
}
