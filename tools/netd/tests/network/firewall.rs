//! The firewall in the real kernel: what passes, what is counted, what comes back, and what nft(8) says of it.

use crate::daemon::Daemon;
use crate::namespace::Namespace;
use crate::server::SERVER;
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::firewall::{
    Action, Ban, FirewallChange, FirewallNow, FirewallRequest, Ports, Prefix, Rule, Transport,
};
use aios_abi::net::{Net, NetReply, NetRequest};
use aios_abi::{CallError, ErrorCode};
use proptest::prelude::*;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The address that the daemon gives to its end of the cable.
const HERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 15);
const FIXED: &str = "[link.eth0]\nipv4 = \"static\"\naddresses = [\"10.99.0.15/24\"]\n";
/// What does not pass is sent again and again; that nothing came of it for so long is enough.
const SILENCE: Duration = Duration::from_millis(300);
/// What passes does so at once, unless the machine is busy or the cable was just put in.
const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon's firewall, as toold asks it.
struct Firewall {
    runtime: tokio::runtime::Runtime,
    client: Client<Net>,
}

impl Firewall {
    fn of(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, client: Client::at(folder.join("socket")) }
    }

    fn ask(&self, request: FirewallRequest) -> Result<NetReply, CallError> {
        self.runtime.block_on(self.client.call(Meta::default(), NetRequest::Firewall(request)))
    }

    fn now(&self) -> FirewallNow {
        match self.ask(FirewallRequest::List) {
            Ok(NetReply::Firewall(now)) => *now,
            other => panic!("{other:?}"),
        }
    }

    fn change(&self, change: &FirewallChange) -> Result<(), CallError> {
        self.ask(FirewallRequest::Change(change.clone())).map(|reply| assert_eq!(reply, NetReply::Done))
    }

    fn add(&self, rule: Rule) -> FirewallChange {
        let change = FirewallChange::Rule { id: self.now().next_id, before: None, after: Some(rule) };
        self.change(&change).unwrap_or_else(|e| panic!("{e}"));
        change
    }

    fn packets(&self, id: u32) -> u64 {
        let now = self.now();
        let rule = now.rules.iter().find(|rule| rule.id == id).expect("the rule is there");
        rule.count.packets
    }
}

fn rule(action: Action, from: Option<&str>, port: Option<u16>) -> Rule {
    let ports = port.map(|port| Ports { transport: Transport::Tcp, first: port, last: port });
    Rule { action, from: from.map(|from| from.parse().expect("a prefix")), ports, interface: None }
}

fn ban(of: &str, seconds: u32) -> FirewallChange {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let after = Ban { until_ms: now + u64::from(seconds) * 1_000, seconds, reason: "a test".into() };
    FirewallChange::Ban { of: of.parse().expect("a prefix"), before: None, after: Some(after) }
}

/// What the real program says of the kernel's rules, without what differs from one look to the next.
fn nft(network: &Namespace) -> Value {
    fn plain(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("handle");
                map.remove("expires");
                map.values_mut().for_each(plain);
            }
            Value::Array(list) => list.iter_mut().for_each(plain),
            _ => {}
        }
    }
    let mut command = Command::new("nft");
    command.args(["-j", "list", "ruleset"]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = network.run(|| command.output()).expect("scripts/deps.sh test installs nftables");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut told = serde_json::from_slice(&output.stdout).expect("JSON");
    plain(&mut told);
    // What has a name stands in the order in which it was made; that of the rules is the one that counts.
    let all = told["nftables"].as_array_mut().expect("a list");
    let (rules, mut named): (Vec<_>, Vec<_>) = all.drain(..).partition(|one| one.get("rule").is_some());
    named.sort_by_key(Value::to_string);
    all.extend(named.into_iter().chain(rules));
    told
}

fn connect(from: &Namespace, port: u16, wait: Duration) -> Result<TcpStream, ErrorKind> {
    from.run(|| TcpStream::connect_timeout(&SocketAddr::from((HERE, port)), wait)).map_err(|e| e.kind())
}

#[test]
fn packets_are_dropped_allowed_and_counted_as_the_rules_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (Namespace::new(), Namespace::new());
    there.plug("far0", SERVER, &here, "eth0");
    let daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    daemon.says("10.99.0.15/24, static");
    let firewall = Firewall::of(folder.path());
    let listen = |port| here.run(|| TcpListener::bind((HERE, port))).expect("listens");
    let (service, _console) = (listen(7_000), listen(443));

    // On a fresh machine everything passes, and a rule holds for a connection that stands already.
    let mut standing = connect(&there, 7_000, PATIENCE).expect("passes");
    let (mut accepted, _) = service.accept().expect("a connection");
    let deny = firewall.add(rule(Action::Deny, Some("10.99.0.0/24"), Some(7_000)));
    assert_eq!(connect(&there, 7_000, SILENCE).expect_err("is dropped"), ErrorKind::TimedOut);
    assert!(firewall.packets(1) >= 1);
    connect(&there, 443, PATIENCE).expect("other ports pass");
    standing.write_all(b"late").expect("the kernel takes it");
    accepted.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let mut word = [0; 4];
    assert_eq!(accepted.read_exact(&mut word).expect_err("is dropped").kind(), ErrorKind::WouldBlock);
    // A rule about fewer senders goes before; taken back, the older one counts again.
    let allow = firewall.add(rule(Action::Allow, Some("10.99.0.1"), Some(7_000)));
    assert_eq!(firewall.now().rules.iter().map(|rule| rule.id).collect::<Vec<_>>(), [2, 1]);
    accepted.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    accepted.read_exact(&mut word).expect("what was sent is sent again");
    assert_eq!(&word, b"late");
    connect(&there, 7_000, PATIENCE).expect("passes");
    assert!(firewall.packets(2) >= 3);
    firewall.change(&allow.reversed()).expect("is taken back");
    assert_eq!(connect(&there, 7_000, SILENCE).expect_err("is dropped"), ErrorKind::TimedOut);
    firewall.change(&deny.clone().reversed()).expect("is taken back");
    connect(&there, 7_000, PATIENCE).expect("passes");
    firewall.change(&deny).expect("comes back");

    // Everything is closed, but for the console and for answers to what this machine asks.
    let refused = FirewallChange::Rule { id: 3, before: None, after: Some(rule(Action::Deny, None, None)) };
    assert_eq!(firewall.change(&refused).expect_err("locks out").code, ErrorCode::Denied);
    firewall.add(rule(Action::Allow, None, Some(443)));
    firewall.add(rule(Action::Deny, None, None));
    let other = listen(7_001);
    assert_eq!(connect(&there, 7_001, SILENCE).expect_err("is dropped"), ErrorKind::TimedOut);
    connect(&there, 443, PATIENCE).expect("passes");
    let far = there.run(|| TcpListener::bind((SERVER, 8_000))).expect("listens");
    let out = here.run(|| TcpStream::connect_timeout(&SocketAddr::from((SERVER, 8_000)), PATIENCE));
    out.expect("this machine reaches others");
    drop((other, far));
    let rest = firewall.now().rest;
    let answers = rest.iter().find(|(name, _)| name == "answers").expect("is counted");
    assert!(answers.1.packets >= 1 && answers.1.bytes >= 40, "{rest:?}");
}

#[test]
fn a_ban_holds_until_its_time_is_over_and_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (Namespace::new(), Namespace::new());
    there.plug("far0", SERVER, &here, "eth0");
    let daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    daemon.says("10.99.0.15/24, static");
    let firewall = Firewall::of(folder.path());
    let _service = here.run(|| TcpListener::bind((HERE, 7_000))).expect("listens");
    connect(&there, 7_000, PATIENCE).expect("passes");
    firewall.change(&ban("10.99.0.1", 4)).expect("bans");
    assert_eq!(connect(&there, 7_000, SILENCE).expect_err("is dropped"), ErrorKind::TimedOut);
    let now = firewall.now();
    assert!(now.bans[0].count.packets >= 1 && (1..=4_000).contains(&now.bans[0].left_ms), "{now:?}");
    // It sends again until it is heard: when the kernel has ended the ban.
    connect(&there, 7_000, PATIENCE).expect("passes again");
    assert!(firewall.now().bans.is_empty());

    firewall.change(&ban("10.99.0.0/24", 600)).expect("bans");
    firewall.change(&ban("2001:db8:7::/48", 3_000)).expect("bans");
    firewall.add(rule(Action::Deny, None, Some(22)));
    assert_eq!(connect(&there, 7_000, SILENCE).expect_err("is dropped"), ErrorKind::TimedOut);
    let (before, told) = (firewall.now(), nft(&here));
    drop(daemon);
    assert_eq!(nft(&here), told, "the kernel keeps it");
    let daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    let firewall = Firewall::of(folder.path());
    let same = |one: &FirewallNow, other: &FirewallNow| {
        let bans = one.bans.iter().zip(&other.bans);
        let close = bans.clone().all(|(a, b)| a.left_ms.abs_diff(b.left_ms) < 5_000);
        let bans = bans.map(|(a, b)| (a.of, &a.ban) == (b.of, &b.ban));
        close && bans.into_iter().all(|same| same) && one.bans.len() == other.bans.len()
    };
    let after = firewall.now();
    assert!(same(&before, &after) && before.rules == after.rules, "{before:?} {after:?}");
    assert!(after.bans[0].count.packets >= before.bans[0].count.packets, "counts go on");
    drop(daemon);

    // As after a boot: another kernel, and what is on disk.
    let booted = Namespace::new();
    let _daemon = Daemon::start(&booted, folder.path(), &[FIXED]);
    let firewall = Firewall::of(folder.path());
    let after = firewall.now();
    assert!(same(&before, &after) && after.rules[0].id == 1 && after.next_id == 2, "{after:?}");
}

#[test]
fn a_file_that_was_damaged_leaves_the_console_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = Namespace::new();
    let file = folder.path().join("firewall.toml");
    std::fs::write(&file, "# BLAKE3 0\nnext = 1\n").expect("writes");
    let daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    daemon.says("nothing but the console can be reached");
    let firewall = Firewall::of(folder.path());
    let said = |firewall: &Firewall| -> Vec<_> {
        firewall.now().rules.iter().map(|rule| rule.rule.to_string()).collect()
    };
    let closed = ["allow TCP port 443 from everybody", "deny everything from everybody"];
    assert_eq!(said(&firewall), closed);
    assert!(folder.path().join("firewall.toml.broken").exists());
    drop(daemon);
    let _daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    assert_eq!(said(&firewall), closed);
}

#[test]
fn other_tables_are_left_alone_and_whoever_guesses_passwords_is_banned() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = Namespace::new();
    let mut other = Command::new("nft");
    other.args(["add", "table", "inet", "other"]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    assert!(here.run(|| other.status()).expect("scripts/deps.sh test installs nftables").success());
    let _daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    let firewall = Firewall::of(folder.path());
    let guess = || firewall.ask(FirewallRequest::Login { address: [192, 0, 2, 7].into(), good: false });
    (0..9).for_each(|_| assert_eq!(guess(), Ok(NetReply::Done)));
    assert!(firewall.now().bans.is_empty());
    assert_eq!(guess(), Ok(NetReply::Done));
    let now = firewall.now();
    assert_eq!((now.bans[0].of.to_string().as_str(), now.bans[0].ban.seconds), ("192.0.2.7", 3_600));
    assert!(now.bans[0].ban.reason.starts_with("brute force: 10 failed logins"), "{now:?}");
    let told = nft(&here).to_string();
    assert!(told.contains(r#""name":"other""#) && told.contains("192.0.2.7"), "{told}");
}

#[test]
fn a_rule_on_trial_lasts_only_if_it_is_confirmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = Namespace::new();
    let daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    let firewall = Firewall::of(folder.path());
    let fresh = nft(&here);
    let change = |id, port| {
        let after = Some(rule(Action::Deny, Some("192.0.2.0/24"), port));
        FirewallChange::Rule { id, before: None, after }
    };
    assert!(change(1, Some(443)).may_cut_off() && change(1, None).may_cut_off());
    assert!(!change(1, Some(22)).may_cut_off() && !change(1, None).reversed().may_cut_off());
    let attempt = |change: &FirewallChange| match firewall
        .ask(FirewallRequest::Try { change: change.clone(), seconds: 600 })
    {
        Ok(NetReply::Trial(Some(trial))) => assert!(trial.what.contains("192.0.2.0/24"), "{trial:?}"),
        other => panic!("{other:?}"),
    };
    let end = |request| firewall.runtime.block_on(firewall.client.call(Meta::default(), request));
    let ids = |firewall: &Firewall| firewall.now().rules.iter().map(|rule| rule.id).collect::<Vec<_>>();

    attempt(&change(1, Some(443)));
    assert_eq!(ids(&firewall), [1]);
    end(NetRequest::TakeBack).expect("is taken back");
    assert_eq!(nft(&here), fresh);
    // Others change something meanwhile, and the daemon dies: what was not confirmed is gone, the rest is not.
    attempt(&change(2, None));
    firewall.change(&change(3, Some(22))).expect("counts at once");
    drop(daemon);
    let daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    let firewall = Firewall::of(folder.path());
    assert_eq!((ids(&firewall), firewall.now().next_id), (vec![3], 4));
    let end = |request| firewall.runtime.block_on(firewall.client.call(Meta::default(), request));
    let four = FirewallRequest::Try { change: change(4, None), seconds: 600 };
    firewall.ask(four).expect("is tried");
    end(NetRequest::Confirm).expect("lasts");
    drop(daemon);
    let _daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    assert_eq!(ids(&Firewall::of(folder.path())), [3, 4]);
}

/// A change of the small world of the property below.
#[derive(Debug, Clone)]
enum Step {
    Add(Rule),
    Remove(usize),
    Ban(Prefix, u32),
    Unban(usize),
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (any::<[u8; 4]>(), 8..=32_u8).prop_map(|(address, length)| (address.into(), length));
    let v6 = (any::<[u8; 16]>(), 16..=128_u8).prop_map(|(address, length)| (address.into(), length));
    prop_oneof![v4, v6].prop_map(|(address, length)| Prefix::around(address, length))
}

fn step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)];
    let edge = prop_oneof![
        Just((0, u16::MAX)),
        (0..1_024_u16, 0..1_024_u16).prop_map(|(a, b)| (a.min(b), a.max(b)))
    ];
    let ports = (transport, edge).prop_map(|(transport, (first, last))| Ports { transport, first, last });
    let interface = prop_oneof![Just(None), "[a-z0-9]{1,15}".prop_map(Some)];
    let rule = (action, proptest::option::of(prefix()), proptest::option::of(ports), interface);
    let rule = rule.prop_map(|(action, from, ports, interface)| Rule { action, from, ports, interface });
    prop_oneof![
        3 => rule.prop_map(Step::Add),
        1 => any::<usize>().prop_map(Step::Remove),
        2 => (prefix(), 100..1_000_000_u32).prop_map(|(of, seconds)| Step::Ban(of, seconds)),
        1 => any::<usize>().prop_map(Step::Unban),
    ]
}

/// What the tools would ask for; none where there is nothing to remove.
fn ask(step: &Step, now: &FirewallNow) -> Option<FirewallChange> {
    let one = |count: usize, number: usize| (count > 0).then(|| number % count.max(1));
    Some(match step {
        Step::Add(rule) => FirewallChange::Rule { id: now.next_id, before: None, after: Some(rule.clone()) },
        Step::Remove(number) => {
            let rule = &now.rules[one(now.rules.len(), *number)?];
            FirewallChange::Rule { id: rule.id, before: Some(rule.rule.clone()), after: None }
        }
        Step::Ban(of, seconds) => match ban(&of.to_string(), *seconds) {
            FirewallChange::Ban { of, after, .. } => {
                let before = now.bans.iter().find(|ban| ban.of == of).map(|ban| ban.ban.clone());
                FirewallChange::Ban { of, before, after }
            }
            other => other,
        },
        Step::Unban(number) => {
            let ban = &now.bans[one(now.bans.len(), *number)?];
            FirewallChange::Ban { of: ban.of, before: Some(ban.ban.clone()), after: None }
        }
    })
}

/// As the daemon and as nft tell it.
type Told = (Vec<(u32, Rule)>, Vec<(Prefix, Ban)>, Value);

/// What is to be the same after a change was taken back.
fn told(firewall: &Firewall, network: &Namespace) -> Told {
    let FirewallNow { rules, bans, .. } = firewall.now();
    let rules = rules.into_iter().map(|rule| (rule.id, rule.rule)).collect();
    (rules, bans.into_iter().map(|ban| (ban.of, ban.ban)).collect(), nft(network))
}

#[test]
fn what_was_changed_and_taken_back_leaves_no_trace_in_the_kernel() {
    let config = ProptestConfig {
        cases: 12,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..14))| {
    let folder = tempfile::tempdir().expect("a folder");
    let here = Namespace::new();
    let _daemon = Daemon::start(&here, folder.path(), &[FIXED]);
    let firewall = Firewall::of(folder.path());
    let fresh = told(&firewall, &here);
        let mut made = Vec::new();
        for step in &steps {
            let Some(change) = ask(step, &firewall.now()) else { continue };
            let before = told(&firewall, &here);
            match firewall.change(&change) {
                Ok(()) => {
                    prop_assert_ne!(&told(&firewall, &here), &before);
                    made.push((change, before));
                }
                // It would overlap, or say the opposite; then nothing may have happened.
                Err(error) => {
                    prop_assert!(matches!(error.code, ErrorCode::Conflict | ErrorCode::Denied | ErrorCode::Invalid), "{error}");
                    prop_assert_eq!(&told(&firewall, &here), &before);
                }
            }
        }
        for (change, before) in made.into_iter().rev() {
            firewall.change(&change.clone().reversed()).unwrap_or_else(|e| panic!("{change}: {e}"));
            prop_assert_eq!(&told(&firewall, &here), &before);
        }
        prop_assert_eq!(&told(&firewall, &here), &fresh);
    });
}
