//! The program itself, killed in the middle of changes and started again.

mod house;

use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::tool::{Step, ToolReply, ToolRequest, Tools};
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
    let write = |content: &str| {
        let args = json!({ "path": path, "content": content }).to_string();
        ToolRequest::Call { tool, args, dry_run: false }
    };
    let keyed = |key: &str| Meta { key: Some(key.into()), ..Meta::why("a test") };
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
            if client.call(keyed(&tried), write(&tried)).await.is_err() {
                break;
            }
            answered = Some(tried.clone());
        }
        killer.join().expect("no fault").expect("is killed");
        assert_eq!(running.0.wait().expect("has ended").signal(), Some(9));
        let (mut running, client) = start(dir.path()).await;
        let now = std::fs::read_to_string(&path).ok();
        assert!(
            answered.is_none() || now == answered || now.as_ref() == Some(&tried),
            "{now:?} after {answered:?}"
        );
        // Asked for again: answered as before, begun now if it had not been, or said to be cut off. While it is tidied up
        // after the change nobody else makes it.
        let again = loop {
            match client.call(keyed(&tried), write(&tried)).await {
                Err(error) if error.message.contains("is being changed") => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                again => break again,
            }
        };
        match again {
            Ok(_) => assert_eq!(std::fs::read_to_string(&path).ok(), Some(tried.clone())),
            Err(error) => assert!(error.message.contains("was interrupted"), "{error}"),
        }
        if let Some(answered) = &answered {
            let again = client.call(keyed(answered), write(answered)).await;
            assert!(matches!(&again, Ok(ToolReply::Done(done)) if done.repeated), "{again:?}");
        }
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

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_belong_together_are_all_there_or_not_at_all_wherever_the_broker_is_killed() {
    const FILES: usize = 6;
    let dir = tempfile::tempdir_in("/tmp").expect("a directory");
    let files = dir.path().join("files");
    std::fs::create_dir(&files).expect("made");
    let tool = aios_toold::tool::by_name("fs.write").expect("a tool").number;
    let _workshop = house::Workshop::start(&dir.path().join("workshop.sock"));
    let seen = || -> Vec<Option<String>> {
        (0..FILES).map(|n| std::fs::read_to_string(files.join(n.to_string())).ok()).collect()
    };
    let mut cut = 0;
    for round in 0..12_u32 {
        let (mut running, client) = start(dir.path()).await;
        let before = seen();
        let steps: Vec<Step> = (0..FILES)
            .map(|n| {
                let args = json!({ "path": files.join(n.to_string()), "content": format!("round {round}") });
                Step { tool, args: args.to_string() }
            })
            .collect();
        let call = tokio::spawn(async move {
            client.call(Meta::why("a test"), ToolRequest::Together { steps }).await.is_ok()
        });
        // At another place in each round.
        let last = round as usize % FILES;
        while seen()[last].as_ref() != Some(&format!("round {round}")) {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        running.0.kill().expect("is killed");
        running.0.wait().expect("has ended");
        let answered = call.await.expect("no fault");
        let after = seen();
        cut += u32::from(after.iter().any(|text| *text != after[0]));

        let (mut running, _client) = start(dir.path()).await;
        let open = || {
            let names = std::fs::read_dir(dir.path().join("state/undo")).expect("lists").flatten();
            names.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|end| end == "open"))
        };
        for _ in 0..1_000 {
            if !open() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!open(), "round {round} was not brought to its end");
        let (now, made) = (seen(), Some(format!("round {round}")));
        let all_made = now.iter().all(|text| *text == made);
        assert!(all_made || (now == before && !answered), "round {round}: {before:?} became {now:?}");
        running.0.kill().expect("is killed");
        running.0.wait().expect("has ended");
    }
    assert!(cut > 0, "the broker was never killed in the middle");
}
