//! Clients that mean harm, as other users, at a broker that serves an honest one meanwhile. Times are not looked at here
//! (`make bench` does), only that each answer is right and that nothing is left behind.
//!
//! The program starts itself as the hostile client: `hostile flood SOCKET` floods until its input is closed.

mod flood;
mod house;

use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::tool::{ToolReply, ToolRequest, Tools};
use aios_abi::who::uid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Somebody who may ask nothing.
const STRANGER: u32 = 65_533;
/// What the honest client asks during each flood.
const CALLS: usize = 1_000;
/// What the broker may keep of memory that it had to take, in KiB.
const KEPT: u64 = 32 * 1024;
/// Until the broker has noticed that a flood is over.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, socket] = arguments.as_slice()
        && word == "flood"
    {
        return flood::all(Path::new(socket));
    }
    // What cargo's own harness is asked for is not asked of this one.
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(an_honest_client_is_answered_while_others_flood_the_broker());
    println!("test an_honest_client_is_answered_while_others_flood_the_broker ... ok");
}

async fn an_honest_client_is_answered_while_others_flood_the_broker() {
    assert!(rustix::process::geteuid().is_root(), "this test becomes other users: run it as root");
    let limit = Some(flood::CONNECTIONS as u64 + 1_000);
    let most = getrlimit(Resource::Nofile).maximum.max(limit);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: most }).expect("descriptors");

    // Others must get to the socket; only below /tmp may files be written on a machine that is no appliance.
    let dir = tempfile::tempdir_in("/tmp").expect("a directory");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711)).expect("opened");
    let program = dir.path().join("hostile");
    std::fs::copy(std::env::current_exe().expect("a program"), &program).expect("copied");
    let _workshop = house::Workshop::start(&dir.path().join("workshop.sock"));
    let broker = Broker::start(dir.path()).await;
    let socket = dir.path().join("toold.sock");
    let client = Client::<Tools>::at(&socket);
    // With a call in a process of its own: the way to the workshop stays open from then on.
    honest(&client, 100).await;

    let descriptors = broker.descriptors();
    let mut memory = Vec::new();
    for _ in 0..2 {
        for user in [STRANGER, uid::AGENTD] {
            let flood = Flood::start(&program, &socket, user);
            honest(&client, CALLS).await;
            flood.end();
            honest(&client, 50).await;
            broker.comes_back_to(descriptors).await;
        }
        memory.push(broker.memory());
    }
    assert!(memory[1] < memory[0] + KEPT, "the broker grows with each flood: {memory:?} KiB");
    let verified = client.call(Meta::default(), ToolRequest::AuditVerify).await;
    assert!(matches!(verified, Ok(ToolReply::Verified(_))), "{verified:?}");
}

/// Ask, and see that the answer is the right one.
async fn honest(client: &Client<Tools>, calls: usize) {
    let number = |name| aios_toold::tool::by_name(name).expect("a tool").number;
    let (now, stat) = (number("time.now"), number("fs.stat"));
    for n in 0..calls {
        // One in a hundred in a process of its own.
        let (tool, args, says) = match n % 100 {
            99 => (stat, r#"{"path":"/etc/passwd"}"#, "/etc/passwd"),
            _ => (now, "{}", "\"utc\""),
        };
        let call = ToolRequest::Call { tool, args: args.into(), dry_run: false };
        match client.call(Meta::why("honest"), call).await {
            Ok(ToolReply::Done(done)) => assert!(done.result.contains(says), "{}", done.result),
            other => panic!("call {n}: {other:?}"),
        }
    }
}

/// Ended with the test, however that ends.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Broker {
    async fn start(dir: &Path) -> Self {
        let socket = dir.join("toold.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_aios-toold"));
        command.arg("--socket").arg(&socket).arg("--data").arg(dir.join("state")).stderr(Stdio::null());
        let broker = Self(command.arg("--workshop").arg(dir.join("workshop.sock")).spawn().expect("starts"));
        let client = Client::<Tools>::at(&socket);
        let begun = Instant::now();
        while client.call(Meta::default(), ToolRequest::List).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "toold does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).expect("opened to all");
        broker
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.0.id().to_string()).join(name)
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).expect("lists").count()
    }

    /// What it takes of memory, in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("reads");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    async fn comes_back_to(&self, descriptors: usize) {
        let begun = Instant::now();
        // The honest client's own connection is one of them.
        while self.descriptors() > descriptors {
            assert!(begun.elapsed() < PATIENCE, "{} descriptors, not {descriptors}", self.descriptors());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The hostile client at work.
struct Flood(Child);

impl Flood {
    fn start(program: &Path, socket: &Path, user: u32) -> Self {
        let mut command = Command::new(program);
        command.arg("flood").arg(socket).uid(user).gid(user).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let mut word = [0; 6];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut word).expect("says that it has begun");
        assert_eq!(&word, b"begun\n");
        Self(child)
    }

    /// It must have found somebody to flood until now.
    fn end(mut self) {
        assert!(self.0.try_wait().expect("is known").is_none(), "the flood ended before it was to");
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("ends").success());
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
