//! A broker with a directory of its own for the tests, reached without a socket.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use aios_abi::CallError;
use aios_abi::audit::{Head, Record};
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::tool::{CallDone, ToolReply, ToolRequest};
use aios_abi::who::Role;
use aios_toold::broker::{Broker, Setup, Way};
use aios_toold::caller::Caller;
use aios_toold::policy::Policy;
use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

pub struct House {
    dir: tempfile::TempDir,
    pub broker: Arc<Broker>,
    pub workshop: Workshop,
}

/// The program as the workshop; ended with the test, however that ends.
pub struct Workshop(Child);

impl Workshop {
    pub fn start(socket: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aios-toold"));
        command.arg("--be-workshop").arg("--socket").arg(socket);
        let says = socket.with_extension("notify");
        let said = UnixDatagram::bind(&says).expect("a socket");
        command.env("NOTIFY_SOCKET", &says);
        let workshop = Self(command.spawn().expect("starts"));
        let mut word = [0; 16];
        let length = said.recv(&mut word).expect("is told");
        assert_eq!(&word[..length], b"READY=1");
        std::fs::remove_file(&says).expect("is removed");
        workshop
    }

    /// Its processes that have a job: those that wait for one have not given up anything yet.
    pub fn at_work(&self) -> Vec<i32> {
        let status = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let has = |text: &str, line: String| text.lines().any(|found| found == line);
        let all = std::fs::read_dir("/proc").expect("lists").flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let status = status(pid);
                has(&status, format!("PPid:\t{}", self.0.id())) && has(&status, "Seccomp:\t2".into())
            })
            .collect()
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl House {
    pub fn new() -> Self {
        Self::at(tempfile::tempdir().expect("a directory"))
    }

    /// The same directory with a new broker, as after a restart; `between` sees the files at rest.
    pub fn restart(self, between: impl FnOnce(&Path)) -> Self {
        let Self { dir, broker, workshop } = self;
        drop((broker, workshop));
        // The chain's writer ends on its own when the last handle has gone; then the lock is free.
        let chain = dir.path().join("state/audit.redb");
        while redb::Database::open(&chain)
            .is_err_and(|e| matches!(e, redb::DatabaseError::DatabaseAlreadyOpen))
        {
            std::thread::yield_now();
        }
        between(dir.path());
        Self::at(dir)
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let workshop = Workshop::start(&dir.path().join("workshop.sock"));
        let broker = Arc::new(open(dir.path()).expect("opens"));
        Self { dir, broker, workshop }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A path below the directory that may be written.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("files").join(name)
    }

    pub async fn ask(&self, role: Role, why: &str, request: ToolRequest) -> Result<ToolReply, CallError> {
        let caller = Caller { by: "test".into(), person: None, role };
        self.broker.clone().answer(Way::new(caller, Meta::why(why)), request).await
    }

    /// As an operator with a reason, under a key.
    pub async fn ask_once(&self, who: &str, key: &str, request: ToolRequest) -> Result<CallDone, CallError> {
        let caller = Caller { by: who.into(), person: None, role: Role::Operator };
        let meta = Meta { key: Some(key.into()), ..Meta::why("a test") };
        done(self.broker.clone().answer(Way::new(caller, meta), request).await)
    }

    pub async fn call(&self, role: Role, why: &str, tool: &str, args: Value) -> Result<CallDone, CallError> {
        let tool = aios_toold::tool::by_name(tool).expect("a tool").number;
        let request = ToolRequest::Call { tool, args: args.to_string(), dry_run: false };
        done(self.ask(role, why, request).await)
    }

    /// As an operator with a reason.
    pub async fn change(&self, tool: &str, args: Value) -> Result<CallDone, CallError> {
        self.call(Role::Operator, "a test", tool, args).await
    }

    pub async fn undo(&self, audit: u64) -> Result<CallDone, CallError> {
        done(self.ask(Role::Operator, "a test", ToolRequest::Undo { audit }).await)
    }

    pub async fn records(&self) -> Vec<Record> {
        match self.ask(Role::Viewer, "", ToolRequest::Audit { from: 0, limit: 10_000 }).await {
            Ok(ToolReply::Audit { records, .. }) => records,
            other => panic!("no records: {other:?}"),
        }
    }

    pub async fn verify(&self) -> Result<Head, CallError> {
        match self.ask(Role::Viewer, "", ToolRequest::AuditVerify).await? {
            ToolReply::Verified(head) => Ok(head),
            other => panic!("not a head: {other:?}"),
        }
    }
}

pub fn open(dir: &Path) -> Result<Broker, CallError> {
    let (state, files) = (dir.join("state"), dir.join("files"));
    std::fs::create_dir_all(&files)?;
    let policy = Policy {
        writable: vec![files.clone()],
        secret: vec![state.clone(), files.join("secret")],
        kept: vec![files.join("kept")],
        guarded: vec![files.join("config")],
        own_pid: std::process::id(),
    };
    let init = Client::at(dir.join("init.sock"));
    Broker::open(Setup {
        data: &state,
        policy,
        init,
        net: Client::at(dir.join("netd.sock")),
        accounts: Client::at(dir.join("console.sock")),
        infer: Client::at(dir.join("inferd.sock")),
        workshop: aios_toold::worker::hire::Workshop::at(dir.join("workshop.sock")),
        version: "1",
        boot_id: "boot",
    })
}

fn done(reply: Result<ToolReply, CallError>) -> Result<CallDone, CallError> {
    match reply? {
        ToolReply::Done(done) => Ok(done),
        other => panic!("not the end of a call: {other:?}"),
    }
}
