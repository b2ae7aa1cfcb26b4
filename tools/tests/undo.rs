//! What a reversible tool did and took back leaves no trace: for many files, and each tool that changes them.

mod house;

use aios_abi::ErrorCode;
use aios_abi::who::Role;
use house::House;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// What can be seen of a file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    /// Extended attributes, access lists among them.
    attributes: BTreeMap<String, Vec<u8>>,
    /// Of a file: its content and when that was changed.
    content: Option<(Vec<u8>, i64, i64)>,
}

fn seen(root: &Path) -> BTreeMap<String, Seen> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("lists").flatten() {
            let (path, facts) = (entry.path(), entry.metadata().expect("is there"));
            let content = facts
                .is_file()
                .then(|| (std::fs::read(&path).expect("reads"), facts.mtime(), facts.mtime_nsec()));
            if facts.is_dir() {
                open.push(path.clone());
            }
            let owner = (facts.uid(), facts.gid());
            let attributes = attributes(&path);
            all.insert(path.display().to_string(), Seen { mode: facts.mode(), owner, attributes, content });
        }
    }
    all
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).expect("lists");
    names.truncate(length);
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).expect("text");
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).expect("is there");
            value.truncate(length);
            (name, value)
        })
        .collect()
}

/// A change to the small world of [`furnish`].
#[derive(Debug, Clone)]
enum Step {
    Write { file: usize, text: String, how: &'static str },
    Mkdir { name: u8, mode: u32 },
    Remove { name: usize },
    Move { from: usize, to: u8 },
    Chmod { name: usize, mode: u32 },
    Copy { from: usize, to: usize },
}

const NAMES: [&str; 5] = ["a", "b", "folder", "folder/c", "empty"];

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just("overwrite"), Just("append")];
    prop_oneof![
        (0..NAMES.len(), ".{0,40}", how).prop_map(|(file, text, how)| Step::Write { file, text, how }),
        (any::<u8>(), 0..=0o777_u32).prop_map(|(name, mode)| Step::Mkdir { name, mode }),
        (0..NAMES.len()).prop_map(|name| Step::Remove { name }),
        (0..NAMES.len(), any::<u8>()).prop_map(|(from, to)| Step::Move { from, to }),
        (0..NAMES.len(), 0..=0o777_u32).prop_map(|(name, mode)| Step::Chmod { name, mode }),
        (0..NAMES.len(), 0..NAMES.len() + 2).prop_map(|(from, to)| Step::Copy { from, to }),
    ]
}

impl Step {
    fn call(&self, house: &House) -> (&'static str, Value) {
        let at = |name: &str| house.path(name);
        match self {
            Self::Write { file, text, how } => {
                ("fs.write", json!({ "path": at(NAMES[*file]), "content": text, "how": how }))
            }
            Self::Mkdir { name, mode } => {
                ("fs.mkdir", json!({ "path": at(&format!("new-{name}")), "mode": format!("{mode:o}") }))
            }
            Self::Remove { name } => ("fs.remove", json!({ "path": at(NAMES[*name]) })),
            Self::Move { from, to } => {
                ("fs.move", json!({ "from": at(NAMES[*from]), "to": at(&format!("new-{to}")) }))
            }
            Self::Copy { from, to } => {
                let to = NAMES.get(*to).map_or_else(|| format!("copy-{to}"), |name| (*name).to_owned());
                ("fs.copy", json!({ "from": at(NAMES[*from]), "to": at(&to), "overwrite": true }))
            }
            Self::Chmod { name, mode } => {
                ("fs.chmod", json!({ "path": at(NAMES[*name]), "mode": format!("{mode:o}") }))
            }
        }
    }
}

/// An access list for one more user (include/uapi/linux/posix_acl_xattr.h): version 2, then tag, permissions and id.
fn access_list(mode: u32) -> Vec<u8> {
    let bits = |shift: u32| u16::try_from(mode >> shift & 7).expect("three bits");
    let entries =
        [(0x01, bits(6), !0), (0x02, 4, 1000), (0x04, bits(3), !0), (0x10, bits(3), !0), (0x20, bits(0), !0)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(permissions));
        list.extend(u32::to_le_bytes(id));
    }
    list
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).expect("is set");
}

/// Two files, a directory with a file, an empty one; all with attributes.
fn furnish(house: &House, content: &[u8], mode: u32) {
    std::fs::create_dir(house.path("folder")).expect("made");
    std::fs::create_dir(house.path("empty")).expect("made");
    set(&house.path("empty"), "user.origin", b"\0\xff any bytes");
    for (n, name) in ["a", "b", "folder/c"].into_iter().enumerate() {
        let path = house.path(name);
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        set(&path, "user.origin", name.as_bytes());
        if n == 0 {
            set(&path, "system.posix_acl_access", &access_list(mode));
        }
        let time = UNIX_EPOCH + Duration::new(1_000_000_000 + n as u64, 7_654_321);
        std::fs::File::options().write(true).open(&path).expect("opens").set_modified(time).expect("set");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn steps_that_are_taken_back_in_turn_leave_everything_as_it_was(
        content in proptest::collection::vec(any::<u8>(), 0..200),
        mode in 0..=0o777_u32,
        steps in proptest::collection::vec(step(), 1..6),
    ) {
        // Whoever has no power of root has to be let in.
        let mode = mode | 0o600;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        runtime.block_on(async {
            let house = House::new();
            furnish(&house, &content, mode);
            let root = house.path("");
            let mut done = Vec::new();
            for step in &steps {
                let before = seen(&root);
                let (tool, args) = step.call(&house);
                match house.change(tool, args).await {
                    Ok(change) => {
                        assert!(change.undoable, "{step:?}: {change:?}");
                        done.push((before, change.audit));
                    }
                    // What makes no sense there (a directory is written to) is refused, and nothing is changed.
                    Err(error) => {
                        assert_ne!(error.code, ErrorCode::Failed, "{step:?}: {error}");
                        assert_eq!(seen(&root), before, "{step:?}: {error}");
                    }
                }
            }
            for (before, audit) in done.into_iter().rev() {
                house.undo(audit).await.expect("is taken back");
                assert_eq!(seen(&root), before);
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_did_since_is_not_destroyed() {
    let house = House::new();
    furnish(&house, b"old", 0o644);
    let at = |name: &str| house.path(name);
    let moved = house.change("fs.move", json!({ "from": at("a"), "to": at("z") })).await.expect("is moved");
    let removed = house.change("fs.remove", json!({ "path": at("b") })).await.expect("is removed");
    let made = house.change("fs.mkdir", json!({ "path": at("new") })).await.expect("is made");
    let set = house.change("fs.chmod", json!({ "path": at("empty"), "mode": "0700" })).await.expect("is set");
    std::fs::write(at("a"), "somebody's").expect("written");
    std::fs::write(at("b"), "somebody's").expect("written");
    std::fs::write(at("new/file"), "somebody's").expect("written");
    std::fs::set_permissions(at("empty"), std::fs::Permissions::from_mode(0o711)).expect("set");
    let before = seen(&house.path(""));
    for (what, audit) in
        [("move", moved.audit), ("remove", removed.audit), ("mkdir", made.audit), ("chmod", set.audit)]
    {
        let error = house.undo(audit).await.expect_err("must be refused");
        assert_eq!(error.code, ErrorCode::Conflict, "{what}: {error}");
    }
    assert_eq!(seen(&house.path("")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_come_back_and_what_could_not_come_back_is_refused() {
    let house = House::new();
    furnish(&house, b"old", 0o640);
    for name in ["a", "empty"] {
        let moment = |tv_sec| rustix::fs::Timespec { tv_sec, tv_nsec: 1_234_567 };
        let times = rustix::fs::Timestamps {
            last_access: moment(1_100_000_000),
            last_modification: moment(1_000_000_000),
        };
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::utimensat(rustix::fs::CWD, house.path(name), &times, flags).expect("are set");
        let before = times_of(&house.path(name));
        let removed =
            house.change("fs.remove", json!({ "path": house.path(name) })).await.expect("is removed");
        house.undo(removed.audit).await.expect("is taken back");
        assert_eq!(times_of(&house.path(name)), before, "{name}");
    }

    // Somebody else's attribute is not lost either.
    let written = house
        .change("fs.write", json!({ "path": house.path("a"), "content": "new" }))
        .await
        .expect("is written");
    set(&house.path("a"), "user.mine", b"1");
    let error = house.undo(written.audit).await.expect_err("somebody's");
    assert_eq!(error.code, ErrorCode::Conflict, "{error}");
    // Version 2 with no capability (include/uapi/linux/capability.h): only root may set it, and a worker is not root.
    let mut none = 0x0200_0000_u32.to_le_bytes().to_vec();
    none.extend([0; 16]);
    set(&house.path("b"), "security.capability", &none);
    for (tool, args) in [
        ("fs.write", json!({ "path": house.path("b"), "content": "x" })),
        ("fs.remove", json!({ "path": house.path("b") })),
        ("fs.chmod", json!({ "path": house.path("b"), "uid": 7 })),
        ("fs.copy", json!({ "from": house.path("b"), "to": house.path("c") })),
    ] {
        let error = house.change(tool, args).await.expect_err("must be refused");
        assert_eq!(error.code, ErrorCode::Denied, "{tool}: {error}");
    }
}

fn times_of(path: &Path) -> [(i64, i64); 2] {
    let facts = std::fs::metadata(path).expect("is there");
    [(facts.atime(), facts.atime_nsec()), (facts.mtime(), facts.mtime_nsec())]
}

/// What can be seen outside of the directory of snapshots.
fn seen_beside(house: &House) -> BTreeMap<String, Seen> {
    let aside = house.path("backup").display().to_string();
    seen(&house.path("")).into_iter().filter(|(path, _)| !path.starts_with(&aside)).collect()
}

/// A snapshot of what [`furnish`] made, by an administrator, whom nothing is hidden from.
async fn save(house: &House, name: &str) -> aios_abi::tool::CallDone {
    let _ = std::fs::create_dir(house.path("backup"));
    let paths: Vec<_> = ["a", "b", "folder", "empty"].map(|name| house.path(name)).into();
    let args = json!({ "paths": paths, "name": name, "folder": house.path("backup") });
    house.call(Role::Admin, "a test", "backup.snapshot", args).await.expect("is saved")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn a_snapshot_brings_back_everything_and_its_undo_what_was_there(
        content in proptest::collection::vec(any::<u8>(), 0..2000),
        mode in 0..=0o777_u32,
        steps in proptest::collection::vec(step(), 0..4),
        later in proptest::collection::vec(step(), 0..4),
    ) {
        let mode = mode | 0o600;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        runtime.block_on(async {
            let house = House::new();
            furnish(&house, &content, mode);
            let link = house.path("folder/link");
            std::os::unix::fs::symlink("/nowhere/at all", &link).expect("made");
            let long = house.path(&format!("folder/{}", "long ".repeat(40)));
            std::fs::write(&long, "\n").expect("written");
            std::fs::create_dir(house.path("backup")).expect("made");
            let first = seen_beside(&house);
            save(&house, "all").await;
            for step in &steps {
                let (tool, args) = step.call(&house);
                let _ = house.change(tool, args).await;
            }
            let before = seen_beside(&house);
            let args = json!({ "name": "all", "folder": house.path("backup") });
            let restored = house.change("backup.restore", args).await.expect("is restored");
            let then = seen_beside(&house);
            for (path, seen) in &first {
                assert_eq!(then.get(path), Some(seen), "{path}");
            }
            assert_eq!(std::fs::read_link(&link).expect("a link"), Path::new("/nowhere/at all"));
            // What was done since and taken back is nobody's loss.
            let mut done = Vec::new();
            for step in &later {
                let (tool, args) = step.call(&house);
                done.extend(house.change(tool, args).await.map(|change| change.audit));
            }
            for audit in done.into_iter().rev() {
                house.undo(audit).await.expect("is taken back");
            }
            house.undo(restored.audit).await.expect("is taken back");
            assert_eq!(seen_beside(&house), before);
            assert_eq!(std::fs::read_dir(house.path("backup/undo")).expect("lists").count(), 0);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_listed_proved_and_read_by_others_and_a_damaged_one_changes_nothing() {
    let house = House::new();
    let content: Vec<u8> = (0..100_000_u64).map(|n| (n * n % 251) as u8).collect();
    furnish(&house, &content, 0o644);
    std::fs::create_dir(house.path("secret")).expect("made");
    std::fs::write(house.path("secret/key"), "k").expect("written");
    let saved = save(&house, "one").await;
    let saved: Value = serde_json::from_str(&saved.result).expect("JSON");
    assert_eq!((&saved["files"], &saved["left_out"]), (&json!(3), &json!(0)), "{saved}");
    let folder = house.path("backup");
    let look = |tool: &'static str, args: Value| house.call(Role::Viewer, "", tool, args);
    let listed = look("backup.list", json!({ "folder": folder })).await.expect("lists");
    assert!(listed.summary.starts_with("1 snapshots"), "{}", listed.summary);
    let whole = look("backup.verify", json!({ "name": "one", "folder": folder })).await.expect("is whole");
    assert!(whole.summary.contains(saved["blake3"].as_str().expect("a hash")), "{}", whole.summary);
    // Another program reads it.
    std::fs::create_dir(house.path("elsewhere")).expect("made");
    let tar = std::process::Command::new("tar")
        .arg("-xzf")
        .arg(folder.join("one.tar.gz"))
        .arg("-C")
        .arg(house.path("elsewhere"))
        .status();
    assert!(tar.expect("tar is there").success());
    let there = house.path("folder/c");
    let copy = house.path("elsewhere").join(there.strip_prefix("/").expect("absolute"));
    assert_eq!(std::fs::read(&copy).expect("reads"), content);
    let sums = std::fs::read_to_string(house.path("elsewhere/aios-backup.b3sums")).expect("reads");
    let hash = blake3::hash(&content).to_hex().to_string();
    let sums_of = sums.lines().filter(|line| line.starts_with(&format!("{hash}  "))).count();
    assert_eq!((sums_of, sums.lines().count()), (3, 3), "{sums}");
    // One file of it, and of that no neighbour.
    std::fs::write(&there, "new").expect("written");
    std::fs::write(house.path("a"), "new").expect("written");
    let args = json!({ "name": "one", "path": there, "folder": folder });
    let restored = house.change("backup.restore", args).await.expect("is restored");
    assert_eq!(std::fs::read(&there).expect("reads").len(), 100_000);
    assert_eq!(std::fs::read(house.path("a")).expect("reads"), b"new");
    // What somebody did since is not destroyed.
    std::fs::write(&there, "newer").expect("written");
    assert_eq!(house.undo(restored.audit).await.expect_err("is new").code, ErrorCode::Conflict);
    // A flipped bit is found before anything changes.
    let path = folder.join("one.tar.gz");
    let mut bytes = std::fs::read(&path).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, bytes).expect("written");
    let before = seen_beside(&house);
    let error = look("backup.verify", json!({ "name": "one", "folder": folder })).await.expect_err("damaged");
    assert!(error.message.contains("damaged"), "{error}");
    let error = house.change("backup.restore", json!({ "name": "one", "folder": folder })).await;
    assert!(error.expect_err("damaged").message.contains("damaged"));
    assert_eq!(seen_beside(&house), before);
    // What is not to come back does not, whoever wrote the snapshot.
    for (path, role) in [("secret", Role::Admin), ("kept", Role::Admin), ("config/x", Role::Operator)] {
        let args = json!({ "name": "one", "path": house.path(path), "folder": folder });
        let error = house.call(role, "a test", "backup.restore", args).await.expect_err(path);
        assert_eq!(error.code, ErrorCode::Denied, "{path}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_taken_back_or_removed_is_gone_and_none_is_replaced() {
    let house = House::new();
    furnish(&house, b"x", 0o644);
    let saved = save(&house, "one").await;
    let folder = house.path("backup");
    let again = json!({ "paths": [house.path("a")], "name": "one", "folder": folder });
    assert_eq!(house.change("backup.snapshot", again).await.expect_err("is there").code, ErrorCode::Conflict);
    house.undo(saved.audit).await.expect("is taken back");
    assert_eq!(std::fs::read_dir(&folder).expect("lists").count(), 0);
    save(&house, "two").await;
    let remove = json!({ "name": "two", "folder": folder });
    assert_eq!(
        house.change("backup.remove", remove.clone()).await.expect_err("admin").code,
        ErrorCode::Denied
    );
    house.call(Role::Admin, "a test", "backup.remove", remove).await.expect("is removed");
    assert_eq!(std::fs::read_dir(&folder).expect("lists").count(), 0);
    for name in ["n-1", "other", "n-2", "n-3"] {
        save(&house, name).await;
    }
    let prune = json!({ "keep": 1, "prefix": "n-", "folder": folder });
    let pruned = house.call(Role::Admin, "a test", "backup.prune", prune).await.expect("is pruned");
    assert!(pruned.result.contains(r#"["n-1","n-2"]"#), "{}", pruned.result);
    assert_eq!(std::fs::read_dir(&folder).expect("lists").count(), 2);
    let outside = json!({ "paths": ["/etc"], "folder": folder });
    assert_eq!(
        house.change("backup.snapshot", outside).await.expect_err("the image").code,
        ErrorCode::Invalid
    );
    std::fs::create_dir(house.path("secret")).expect("made");
    let secret = json!({ "paths": [house.path("secret")], "folder": folder });
    assert_eq!(house.change("backup.snapshot", secret).await.expect_err("secret").code, ErrorCode::Denied);
}

/// The schedule as it is on the disk, without what changes with the time.
fn planned(house: &House) -> Value {
    let text = std::fs::read(house.state().join("schedule.json")).unwrap_or_else(|_| b"{}".to_vec());
    let mut all: Value = serde_json::from_slice(&text).expect("JSON");
    for item in all.as_object_mut().expect("an object").values_mut() {
        item["past"]["since"] = Value::Null;
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn changes_of_the_schedule_that_are_taken_back_in_turn_leave_it_as_it_was(
        steps in proptest::collection::vec((0..4_usize, 0..2_usize, 0..24_u8), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        runtime.block_on(async {
            let house = House::new();
            let entry = |name: &str, hour| json!({
                "name": name, "at": format!("0 {hour} * * *"), "tool": "fs.stat",
                "arguments": json!({ "path": "/tmp" }).to_string(), "purpose": "a test",
            });
            house.change("schedule.add", entry("zero", 3)).await.expect("is added");
            let mut done = Vec::new();
            for (verb, which, hour) in steps {
                let before = planned(&house);
                let name = ["zero", "one"][which];
                let args = if verb == 0 { entry(name, hour) } else { json!({ "name": name }) };
                let tool = ["schedule.add", "schedule.remove", "schedule.enable", "schedule.disable"][verb];
                match house.change(tool, args).await {
                    Ok(change) => done.push((before, change.audit)),
                    // What is there is not added, what is not there not removed.
                    Err(error) => {
                        assert!(matches!(error.code, ErrorCode::Conflict | ErrorCode::NotFound), "{error}");
                        assert_eq!(planned(&house), before);
                    }
                }
            }
            for (before, audit) in done.into_iter().rev() {
                house.undo(audit).await.expect("is taken back");
                assert_eq!(planned(&house), before);
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_done_as_who_planned_it_once_and_a_stricter_role_is_heeded() {
    let house = House::new();
    let write = |name: &str, to: &str| {
        json!({
            "name": name, "at": "0 3 * * *", "tool": "fs.write", "purpose": "a test", "catch_up": true,
            "arguments": json!({ "path": house.path(to), "content": "planned", "how": "append" }).to_string(),
        })
    };
    let add = house.change("schedule.add", write("one", "done")).await.expect("is added");
    assert!(add.undoable && add.summary.starts_with("one runs, next in "), "{}", add.summary);
    house.change("schedule.add", write("two", "config/done")).await.expect("is added");
    let not_for_operators = json!({ "name": "three", "at": "0 3 * * *", "tool": "policy.set", "arguments": "{\"document\":\"\"}", "purpose": "x" });
    let refused = house.change("schedule.add", not_for_operators).await.expect_err("is refused");
    assert_eq!(refused.code, ErrorCode::Denied);
    let result = house.path("done");
    // Three days ago it was switched off.
    let house = house.restart(|dir| {
        let path = dir.join("state/schedule.json");
        let mut all: Value = serde_json::from_slice(&std::fs::read(&path).expect("reads")).expect("JSON");
        for item in all.as_object_mut().expect("an object").values_mut() {
            item["past"]["since"] = json!(item["past"]["since"].as_u64().expect("a time") - 3 * 86_400);
        }
        std::fs::write(&path, all.to_string()).expect("written");
    });
    let begun = std::time::Instant::now();
    aios_toold::schedule::run::keep(&house.broker).expect("starts");
    let ended = loop {
        let all = planned(&house);
        let ended = |name: &str| all[name]["past"]["ended"].is_u64();
        if ended("one") && ended("two") {
            break all;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{all}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(std::fs::read_to_string(&result).expect("was written"), "planned", "once");
    let (one, two) = (&ended["one"]["past"], &ended["two"]["past"]);
    assert_eq!((&one["runs"], &one["error"], &one["failed"]), (&json!(1), &Value::Null, &json!(0)));
    assert!(two["error"].as_str().expect("failed").contains("config"), "{two}");
    // The chain knows why, and as whom.
    let records = house.records().await;
    let why = |record: &aios_abi::audit::Record| match &record.entry {
        aios_abi::audit::Entry::Begin { call, .. } if call.tool == "fs.write" => Some(call.why.clone()),
        _ => None,
    };
    assert_eq!(records.iter().find_map(why).as_deref(), Some("schedule one: a test"));
}
