//! Tools in workers of their own, on things that are really there.

mod house;

use aios_abi::ErrorCode;
use aios_abi::tool::CallDone;
use aios_abi::who::Role;
use house::House;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn result(done: &CallDone) -> Value {
    serde_json::from_str(&done.result).expect("JSON")
}

async fn look(house: &House, tool: &str, args: Value) -> Value {
    result(&house.call(Role::Viewer, "", tool, args).await.unwrap_or_else(|e| panic!("{tool}: {e}")))
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
