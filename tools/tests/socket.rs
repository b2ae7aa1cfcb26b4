//! The broker behind its socket, beside an init that the test plays.

mod house;

use aios_abi::call::{ClientFrame, Meta, Request, ServerFrame};
use aios_abi::client::Client;
use aios_abi::run::{CommandInfo, RunEnd, RunHow, RunInfo, RunOutcome, RunRequest};
use aios_abi::server::{Context, Handler};
use aios_abi::service::{
    Init, InitEvent, InitReply, InitRequest, LogLine, PlannedPower, ServiceState, ServiceStatus,
};
use aios_abi::tool::{CallDone, Progress, ToolReply, ToolRequest, Tools};
use aios_abi::who::{Person, Role};
use aios_abi::{CallError, ErrorCode, frame};
use aios_toold::caller::Caller;
use aios_toold::serve::Server;
use futures_util::StreamExt;
use house::House;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

/// One healthy service, one that keeps dying, and a few lines of log.
#[derive(Default)]
struct PlayedInit {
    restarts: AtomicU32,
    planned: std::sync::Mutex<Option<PlannedPower>>,
    /// Commands that were taken back.
    taken_back: Arc<AtomicU32>,
}

/// A command that somebody waits for.
struct Waited(Arc<AtomicU32>);

impl Drop for Waited {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl PlayedInit {
    fn status(&self, name: &str) -> Result<ServiceStatus, CallError> {
        let (state, last_exit) = match name {
            "netd" => (ServiceState::Running, None),
            "inferd" => (ServiceState::Backoff, Some("killed by SIGKILL".into())),
            other => return Err(CallError::not_found(format!("there is no service \"{other}\""))),
        };
        Ok(ServiceStatus {
            name: name.into(),
            description: "a service".into(),
            state,
            pid: Some(4_000_000 + self.restarts.load(Ordering::Relaxed)),
            since_ms: 61_000,
            restarts: self.restarts.load(Ordering::Relaxed),
            degraded: false,
            last_exit,
            status: None,
            memory_bytes: Some(1 << 20),
            cpu_usec: Some(5),
            processes: Some(1),
            next_run_ms: None,
        })
    }
}

impl Handler<Init> for PlayedInit {
    async fn handle(
        self: Arc<Self>,
        context: Context<Init>,
        request: InitRequest,
    ) -> Result<InitReply, CallError> {
        match request {
            InitRequest::List => Ok(InitReply::List {
                services: vec![self.status("inferd")?, self.status("netd")?],
                refused: vec!["typo.toml:3: nonsense".into()],
            }),
            InitRequest::Status { name } => self.status(&name).map(InitReply::Status),
            InitRequest::Restart { name } => {
                self.restarts.fetch_add(1, Ordering::Relaxed);
                self.status(&name).map(InitReply::Status)
            }
            InitRequest::Reload { name } if name == "inferd" => {
                Err(CallError::failed("inferd: it has no reload_signal"))
            }
            InitRequest::Reload { name } => self.status(&name).map(InitReply::Status),
            InitRequest::Rescan => Ok(InitReply::Rescanned {
                added: vec!["web".into()],
                changed: Vec::new(),
                removed: vec!["old".into()],
                refused: Vec::new(),
            }),
            InitRequest::Logs { unit, follow: true, .. } => {
                let unit = unit.unwrap_or_else(|| "netd".into());
                for (seq, text) in ["known already", "a new line", "and one more"].into_iter().enumerate() {
                    let line = LogLine {
                        seq: seq as u64 + 2,
                        time_ms: 1_700_000_000_000,
                        unit: unit.clone(),
                        priority: 6,
                        text: text.into(),
                    };
                    context.send(InitEvent::Line(line)).await?;
                }
                tokio::time::sleep(std::time::Duration::from_millis(context.meta.deadline_ms.into())).await;
                Err(CallError::new(ErrorCode::Timeout, "the time for which it was to be followed is over"))
            }
            InitRequest::Logs { unit, contains, .. } => {
                let lines =
                    [(3, "netd", "no lease"), (6, "netd", "lease renewed"), (4, "kernel", "a disk is slow")];
                let fits = |l: &(u8, &str, &str)| {
                    unit.as_deref().is_none_or(|u| u == l.1)
                        && contains.as_deref().is_none_or(|c| l.2.contains(c))
                };
                let lines = lines.into_iter().enumerate().filter(|(_, l)| fits(l));
                let line = |(n, (priority, unit, text)): (usize, (u8, &str, &str))| LogLine {
                    seq: n as u64,
                    time_ms: 1_700_000_000_000,
                    unit: unit.into(),
                    priority,
                    text: text.into(),
                };
                Ok(InitReply::Logs { lines: lines.map(line).collect(), dropped: 7 })
            }
            InitRequest::GoDown { power, delay_seconds, why } => {
                let planned = PlannedPower { power, in_ms: u64::from(delay_seconds) * 1000, why };
                *self.planned.lock().expect("whole") = Some(planned.clone());
                Ok(InitReply::Planned(Some(planned)))
            }
            InitRequest::Planned => Ok(InitReply::Planned(self.planned.lock().expect("whole").clone())),
            InitRequest::CallOff => Ok(InitReply::Planned(self.planned.lock().expect("whole").take())),
            InitRequest::Commands => {
                let command = |command: &str, arguments, changes| CommandInfo {
                    service: "netd".into(),
                    command: command.into(),
                    description: "d".into(),
                    exec: vec!["/usr/bin/netd".into(), command.into()],
                    arguments,
                    changes,
                    time_limit_ms: 60_000,
                };
                let running = vec![running(7)];
                let commands = vec![command("say", true, false), command("wait", false, true)];
                Ok(InitReply::Commands { commands, running })
            }
            InitRequest::Run(RunRequest { how: RunHow::Background, .. }) => {
                Ok(InitReply::Running(running(8)))
            }
            InitRequest::Run(RunRequest { how: RunHow::Look, command, .. }) if command == "never" => {
                let _waited = Waited(self.taken_back.clone());
                std::future::pending().await
            }
            InitRequest::Run(RunRequest { how: RunHow::Look, command, .. }) if command != "say" => {
                Err(CallError::denied("it may change something"))
            }
            InitRequest::Run(RunRequest { arguments, .. }) => Ok(InitReply::Ran(RunOutcome {
                end: RunEnd::Exited(3),
                output: format!("one\n{}\n", arguments.join("|")),
                omitted_bytes: 5,
                duration_ms: 12,
            })),
            InitRequest::EndRun { number } => Ok(InitReply::Running(running(number))),
            other => panic!("not played: {other:?}"),
        }
    }
}

fn running(number: u32) -> RunInfo {
    RunInfo {
        number,
        service: "netd".into(),
        command: "wait".into(),
        arguments: Vec::new(),
        pid: Some(4_000_009),
        running_ms: 2_000,
        background: true,
    }
}

/// The house with both sockets served; the caller's role is that of the person whom it names.
async fn served() -> (House, Client<Tools>) {
    served_by(PlayedInit::default()).await
}

async fn served_by(played: PlayedInit) -> (House, Client<Tools>) {
    let house = House::new();
    let folder = house.state().join("..");
    let init = UnixSeqpacketListener::bind(folder.join("init.sock")).expect("binds");
    tokio::spawn(aios_abi::server::serve::<Init, _>(init, Arc::new(played)));
    let identify = |_: &_, meta: &Meta| match &meta.person {
        Some(person) => Ok(Caller { by: "test".into(), role: person.role, person: Some(person.clone()) }),
        None => Err(CallError::denied("strangers may not call tools")),
    };
    let server = Arc::new(Server::new(house.broker.clone(), Box::new(identify)));
    let tools = UnixSeqpacketListener::bind(folder.join("toold.sock")).expect("binds");
    tokio::spawn(aios_abi::server::serve::<Tools, _>(tools, server));
    let client = Client::at(folder.join("toold.sock"));
    (house, client)
}

fn as_person(role: Role) -> Meta {
    Meta::why("a test").on_behalf_of(Some(Person { name: "ada".into(), role }))
}

fn request(tool: &str, args: &str) -> ToolRequest {
    let tool = aios_toold::tool::by_name(tool).expect("a tool").number;
    ToolRequest::Call { tool, args: args.into(), dry_run: false }
}

async fn call(client: &Client<Tools>, role: Role, tool: &str, args: Value) -> Result<CallDone, CallError> {
    match client.call(as_person(role), request(tool, &args.to_string())).await? {
        ToolReply::Done(done) => Ok(done),
        other => panic!("{other:?}"),
    }
}

fn result(done: &CallDone) -> Value {
    serde_json::from_str(&done.result).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_listed_called_audited_and_taken_back_over_the_socket() {
    let (house, client) = served().await;
    let list = client.call(as_person(Role::Viewer), ToolRequest::List).await.expect("lists");
    let ToolReply::List(list) = list else { panic!("{list:?}") };
    assert_eq!(list.len(), aios_toold::tool::all().len());
    let path = house.path("a");
    let done = call(&client, Role::Operator, "fs.write", json!({ "path": path, "content": "x" }))
        .await
        .expect("writes");
    let undo = ToolRequest::Undo { audit: done.audit };
    let undone = client.call(as_person(Role::Operator), undo).await.expect("is taken back");
    assert!(matches!(undone, ToolReply::Done(done) if done.result.contains("\"undone\"")) && !path.exists());
    let head = client.call(as_person(Role::Viewer), ToolRequest::AuditVerify).await.expect("is whole");
    assert!(matches!(head, ToolReply::Verified(head) if head.verify().is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_logs_are_those_of_init() {
    let (_house, client) = served().await;
    let viewer = |tool: &'static str, args| call(&client, Role::Viewer, tool, args);
    let list = viewer("service.list", json!({ "only_unhealthy": true })).await.expect("lists");
    let services = result(&list);
    assert_eq!(services["services"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&services["services"][0]["name"], &services["refused"][0]),
        (&json!("inferd"), &json!("typo.toml:3: nonsense"))
    );
    let status = viewer("service.status", json!({ "name": "inferd" })).await.expect("looks");
    assert!(status.summary.contains("backoff") && status.summary.contains("SIGKILL"), "{}", status.summary);
    let none = viewer("service.status", json!({ "name": "x" })).await.expect_err("there is none");
    assert_eq!(none.code, ErrorCode::NotFound);
    let errors = viewer("log.search", json!({ "level": "error" })).await.expect("searches");
    assert_eq!(result(&errors)["lines"][0]["text"], "no lease");
    let all = viewer("log.search", json!({ "unit": "netd", "contains": "lease" })).await.expect("searches");
    assert_eq!(result(&all)["lines"].as_array().map(Vec::len), Some(2));

    let refused = viewer("service.restart", json!({ "name": "netd" })).await.expect_err("needs an operator");
    assert_eq!(refused.code, ErrorCode::Denied);
    let done =
        call(&client, Role::Operator, "service.restart", json!({ "name": "netd" })).await.expect("restarts");
    assert_eq!(
        (&result(&done)["pid_before"], &result(&done)["service"]["pid"]),
        (&json!(4_000_000), &json!(4_000_001))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_line_by_line_and_a_window_of_time_is_kept() {
    let (_house, client) = served().await;
    let follow = request("log.tail", r#"{"seconds":2,"earlier":1}"#);
    let mut heard: Vec<String> = Vec::new();
    let done = client.start(as_person(Role::Viewer), follow).await.expect("starts");
    let done = done.finish(|progress| heard.push(progress.text)).await.expect("follows");
    let ToolReply::Done(done) = done else { panic!("{done:?}") };
    let texts = |list: &Value| -> Vec<String> {
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(|line| Some(line["text"].as_str()?.to_owned()))
            .collect()
    };
    let found = result(&done);
    assert_eq!(texts(&found["earlier"]), ["a disk is slow"]);
    assert_eq!(texts(&found["lines"]), ["a new line", "and one more"], "{found}");
    assert_eq!(heard, ["netd: a new line", "netd: and one more"]);
    let search = |args| call(&client, Role::Viewer, "log.search", args);
    for (args, lines) in [
        (json!({ "since": "2023-11-14T22:13:20Z", "until": "2023-11-14T22:13:20Z" }), 3),
        (json!({ "since": "2023-11-14T22:13:21Z" }), 0),
        (json!({ "until": "2023-11-14T22:13:19Z" }), 0),
    ] {
        let found = result(&search(args.clone()).await.expect("searches"));
        assert_eq!(found["lines"].as_array().map(Vec::len), Some(lines), "{args}");
    }
    let error = search(json!({ "since": "yesterday" })).await.expect_err("no moment");
    assert_eq!(error.code, ErrorCode::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_goes_down_when_an_administrator_says_so_and_not_when_he_calls_it_off() {
    let (_house, client) = served().await;
    let admin = |tool, args| call(&client, Role::Admin, tool, args);
    let later = json!({ "delay_seconds": 300, "reason": "a new disk" });
    for role in [Role::Viewer, Role::Operator, Role::Approver] {
        let refused = call(&client, role, "power.off", later.clone()).await.expect_err("needs an admin");
        assert_eq!(refused.code, ErrorCode::Denied);
    }
    let nothing = admin("power.cancel", json!({})).await.expect_err("nothing is planned");
    assert_eq!(nothing.code, ErrorCode::NotFound);
    let done = admin("power.off", later.clone()).await.expect("is planned");
    assert_eq!(done.summary, "the machine is switched off in 300 s: a new disk");
    let status = call(&client, Role::Viewer, "power.status", json!({})).await.expect("looks");
    assert_eq!(result(&status)["planned"]["in_seconds"], 300);
    let again = admin("power.reboot", later).await.expect_err("something is planned");
    assert!(again.code == ErrorCode::Conflict && again.message.contains("a new disk"), "{again}");
    let done = admin("power.cancel", json!({})).await.expect("is called off");
    assert!(done.summary.starts_with("called off") && !done.undoable, "{}", done.summary);
    for args in [json!({ "reason": " " }), json!({ "reason": "x".repeat(201) }), json!({ "reason": "a\nb" })]
    {
        assert_eq!(admin("power.reboot", args).await.expect_err("no reason").code, ErrorCode::Invalid);
    }
    let now = admin("power.reboot", json!({ "reason": "an update" })).await.expect("is answered first");
    assert_eq!(now.summary, "the machine restarts now: an update");
    let planned = || async { call(&client, Role::Viewer, "power.status", json!({})).await.expect("looks") };
    while result(&planned().await)["planned"].is_null() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(result(&planned().await)["planned"]["power"], "reboot");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_their_files_are_read_again_by_operators() {
    let (_house, client) = served().await;
    for tool in ["service.reload", "service.rescan"] {
        let args = if tool == "service.reload" { json!({ "name": "netd" }) } else { json!({}) };
        let refused = call(&client, Role::Viewer, tool, args).await.expect_err("needs an operator");
        assert_eq!(refused.code, ErrorCode::Denied);
    }
    let operator = |tool, args| call(&client, Role::Operator, tool, args);
    let done = operator("service.reload", json!({ "name": "netd" })).await.expect("reloads");
    assert!(done.summary.starts_with("netd was told"), "{}", done.summary);
    let deaf = operator("service.reload", json!({ "name": "inferd" })).await.expect_err("it cannot");
    assert!(deaf.message.contains("reload_signal"), "{deaf}");
    let done = operator("service.rescan", json!({})).await.expect("reads");
    assert_eq!(done.summary, "new: web; gone: old");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_run_by_init_and_taken_back_with_those_who_asked() {
    let played = PlayedInit::default();
    let taken_back = played.taken_back.clone();
    let (_house, client) = served_by(played).await;
    let admin = |tool, args| call(&client, Role::Admin, tool, args);
    let listed = call(&client, Role::Viewer, "run.list", json!({ "service": "netd" })).await.expect("lists");
    assert_eq!(listed.summary, "say of netd, wait of netd; 1 run now");
    let none = call(&client, Role::Viewer, "run.list", json!({ "service": "x" })).await.expect("lists");
    assert_eq!(result(&none)["commands"], json!([]));
    let say = json!({ "service": "netd", "command": "say", "arguments": ["a b", "c"] });
    let less =
        [("run.look", Role::Viewer), ("run.command", Role::Operator), ("process.spawn", Role::Operator)];
    for (tool, role) in less {
        let refused = call(&client, role, tool, say.clone()).await.expect_err("needs a higher role");
        assert_eq!(refused.code, ErrorCode::Denied);
    }
    for tool in ["run.look", "run.command"] {
        let done = admin(tool, say.clone()).await.expect("runs");
        assert_eq!((&result(&done)["exit"], &result(&done)["output"]), (&json!(3), &json!("one\na b|c\n")));
        let said = "it exited with status 3 after 12 ms: a b|c; 5 bytes of its output are left out";
        assert!(done.summary == said && !done.undoable, "{}", done.summary);
    }
    let wait = json!({ "service": "netd", "command": "wait" });
    assert_eq!(admin("run.look", wait.clone()).await.expect_err("may change").code, ErrorCode::Denied);
    let more = json!({ "service": "netd", "command": "wait", "arguments": ["x"] });
    assert_eq!(admin("run.command", more).await.expect_err("takes none").code, ErrorCode::Invalid);
    let unknown = json!({ "service": "netd", "command": "sh" });
    let unknown = admin("process.spawn", unknown).await.expect_err("there is none");
    assert!(unknown.message.contains("it has: say, wait"), "{unknown}");
    let spawned = admin("process.spawn", wait).await.expect("is begun");
    assert_eq!(spawned.summary, "wait of netd runs as process 4000009 with the number 8");
    admin("run.stop", json!({ "number": 7 })).await.expect("is ended");
    let none = admin("run.stop", json!({ "number": 9 })).await.expect_err("does not run");
    assert_eq!(none.code, ErrorCode::NotFound);

    let never = request("run.look", r#"{"service":"netd","command":"never"}"#);
    let mut under_way = client.start(as_person(Role::Operator), never).await.expect("starts");
    let soon = std::time::Duration::from_millis(500);
    assert!(tokio::time::timeout(soon, under_way.next()).await.is_err(), "it is waited for");
    drop(under_way);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while taken_back.load(Ordering::Relaxed) == 0 {
        assert!(std::time::Instant::now() < until, "nobody took it back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Other machines are asked elsewhere.
fn asks_others(tool: &str) -> bool {
    ["net.resolve", "net.check_port", "net.ping", "net.trace"].contains(&tool)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_look_answers_its_examples_or_says_in_one_sentence_why_not() {
    let (_house, client) = served().await;
    let looks = aios_toold::tool::all().iter();
    let looks = looks.filter(|tool| tool.role == Role::Viewer && !asks_others(tool.name));
    let examples = looks.flat_map(|tool| tool.examples.iter().map(|example| (tool.name, example)));
    // Some wait for seconds: several side by side.
    futures_util::stream::iter(examples)
        .for_each_concurrent(8, async |(tool, (ask, args))| {
            let args: Value = serde_json::from_str(args).expect("JSON");
            match call(&client, Role::Viewer, tool, args).await {
                Ok(done) => {
                    let summary = &done.summary;
                    assert!(result(&done).is_object() && !summary.is_empty(), "{ask}: {done:?}");
                    assert!(!summary.contains('\n') && summary.len() < 2_000, "{ask}: {summary}");
                }
                Err(e) => {
                    let expected = matches!(
                        e.code,
                        ErrorCode::NotFound | ErrorCode::Denied | ErrorCode::Unavailable | ErrorCode::Invalid
                    );
                    assert!(expected && !e.message.is_empty(), "{ask}: {e:?}");
                }
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_heard_to_the_end_of_its_answer() {
    let (_house, client) = served().await;
    for _ in 0..30 {
        let done =
            call(&client, Role::Viewer, "net.interfaces", json!({ "name": "lo" })).await.expect("looks");
        let lo = &result(&done)["interfaces"][0];
        assert_eq!(lo["addresses"][0], "127.0.0.1/8", "{lo}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_arrives_whole_and_progress_on_the_way() {
    let (house, client) = served().await;
    let content = "0123456789abcdef".repeat(15_000);
    std::fs::write(house.path("long"), &content).expect("written");
    let args = json!({ "path": house.path("long"), "limit": 262_144 });
    let done = call(&client, Role::Viewer, "fs.read", args).await.expect("reads");
    assert_eq!(result(&done)["content"], content);
    let audit = client.start(as_person(Role::Viewer), request("sec.audit", "{}")).await.expect("starts");
    let mut heard: Vec<Progress> = Vec::new();
    audit.finish(|progress| heard.push(progress)).await.expect("looks");
    assert_eq!(heard.last().and_then(|p| p.percent), Some(100), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_at_once_get_their_own_answers_in_one_whole_chain() {
    let (house, client) = served().await;
    let before = house.records().await.len();
    let calls = (0..60).map(|n| {
        let (client, path) = (client.clone(), house.path(&(n % 10).to_string()));
        tokio::spawn(async move {
            if n % 2 == 0 {
                return call(&client, Role::Viewer, "time.now", json!({})).await.map(drop);
            }
            // Two changes to one file may meet; the later one is told so.
            match call(&client, Role::Operator, "fs.write", json!({ "path": path, "content": n.to_string() }))
                .await
            {
                Err(e) if e.code == ErrorCode::Conflict => Ok(()),
                other => other.map(drop),
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("no fault").expect("is answered");
    }
    house.verify().await.expect("is whole");
    assert!(house.records().await.len() > before + 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_broken_packets_get_one_sentence_and_nothing_else_stops() {
    let (house, client) = served().await;
    let stranger = client.call(Meta::why("because I say so"), request("time.now", "{}")).await;
    assert_eq!(stranger.expect_err("is refused").code, ErrorCode::Denied);
    let last = house.records().await.pop().expect("a record");
    assert!(format!("{last:?}").contains("Denied") && !format!("{last:?}").contains("because I say so"));

    let socket = UnixSeqpacket::connect(house.state().join("../toold.sock")).await.expect("connects");
    let mut buffer = vec![0; frame::MAX_PACKET];
    let long = vec![frame::VERSION; frame::MAX_PACKET + 1];
    for packet in
        [&long[..], &[99, 1, 2, 3], &[frame::VERSION, 0xff, 0xff, 0xff, 0xff, 0xff], &[frame::VERSION]]
    {
        socket.send(packet).await.expect("is sent");
        let length = socket.recv(&mut buffer).await.expect("is answered").bytes_read();
        let answer = frame::decode::<ServerFrame<Progress, ToolReply>>(&buffer[..length]).expect("decodes");
        assert!(matches!(answer, ServerFrame::Refused { .. }), "{answer:?}");
    }
    let good = Request { id: 1, meta: as_person(Role::Viewer), body: request("time.now", "{}") };
    socket.send(&frame::encode(&ClientFrame::Request(good)).expect("encodes")).await.expect("is sent");
    let length = socket.recv(&mut buffer).await.expect("is answered").bytes_read();
    let answer = frame::decode::<ServerFrame<Progress, ToolReply>>(&buffer[..length]).expect("decodes");
    assert!(matches!(answer, ServerFrame::Reply { id: 1, result: Ok(_) }), "{answer:?}");
}
