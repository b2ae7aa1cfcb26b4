//! The console as it is, with small daemons behind it, and `aiosctl` in front of it.

use aios_abi::CallError;
use aios_abi::accounts::Accounts;
use aios_abi::agent::{
    Agent, AgentReply, AgentRequest, AgentStatus, Answer, AskEvent, Decider, Meant, Understood,
};
use aios_abi::audit::{CallRecord, Entry, Head, Outcome, Record};
use aios_abi::call::Protocol;
use aios_abi::firewall::FirewallRequest;
use aios_abi::infer::Usage;
use aios_abi::net::{Net, NetReply, NetRequest};
use aios_abi::server::{Context, Handler, serve};
use aios_abi::service::{
    Init, InitEvent, InitReply, InitRequest, LogLine, MachineStatus, ServiceState, ServiceStatus,
};
use aios_abi::tool::{CallDone, Effect, Example, ToolInfo, ToolReply, ToolRequest, Tools};
use aios_abi::who::Role;
use aios_console::state::{App, Daemons};
use aios_console::store::Store;
use aios_console::{accounts, api, cert, listen};
use ed25519_dalek::SigningKey;
use serde_json::Value;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use tokio_seqpacket::UnixSeqpacketListener;

/// The administrator's password.
pub const PASSWORD: &str = "correct horse battery";

/// A console that listens, and a home for the client.
pub struct Appliance {
    pub url: String,
    pub code: String,
    pub fingerprint: String,
    /// The records that the broker gives out; a test may tamper with them.
    pub records: Arc<Mutex<Vec<Record>>>,
    /// From where somebody logged in, or tried to, as the firewall hears it.
    pub logins: Mutex<mpsc::Receiver<(IpAddr, bool)>>,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Appliance {
    /// Unclaimed, as it comes out of its box.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("runtime");
        let _inside = runtime.enter();
        let run = folder.path();
        let records = Arc::new(Mutex::new(Vec::new()));
        daemon::<Init, _>(&run.join("init.sock"), FakeInit);
        daemon::<Tools, _>(&run.join("toold.sock"), Broker { records: records.clone() });
        daemon::<Agent, _>(&run.join("agentd.sock"), FakeAgent);
        let (tell, logins) = mpsc::channel();
        daemon::<Net, _>(&run.join("netd.sock"), FakeNet(tell));
        let store = Store::open(&run.join("console.redb")).expect("store");
        let identity = cert::Holder::open(run, None, "box").expect("certificate");
        let app = App::new(store, Daemons::at(run), identity.clone(), Box::new(drop)).expect("console");
        let code = app.claim_line().replace("aios: claim code ", "");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        let url = format!("https://{}", listener.local_addr().expect("address"));
        listener.set_nonblocking(true).expect("nonblocking");
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        let config = identity.config().expect("TLS");
        tokio::spawn(listen::serve(listener, config, api::router(app.clone())));
        daemon::<Accounts, _>(&run.join("console.sock"), accounts::Server::new(app));
        let logins = Mutex::new(logins);
        Self { url, code, fingerprint: identity.fingerprint(), records, logins, folder, _runtime: runtime }
    }

    /// Claimed with the code on its screen.
    pub fn claimed() -> Self {
        let appliance = Self::start();
        let claimed = appliance.claim(&appliance.code, &appliance.fingerprint);
        assert!(claimed.status.success(), "{}", said(&claimed));
        appliance
    }

    pub fn claim(&self, code: &str, fingerprint: &str) -> Output {
        let arguments = ["claim", &self.url, "--code", code, "--user", "admin", "--password-stdin"];
        self.run_with_input(&[&arguments[..], &["--fingerprint", fingerprint]].concat(), PASSWORD)
    }

    /// A file of one's own.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.to_string_lossy().into_owned()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    /// What is offered for the last of these words; no machine is asked.
    pub fn completed(&self, words: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_aiosctl"))
            .env("XDG_CONFIG_HOME", self.folder.path().join("home"))
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
            .env_remove("AIOS_CONTEXT")
            .env("COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "false")
            .env("_CLAP_IFS", "\n")
            .args(["--", "aiosctl"])
            .args(words)
            .output()
            .expect("starts");
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output)
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aiosctl"))
            .env("XDG_CONFIG_HOME", self.folder.path().join("home"))
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
            .env_remove("AIOS_CONTEXT")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut stdin = child.stdin.take().expect("stdin");
        // A command that does not read its input may have ended already.
        let _ = writeln!(stdin, "{input}");
        drop(stdin);
        child.wait_with_output().expect("ends")
    }

    /// `aiosctl --json`, which must print exactly one document.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{arguments:?}: {e}: {}", said(&output)))
    }

    /// What a command prints for people.
    pub fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// What a program said on both channels.
pub fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

fn daemon<P: Protocol, H: Handler<P>>(path: &Path, handler: H) {
    let listener = UnixSeqpacketListener::bind(path).expect("socket");
    tokio::spawn(serve(listener, Arc::new(handler)));
}

struct FakeNet(mpsc::Sender<(IpAddr, bool)>);

impl Handler<Net> for FakeNet {
    async fn handle(self: Arc<Self>, _: Context<Net>, request: NetRequest) -> Result<NetReply, CallError> {
        match request {
            NetRequest::Firewall(FirewallRequest::Login { address, good }) => {
                self.0.send((address, good)).map_err(|_| CallError::unavailable("nobody listens"))?;
                Ok(NetReply::Done)
            }
            other => Err(CallError::invalid(format!("the console asked {other:?}"))),
        }
    }
}

struct FakeInit;

impl Handler<Init> for FakeInit {
    async fn handle(
        self: Arc<Self>,
        context: Context<Init>,
        request: InitRequest,
    ) -> Result<InitReply, CallError> {
        let line = |seq: u64, text: &str| LogLine {
            seq,
            time_ms: 1_700_000_000_000 + seq,
            unit: "netd".into(),
            priority: 6,
            text: text.into(),
        };
        match request {
            InitRequest::List => Ok(InitReply::List {
                services: vec![ServiceStatus {
                    name: "netd".into(),
                    description: "Network".into(),
                    state: ServiceState::Running,
                    pid: Some(71),
                    since_ms: 61_000,
                    restarts: 1,
                    degraded: false,
                    last_exit: Some("killed by SIGKILL".into()),
                    status: None,
                    memory_bytes: Some(3 << 20),
                    cpu_usec: Some(1),
                    processes: Some(1),
                    next_run_ms: None,
                }],
                refused: vec!["typo.toml:3: unknown field `reedy`".into()],
            }),
            InitRequest::Machine => Ok(InitReply::Machine(MachineStatus {
                hostname: "box".into(),
                version: "0.1.0".into(),
                kernel: "6.12.0".into(),
                boot_id: "b".into(),
                uptime_ms: 90_000,
                init_started_ms: 1,
                console_ready_ms: None,
                data: "disk".into(),
                init_resumed: 0,
            })),
            InitRequest::Logs { follow: false, .. } => {
                Ok(InitReply::Logs { lines: vec![line(1, "a\u{1b}[2Jb")], dropped: 4 })
            }
            InitRequest::Logs { .. } => {
                context.send(InitEvent::Line(line(2, "first"))).await?;
                context.send(InitEvent::Line(line(3, "second"))).await?;
                Err(CallError::unavailable("the log was ended by the test"))
            }
            _ => Err(CallError::denied("not in this test")),
        }
    }
}

/// A broker with two tools and a true audit chain.
struct Broker {
    records: Arc<Mutex<Vec<Record>>>,
}

impl Broker {
    fn append(&self, entry: Entry) -> u64 {
        let mut records = self.records.lock().expect("whole");
        let previous = records.last().map(|record| (record.seq, record.hash));
        let record = Record::new(previous, 1_700_000_000_000, entry);
        let seq = record.seq;
        records.push(record);
        seq
    }
}

fn tool(number: u16, name: &str, effect: Effect) -> ToolInfo {
    ToolInfo {
        number,
        name: name.into(),
        summary: format!("What {name} does"),
        effect,
        touches: vec!["files under the path given".into()],
        outside: false,
        role: Role::Viewer,
        timeout_ms: 5_000,
        args_schema: r#"{"type":"object","required":["path"],"properties":{"path":{"type":"string",
            "description":"Where"},"count":{"type":["integer","null"]},"order":{"enum":["up","down"]}}}"#
            .into(),
        result_schema: "true".into(),
        examples: vec![Example { ask: "read it".into(), args: r#"{"path":"/data/a b"}"#.into() }],
    }
}

impl Handler<Tools> for Broker {
    async fn handle(
        self: Arc<Self>,
        context: Context<Tools>,
        request: ToolRequest,
    ) -> Result<ToolReply, CallError> {
        let call = |tool: &str, args: String| CallRecord {
            tool: tool.into(),
            effect: Effect::Read,
            args,
            why: context.meta.why.clone(),
            incident: None,
            by: "console".into(),
            person: context.meta.person.clone(),
        };
        let outcome = Outcome::Done { summary: "done".into() };
        let done = |result: String, audit, undoable| {
            let summary = "it was done".into();
            Ok(ToolReply::Done(CallDone { result, summary, audit, undoable, repeated: false }))
        };
        match request {
            ToolRequest::List => Ok(ToolReply::List(vec![
                tool(1, "fs.read", Effect::Read),
                tool(2, "fs.write", Effect::Reversible),
                tool(3, "service.security", Effect::Read),
            ])),
            ToolRequest::Call { args, .. } if args.contains("/etc/shadow") => {
                Err(CallError::denied("/etc/shadow is not for anybody"))
            }
            ToolRequest::Call { tool: 1, args, .. } => {
                let audit = self.append(Entry::Call { call: call("fs.read", args.clone()), outcome });
                done(args, audit, false)
            }
            ToolRequest::Call { tool: 3, args, .. } => {
                let audit = self.append(Entry::Call { call: call("service.security", args), outcome });
                let check = r#"{"open": true, "what": "is root", "key": "user", "adds": 0.34}"#;
                let score = r#"{"name": "netd", "exposure": 1.8, "word": "OK"}"#;
                done(format!(r#"{{"services": [{score}], "checks": [{check}]}}"#), audit, false)
            }
            ToolRequest::Call { args, .. } => {
                let audit = self.append(Entry::Begin { call: call("fs.write", args), undoable: true });
                self.append(Entry::End { of: audit, outcome });
                done("null".into(), audit, true)
            }
            ToolRequest::Undo { audit } => {
                let audit =
                    self.append(Entry::Undone { of: audit, call: call("undo", "{}".into()), outcome });
                done("null".into(), audit, false)
            }
            ToolRequest::Audit { from, limit } => {
                let records = self.records.lock().expect("whole").clone();
                let last = records.last().ok_or_else(|| CallError::failed("empty"))?;
                let head = Head::sign(last.seq, last.hash, &SigningKey::from_bytes(&[7; 32]));
                // Fewer than asked for, as a long log would come.
                let some = records.iter().filter(|r| r.seq >= from).take(limit.min(2) as usize);
                Ok(ToolReply::Audit { records: some.cloned().collect(), head })
            }
            ToolRequest::Together { .. } => Err(CallError::failed("nothing is made together here")),
            ToolRequest::AuditVerify => Err(CallError::failed("proofs are made outside")),
        }
    }
}

struct FakeAgent;

/// Whatever names a path is taken for a wish to read it.
fn understood(text: &str) -> Understood {
    let path = text.split(' ').find(|word| word.starts_with('/'));
    let calls = path.map(|path| Meant { tool: "fs.read".into(), args: format!(r#"{{"path":"{path}"}}"#) });
    let problem = path.is_none().then(|| "No tool of this machine fits these words.".to_owned());
    let decider = if path.is_some() { Decider::Retrieval } else { Decider::Nobody };
    let usage = Usage { prompt_tokens: 10, generated_tokens: 2, ms: 3, ..Usage::default() };
    Understood { calls: calls.into_iter().collect(), problem, decider, usage, ms: 5 }
}

impl Handler<Agent> for FakeAgent {
    async fn handle(
        self: Arc<Self>,
        context: Context<Agent>,
        request: AgentRequest,
    ) -> Result<AgentReply, CallError> {
        let text = match request {
            AgentRequest::Ask { text } => text,
            AgentRequest::Understand { text } => return Ok(AgentReply::Understood(understood(&text))),
            AgentRequest::Status => {
                let inference = Err("inferd does not answer".into());
                return Ok(AgentReply::Status(AgentStatus { inference, tools: 2 }));
            }
        };
        if text == "break" {
            context.send(AskEvent::Text { text: "Once upon".into() }).await?;
            return Err(CallError::unavailable("the model ended in the middle"));
        }
        let answer = |text: &str| {
            let (decider, usage) = (Decider::Rules, Usage::default());
            Ok(AgentReply::Answer(Answer { text: text.into(), decider, usage, ms: 5 }))
        };
        if text == "be refused" {
            let (tool, args, why) = ("fs.read".into(), r#"{"path":"/etc/shadow"}"#.into(), "to know".into());
            context.send(AskEvent::Call { index: 0, tool, args, why }).await?;
            let refused = AskEvent::Result {
                index: 0,
                result: String::new(),
                summary: "not for anybody".into(),
                failed: true,
                audit: None,
                undoable: false,
                ms: 2,
            };
            context.send(refused).await?;
            return answer("That was refused.");
        }
        let events = [
            AskEvent::Note { text: "looking".into() },
            AskEvent::Call {
                index: 0,
                tool: "fs.read".into(),
                args: r#"{"path":"/data/x"}"#.into(),
                why: "to know".into(),
            },
            AskEvent::Result {
                index: 0,
                result: "1".into(),
                summary: "read it".into(),
                failed: false,
                audit: Some(3),
                undoable: false,
                ms: 4,
            },
            AskEvent::Proposal {
                tool: "fs.write".into(),
                args: r#"{"path":"/data/a b","count":3}"#.into(),
                why: "it was wished".into(),
            },
            AskEvent::Text { text: "All ".into() },
            AskEvent::Text { text: "well.".into() },
        ];
        for event in events {
            context.send(event).await?;
        }
        answer("All well.")
    }
}
