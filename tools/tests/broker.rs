//! What the broker lets through, what it writes down, and what it takes back.

mod house;

use aios_abi::ErrorCode;
use aios_abi::audit::{Entry, Outcome};
use aios_abi::tool::{Effect, ToolReply, ToolRequest};
use aios_abi::who::Role;
use house::House;
use proptest::prelude::*;
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_not_done_and_is_written_down() {
    let house = House::new();
    std::fs::create_dir(house.path("secret")).expect("made");
    std::fs::create_dir(house.path("kept")).expect("made");
    std::fs::write(house.path("secret/key"), "k").expect("written");
    std::fs::create_dir(house.path("config")).expect("made");
    symlink("/etc", house.path("link")).expect("made");
    std::fs::hard_link(house.path("secret/key"), house.path("alias")).expect("made");
    let write = |path: std::path::PathBuf| json!({ "path": path, "content": "x" });
    let table = [
        (Role::Viewer, "why", write(house.path("a"))),
        (Role::Operator, "why", write(house.path("config/services"))),
        (Role::Operator, "", write(house.path("a"))),
        (Role::Operator, " ", write(house.path("a"))),
        (Role::Admin, "why", write("/etc/aios-test".into())),
        (Role::Admin, "why", write(house.state().join("audit.key"))),
        (Role::Admin, "why", write(house.path("secret/new"))),
        (Role::Admin, "why", write(house.path("kept/new"))),
        (Role::Admin, "why", write(house.path("link/aios-test"))),
        (Role::Admin, "why", write(house.path("../outside"))),
        (Role::Admin, "why", write(house.path("alias"))),
    ];
    let before = house.records().await.len();
    for (role, why, args) in &table {
        let error = house.call(*role, why, "fs.write", args.clone()).await.expect_err("must be refused");
        assert_eq!(error.code, ErrorCode::Denied, "{args}: {error}");
    }
    let read = [
        house.path("secret/key"),
        house.path("alias"),
        house.state().join("audit.key"),
        "/proc/1/environ".into(),
    ];
    for path in &read {
        let error = house
            .call(Role::Admin, "", "fs.read", json!({ "path": path }))
            .await
            .expect_err("must be refused");
        assert_eq!(error.code, ErrorCode::Denied, "{}: {error}", path.display());
    }
    let records = house.records().await;
    let denied = |entry: &Entry| matches!(entry, Entry::Call { outcome: Outcome::Denied { .. }, .. });
    assert!(records.iter().skip(before).all(|r| denied(&r.entry)), "{records:#?}");
    assert_eq!(records.len() - before, table.len() + read.len());
    assert!(!house.path("a").exists() && !std::path::Path::new("/etc/aios-test").exists());
    assert_eq!(std::fs::read(house.path("secret/key")).expect("reads"), b"k");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_back_as_it_was_with_mode_and_time() {
    let house = House::new();
    let (path, old) = (house.path("note"), (0..=255).cycle().take(3_000).collect::<Vec<u8>>());
    std::fs::write(&path, &old).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
    let time = UNIX_EPOCH + Duration::new(1_000_000_007, 123_456_789);
    std::fs::File::options().write(true).open(&path).expect("opens").set_modified(time).expect("set");

    let done = house
        .change("fs.write", json!({ "path": path, "content": "new", "mode": "0600" }))
        .await
        .expect("is written");
    assert!(done.undoable && done.summary.contains("3000 bytes before, 3 now"), "{done:?}");
    assert_eq!(std::fs::read(&path).expect("reads"), b"new");
    house.undo(done.audit).await.expect("is taken back");
    let facts = std::fs::metadata(&path).expect("is there");
    assert_eq!(std::fs::read(&path).expect("reads"), old);
    assert_eq!((facts.mode() & 0o7777, facts.modified().expect("a time")), (0o640, time));
    let twice = house.undo(done.audit).await.expect_err("once only");
    assert_eq!(twice.code, ErrorCode::Conflict);
    assert_eq!(std::fs::read_dir(house.path("")).expect("lists").count(), 1, "a draft was left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_goes_and_changes_by_others_are_not_destroyed() {
    let house = House::new();
    let path = house.path("new");
    let args = json!({ "path": path, "content": "x", "how": "create" });
    let done = house.change("fs.write", args.clone()).await.expect("is created");
    let again = house.change("fs.write", args).await.expect_err("exists");
    assert_eq!(again.code, ErrorCode::Conflict);
    house.undo(done.audit).await.expect("is taken back");
    assert!(!path.exists());

    let done =
        house.change("fs.write", json!({ "path": path, "content": "mine" })).await.expect("is created");
    std::fs::write(&path, "theirs").expect("written");
    let error = house.undo(done.audit).await.expect_err("somebody else's");
    assert_eq!(error.code, ErrorCode::Conflict, "{error}");
    assert_eq!(std::fs::read(&path).expect("reads"), b"theirs");

    let done = house
        .change("fs.write", json!({ "path": path, "content": "+more", "how": "append" }))
        .await
        .expect("is appended");
    assert_eq!(std::fs::read(&path).expect("reads"), b"theirs+more");
    house.undo(done.audit).await.expect("is taken back");
    assert_eq!(std::fs::read(&path).expect("reads"), b"theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_survives_a_restart_and_is_refused_for_what_it_does_not_fit() {
    let house = House::new();
    let path = house.path("a");
    let done = house.change("fs.write", json!({ "path": path, "content": "x" })).await.expect("is written");
    let look = house.change("time.now", json!({})).await.expect("looks");
    let house = house.restart(|_| {});
    for (audit, code) in
        [(look.audit, ErrorCode::Invalid), (0, ErrorCode::Invalid), (999, ErrorCode::NotFound)]
    {
        assert_eq!(house.undo(audit).await.expect_err("must be refused").code, code, "record {audit}");
    }
    let viewer = house.ask(Role::Viewer, "why", ToolRequest::Undo { audit: done.audit }).await;
    assert_eq!(viewer.expect_err("needs a role").code, ErrorCode::Denied);
    house.undo(done.audit).await.expect("is taken back");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_difference_and_changes_nothing() {
    let house = House::new();
    let path = house.path("list");
    std::fs::write(&path, "one\ntwo\n").expect("written");
    let args = json!({ "path": path, "content": "one\nthree\n" }).to_string();
    let tool = aios_toold::tool::by_name("fs.write").expect("a tool").number;
    let request = ToolRequest::Call { tool, args, dry_run: true };
    let Ok(ToolReply::Done(done)) = house.ask(Role::Operator, "", request).await else {
        panic!("no preview")
    };
    assert!(done.result.contains("-two\\n+three\\n") && !done.undoable, "{done:?}");
    assert_eq!(std::fs::read(&path).expect("reads"), b"one\ntwo\n");
    let records = house.records().await;
    assert!(records.iter().all(|r| !matches!(r.entry, Entry::Begin { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_has_a_beginning_an_end_and_its_reason_in_a_chain_that_is_proved() {
    let house = House::new();
    let done = house
        .call(
            Role::Operator,
            "the motd is old",
            "fs.write",
            json!({ "path": house.path("a"), "content": "x" }),
        )
        .await
        .expect("is written");
    let records = house.records().await;
    let begin = records.iter().find(|r| r.seq == done.audit).expect("a record");
    let Entry::Begin { call, undoable: true } = &begin.entry else { panic!("{begin:?}") };
    let told = (call.tool.as_str(), call.effect, call.why.as_str(), call.by.as_str());
    assert_eq!(told, ("fs.write", Effect::Reversible, "the motd is old", "test"));
    let ended = |r: &aios_abi::audit::Record| matches!(&r.entry, Entry::End { of, outcome: Outcome::Done { .. } } if *of == done.audit);
    assert!(records.iter().any(ended), "{records:#?}");
    let head = house.verify().await.expect("is whole");
    assert_eq!(head.seq + 1, records.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_does_not_exist_and_arguments_that_do_not_fit_are_one_sentence() {
    let house = House::new();
    let unknown = ToolRequest::Call { tool: 9_999, args: "{}".into(), dry_run: false };
    let error = house.ask(Role::Admin, "", unknown).await.expect_err("no such tool");
    assert_eq!(error.code, ErrorCode::NotFound);
    for args in [json!({}), json!({ "path": 1 }), json!({ "path": "/tmp", "x": 1 }), json!({ "path": "tmp" })]
    {
        let error = house.change("fs.list", args.clone()).await.expect_err("must be refused");
        assert_eq!(error.code, ErrorCode::Invalid, "{args}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_ended_and_init_kernel_and_halting_the_broker_are_refused() {
    let house = House::new();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("starts");
    let kill = |pid: u32, signal: &str| {
        house.call(Role::Admin, "a test", "process.kill", json!({ "pid": pid, "signal": signal }))
    };
    let done = kill(child.id(), "KILL").await.expect("is killed");
    assert!(done.result.contains("\"ended\":true") && !done.undoable, "{done:?}");
    child.wait().expect("has ended");
    let gone = kill(child.id(), "kill").await.expect_err("has ended");
    assert_eq!(gone.code, ErrorCode::NotFound);
    assert_eq!(kill(1, "kill").await.expect_err("is init").code, ErrorCode::Denied);
    assert_eq!(kill(std::process::id(), "stop").await.expect_err("is itself").code, ErrorCode::Denied);
    let operator = house.change("process.kill", json!({ "pid": 1 })).await.expect_err("needs an admin");
    assert_eq!(operator.code, ErrorCode::Denied);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any bytes over any bytes, in any of the three ways, and back.
    #[test]
    fn whatever_is_written_is_taken_back_bit_by_bit(
        old in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..2_000)),
        new in proptest::collection::vec(any::<u8>(), 0..2_000),
        append in any::<bool>(),
    ) {
        use base64::Engine as _;
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let house = House::new();
        let path = house.path("file");
        if let Some(old) = &old {
            std::fs::write(&path, old).expect("written");
        }
        let content = base64::engine::general_purpose::STANDARD.encode(&new);
        let how = if append { "append" } else { "overwrite" };
        let args = json!({ "path": path, "content": content, "encoding": "base64", "how": how });
        let done = runtime.block_on(house.change("fs.write", args)).expect("is written");
        let expected = if append { [old.clone().unwrap_or_default(), new].concat() } else { new };
        prop_assert_eq!(std::fs::read(&path).expect("reads"), expected);
        runtime.block_on(house.undo(done.audit)).expect("is taken back");
        prop_assert_eq!(std::fs::read(&path).ok(), old);
    }
}
