//! Tools in workers of their own, on things that are really there.

#[path = "../house/mod.rs"]
mod house;
mod network;

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
    // The pipe stays open: what it has more to say would end it otherwise.
    let mut pipe = dd.0.stderr.take().expect("a pipe");
    std::io::Read::read(&mut pipe, &mut told).expect("tells");
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
