//! The program itself, killed in the middle of changes and started again.

mod house;

use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::tool::{ToolReply, ToolRequest, Tools};
use serde_json::json;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ended with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Started in this directory, and the client of its socket when it serves.
async fn start(dir: &Path) -> (Running, Client<Tools>) {
    let socket = dir.join("toold.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_aios-toold"));
    command.arg("--socket").arg(&socket).arg("--data").arg(dir.join("state")).stderr(Stdio::null());
    command.arg("--workshop").arg(dir.join("workshop.sock"));
    let running = Running(command.spawn().expect("starts"));
    let client = Client::at(&socket);
    for _ in 0..1_000 {
        if client.call(Meta::default(), ToolRequest::List).await.is_ok() {
            return (running, client);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("toold does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_loses_nothing_it_has_answered_and_leaves_no_litter() {
    // Only below /tmp may files be written on a machine that is no appliance.
    let dir = tempfile::tempdir_in("/tmp").expect("a directory");
    let files = dir.path().join("files");
    std::fs::create_dir(&files).expect("made");
    let path = files.join("note");
    let tool = aios_toold::tool::by_name("fs.write").expect("a tool").number;
    let _workshop = house::Workshop::start(&dir.path().join("workshop.sock"));
    for round in 0..8_u32 {
        let (mut running, client) = start(dir.path()).await;
        let killer = std::thread::spawn({
            let pid = rustix::process::Pid::from_child(&running.0);
            move || {
                std::thread::sleep(Duration::from_millis(15 + u64::from(round) * 11));
                rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            }
        });
        let (mut answered, mut tried) = (None, String::new());
        for n in 0.. {
            tried = format!("{round}-{n}");
            let args = json!({ "path": path, "content": tried }).to_string();
            let call = ToolRequest::Call { tool, args, dry_run: false };
            if client.call(Meta::why("a test"), call).await.is_err() {
                break;
            }
            answered = Some(tried.clone());
        }
        killer.join().expect("no fault").expect("is killed");
        assert_eq!(running.0.wait().expect("has ended").signal(), Some(9));
        let (mut running, client) = start(dir.path()).await;
        let now = std::fs::read_to_string(&path).ok();
        assert!(answered.is_none() || now == answered || now == Some(tried), "{now:?} after {answered:?}");
        let litter = || -> Vec<_> {
            let names = std::fs::read_dir(&files).expect("lists").flatten().map(|entry| entry.file_name());
            names.filter(|name| name != "note").collect()
        };
        // It tidies up while it serves already.
        for _ in 0..500 {
            match litter().is_empty() {
                true => break,
                false => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        assert!(litter().is_empty(), "{:?}", litter());
        let verified = client.call(Meta::default(), ToolRequest::AuditVerify).await;
        assert!(matches!(verified, Ok(ToolReply::Verified(_))), "{verified:?}");
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&running.0),
            rustix::process::Signal::TERM,
        )
        .expect("is asked to end");
        assert!(running.0.wait().expect("has ended").success());
    }
}
