//! Tools in workers of their own, on things that are really there.

mod house;

use aios_abi::firewall::{
    Ban, BanNow, Count, FirewallChange, FirewallNow, FirewallRequest, Prefix, Rule, RuleNow,
};
use aios_abi::net::{Net, NetReply, NetRequest, PortState};
use aios_abi::netconf::{Change, Settings, Setup, Trial};
use aios_abi::server::{Context, Handler};
use aios_abi::tool::{CallDone, ToolReply, ToolRequest};
use aios_abi::who::Role;
use aios_abi::{CallError, ErrorCode};
use house::House;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn result(done: &CallDone) -> Value {
    serde_json::from_str(&done.result).expect("JSON")
}

async fn look(house: &House, tool: &str, args: Value) -> Value {
    let asks = aios_toold::tool::by_name(tool).expect("a tool").role;
    result(&house.call(asks, "", tool, args).await.unwrap_or_else(|e| panic!("{tool}: {e}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_found_by_name_size_age_and_kind_and_secrets_are_not() {
    let house = House::new();
    std::fs::create_dir_all(house.path("deep/deeper")).expect("made");
    std::fs::create_dir(house.path("secret")).expect("made");
    for (name, bytes) in [("a.log", 10), ("deep/B.LOG", 2_000), ("deep/deeper/c.txt", 5), ("secret/d.log", 1)]
    {
        std::fs::write(house.path(name), vec![b'x'; bytes]).expect("written");
    }
    let old = std::time::SystemTime::now() - Duration::from_secs(7_200);
    let file = std::fs::File::options().write(true).open(house.path("a.log")).expect("opens");
    file.set_modified(old).expect("set");
    let names = |found: &Value| -> Vec<String> {
        let root = house.path("").display().to_string();
        let entries = found["entries"].as_array().expect("a list");
        entries
            .iter()
            .map(|e| e["path"].as_str().expect("a path").trim_start_matches(&root).to_owned())
            .collect()
    };
    for (args, expected) in [
        (json!({ "name": "*.log", "sort": "size" }), vec!["deep/B.LOG", "a.log"]),
        (json!({ "kind": "directory" }), vec!["deep", "deep/deeper", "secret"]),
        (json!({ "kind": "file", "min_bytes": 10, "max_bytes": 10 }), vec!["a.log"]),
        (json!({ "kind": "file", "older_minutes": 60 }), vec!["a.log"]),
        (json!({ "kind": "file", "within_minutes": 60, "depth": 2 }), vec!["deep/B.LOG"]),
    ] {
        let mut args = args;
        args["path"] = json!(house.path(""));
        let found = look(&house, "fs.find", args.clone()).await;
        assert_eq!(names(&found), expected, "{args}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_shown_and_what_is_the_same_is_said() {
    let house = House::new();
    std::fs::write(house.path("old"), "one\ntwo\nthree\n").expect("written");
    std::fs::write(house.path("new"), "one\n2\nthree\n").expect("written");
    std::fs::write(house.path("bytes"), [0xff, 0]).expect("written");
    let diff = |with: &str| json!({ "path": house.path("old"), "with": house.path(with) });
    let found = look(&house, "fs.diff", diff("new")).await;
    assert_eq!((&found["same"], &found["removed"], &found["added"]), (&json!(false), &json!(1), &json!(1)));
    assert!(found["diff"].as_str().expect("a diff").contains("-two\n+2\n"), "{found}");
    assert_eq!(look(&house, "fs.diff", diff("old")).await["same"], true);
    let bytes = look(&house, "fs.diff", diff("bytes")).await;
    assert_eq!((&bytes["same"], &bytes["diff"]), (&json!(false), &Value::Null));
    let text = json!({ "path": house.path("old"), "text": "one\ntwo\nthree\n" });
    assert_eq!(look(&house, "fs.diff", text).await["same"], true);
    let neither = house.call(Role::Viewer, "", "fs.diff", json!({ "path": house.path("old") })).await;
    assert_eq!(neither.expect_err("what with?").code, ErrorCode::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_the_same_and_replaces_only_when_told_to() {
    let house = House::new();
    std::fs::write(house.path("a"), "content").expect("written");
    let args = |overwrite| json!({ "from": house.path("a"), "to": house.path("b"), "overwrite": overwrite });
    let copied = house.change("fs.copy", args(false)).await.expect("is copied");
    // What nobody may change may be copied from.
    let from_there = json!({ "from": "/etc/hosts", "to": house.path("hosts") });
    house.change("fs.copy", from_there).await.expect("is copied");
    assert_eq!(std::fs::read(house.path("b")).expect("reads"), b"content");
    assert_eq!(house.change("fs.copy", args(false)).await.expect_err("exists").code, ErrorCode::Conflict);
    let own = json!({ "from": house.path("a"), "to": house.path("a"), "overwrite": true });
    assert_eq!(house.change("fs.copy", own).await.expect_err("itself").code, ErrorCode::Invalid);
    std::fs::create_dir(house.path("secret")).expect("made");
    std::fs::write(house.path("secret/key"), "k").expect("written");
    let secret = json!({ "from": house.path("secret/key"), "to": house.path("c") });
    // Where something is written beside it, it is not even seen.
    let hidden = house.change("fs.copy", secret).await.expect_err("is secret");
    assert!(matches!(hidden.code, ErrorCode::Denied | ErrorCode::NotFound), "{hidden}");
    house.undo(copied.audit).await.expect("is taken back");
    assert!(!house.path("b").exists() && !house.path("c").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_in_a_directory_is_seen_as_it_happens() {
    let house = House::new();
    let path = house.path("arrived");
    let watch = json!({ "path": house.path(""), "seconds": 30, "limit": 2 });
    let begun = Instant::now();
    // Written again and again: when the watch begins is not known here.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(20)).is_err() {
            std::fs::write(&path, "x").expect("written");
            std::fs::remove_file(&path).expect("removed");
        }
    });
    let seen = look(&house, "fs.watch", watch).await;
    stop.send(()).expect("hears");
    writer.join().expect("ends");
    let events = seen["events"].as_array().expect("a list");
    assert!(events.len() == 2 && events.iter().all(|e| e["name"] == "arrived"), "{seen}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited for its time to be over");
    let nothing = look(&house, "fs.watch", json!({ "path": house.path(""), "seconds": 1 })).await;
    assert_eq!(nothing["events"], json!([]));
}

/// A program that is ended with the test.
struct Program(std::process::Child);

impl Program {
    fn start(name: &str, args: &[&str]) -> Self {
        Self(std::process::Command::new(name).args(args).spawn().unwrap_or_else(|e| panic!("{name}: {e}")))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_seen_with_its_parent_limits_and_files() {
    let house = House::new();
    let own = std::process::id();
    let sleep = Program::start("sleep", &["60"]);
    let tree = look(&house, "process.tree", json!({ "pid": own })).await;
    let nodes = tree["processes"].as_array().expect("a list");
    assert_eq!((&nodes[0]["pid"], &nodes[0]["depth"]), (&json!(own), &json!(0)));
    let child = nodes.iter().find(|node| node["pid"] == sleep.pid()).expect("the child");
    assert_eq!(
        (&child["parent"], &child["depth"], &child["name"]),
        (&json!(own), &json!(1), &json!("sleep"))
    );

    let info = look(&house, "process.info", json!({ "pid": sleep.pid() })).await;
    assert_eq!(
        (&info["name"], &info["parent"], &info["command"]),
        (&json!("sleep"), &json!(own), &json!("sleep 60"))
    );
    assert!(info["program"].as_str().is_some_and(|path| path.ends_with("sleep")), "{info}");
    assert!(info["open_files"].as_u64().is_some_and(|files| files >= 3), "{info}");

    let file = std::fs::File::create(house.path("held")).expect("is made");
    let files =
        house.call(Role::Operator, "", "process.files", json!({ "pid": own, "contains": "held" })).await;
    let files = result(&files.expect("looks"));
    assert_eq!((&files["total"], &files["files"][0]["writes"]), (&json!(1), &json!(true)), "{files}");
    drop(file);
    let viewer = house.call(Role::Viewer, "", "process.files", json!({ "pid": own })).await;
    assert_eq!(viewer.expect_err("shows names of others").code, ErrorCode::Denied);

    let limits = look(&house, "process.limits", json!({ "pid": sleep.pid() })).await;
    let files = limits["own"].as_array().expect("a list").iter().find(|own| own["what"] == "open files");
    let (soft, _) = {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        (limit.current, limit.maximum)
    };
    assert_eq!(files.expect("that limit")["soft"].as_u64(), soft);
    for tool in ["process.tree", "process.info", "process.limits"] {
        let none = house.call(Role::Viewer, "", tool, json!({ "pid": 4_100_000 })).await;
        assert_eq!(none.expect_err("there is none").code, ErrorCode::NotFound, "{tool}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_process_is_awaited_and_no_longer_than_wanted() {
    let house = House::new();
    let mut short = Program::start("sleep", &["1"]);
    let begun = Instant::now();
    // Who has ended and was not collected has ended all the same.
    let waited = look(&house, "process.wait", json!({ "pid": short.pid(), "seconds": 60 })).await;
    assert!(waited["ended"] == true && begun.elapsed() < Duration::from_secs(30), "{waited}");
    short.0.wait().expect("has ended");
    let long = Program::start("sleep", &["60"]);
    let waited = look(&house, "process.wait", json!({ "pid": long.pid(), "seconds": 1 })).await;
    assert_eq!(waited["ended"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_niceness_is_set_for_all_threads_and_comes_back() {
    let house = House::new();
    let sleep = Program::start("nice", &["-n", "3", "sleep", "60"]);
    let nice = |pid| rustix::process::getpriority_process(rustix::process::Pid::from_raw(pid)).expect("runs");
    let pid = i32::try_from(sleep.pid()).expect("a pid");
    while nice(pid) != 3 {
        std::thread::yield_now();
    }
    let set = |nice: i32| json!({ "pid": pid, "nice": nice });
    let done = house.change("process.nice", set(10)).await.expect("is set");
    assert_eq!((nice(pid), done.undoable), (10, true));
    house.undo(done.audit).await.expect("is taken back");
    assert_eq!(nice(pid), 3);
    assert_eq!(
        house.change("process.nice", set(-1)).await.expect_err("needs an admin").code,
        ErrorCode::Denied
    );
    assert_eq!(
        house.change("process.nice", set(20)).await.expect_err("there is none").code,
        ErrorCode::Invalid
    );
    let done = house.change("process.nice", set(5)).await.expect("is set");
    rustix::process::setpriority_process(rustix::process::Pid::from_raw(pid), 7).expect("is set");
    assert_eq!(house.undo(done.audit).await.expect_err("somebody's").code, ErrorCode::Conflict);
    let one = json!({ "pid": 1, "nice": 5 });
    assert_eq!(house.change("process.nice", one).await.expect_err("is init").code, ErrorCode::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_goes_only_to_who_listens_for_it() {
    let house = House::new();
    let deaf = Program::start("sleep", &["60"]);
    let signal = |pid: u32, signal: &str| json!({ "pid": pid, "signal": signal });
    let error = house.change("process.signal", signal(deaf.pid(), "usr1")).await.expect_err("would end");
    assert_eq!(error.code, ErrorCode::Conflict, "{error}");
    // dd tells how far it is when it is asked with USR1 (dd(1)).
    let mut command = std::process::Command::new("dd");
    command.args(["if=/dev/zero", "of=/dev/null"]).stderr(std::process::Stdio::piped());
    let mut dd = Program(command.spawn().expect("starts"));
    let done = loop {
        // It listens once it has begun.
        match house.change("process.signal", signal(dd.pid(), "USR1")).await {
            Err(e) if e.code == ErrorCode::Conflict => std::thread::yield_now(),
            other => break other.expect("is sent"),
        }
    };
    assert!(!done.undoable);
    let mut told = [0; 16];
    std::io::Read::read(&mut dd.0.stderr.take().expect("a pipe"), &mut told).expect("tells");
    assert!(dd.0.try_wait().expect("is there").is_none() && told[0].is_ascii_digit());
    // Init may listen for it or not.
    let init = house.change("process.signal", signal(1, "hup")).await.expect_err("is init");
    assert!(matches!(init.code, ErrorCode::Denied | ErrorCode::Conflict), "{init}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_processor_and_disks_do_is_measured() {
    let house = House::new();
    let busy = Program::start("dd", &["if=/dev/zero", "of=/dev/null"]);
    let usage = look(&house, "cpu.usage", json!({ "window_ms": 400 })).await;
    drop(busy);
    let cores = usage["cores"].as_array().expect("a list");
    assert!(usage["all"]["busy"].as_f64().is_some_and(|busy| busy > 50.0 / cores.len() as f64), "{usage}");
    let measured = look(&house, "disk.io", json!({ "window_ms": 200, "all": true })).await;
    let devices = measured["devices"].as_array().expect("a list");
    assert!(devices.iter().all(|device| device["now"]["busy_percent"].is_number()), "{measured}");
    let since_boot = look(&house, "disk.io", json!({ "window_ms": 0, "all": true })).await;
    assert!(since_boot["devices"].as_array().expect("a list").iter().all(|device| device["now"].is_null()));
    let pressure = look(&house, "system.pressure", json!({})).await;
    assert!(pressure["machine"]["memory"]["some_10s"].is_number(), "{pressure}");
    let swap = look(&house, "memory.swap", json!({})).await;
    assert!(swap["total"].as_u64() >= swap["used"].as_u64(), "{swap}");
    look(&house, "system.temperature", json!({})).await;
}

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
        ("net.ping", json!({ "host": "box.lan", "count": 11 }), ErrorCode::Invalid),
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

#[tokio::test(flavor = "multi_thread")]
async fn only_old_files_are_cleaned_up_and_only_where_something_may_be_changed() {
    let house = House::new();
    std::fs::create_dir(house.path("cache")).expect("made");
    let path = house.path("cache/young");
    std::fs::write(&path, "x").expect("written");
    // It looks old but came here just now: the kernel knows (ctime), and nobody can say otherwise.
    let old = std::time::SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
    let times = std::fs::FileTimes::new().set_accessed(old).set_modified(old);
    std::fs::File::options().write(true).open(&path).expect("opens").set_times(times).expect("set");
    let clean = |path: &std::path::Path| {
        house.call(Role::Admin, "a test", "disk.cleanup", json!({ "path": path, "older_hours": 24 }))
    };
    let done = clean(&house.path("cache")).await.expect("cleans up");
    assert_eq!((&result(&done)["removed"], done.undoable), (&json!(0), false), "{done:?}");
    assert!(path.exists());
    std::fs::create_dir(house.path("secret")).expect("made");
    for path in ["/etc".into(), house.path("secret"), house.state()] {
        let error = clean(&path).await.expect_err("must be refused");
        assert!(matches!(error.code, ErrorCode::Denied | ErrorCode::NotFound), "{}: {error}", path.display());
    }
    let operator = house.change("disk.cleanup", json!({ "path": house.path("cache") })).await;
    assert_eq!(operator.expect_err("needs an admin").code, ErrorCode::Denied);
}
