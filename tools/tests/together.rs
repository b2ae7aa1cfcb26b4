//! Several changes as one: all of them or none, and taken back as one.

mod house;

use aios_abi::tool::{CallDone, Step, ToolReply, ToolRequest};
use aios_abi::who::Role;
use aios_abi::{CallError, ErrorCode};
use house::House;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn step(tool: &str, args: &Value) -> Step {
    let tool = aios_toold::tool::by_name(tool).expect("a tool").number;
    Step { tool, args: args.to_string() }
}

async fn together(house: &House, steps: Vec<Step>) -> Result<CallDone, CallError> {
    match house.ask(Role::Operator, "a test", ToolRequest::Together { steps }).await? {
        ToolReply::Done(done) => Ok(done),
        other => panic!("not the end of a call: {other:?}"),
    }
}

/// Names, permissions and contents of all below.
fn state(at: &Path) -> BTreeMap<String, (u32, Option<Vec<u8>>)> {
    use std::os::unix::fs::MetadataExt;
    let mut all = BTreeMap::new();
    let mut waiting = vec![at.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).expect("lists").flatten() {
            let facts = entry.metadata().expect("is there");
            let content = facts.is_file().then(|| std::fs::read(entry.path()).expect("reads"));
            all.insert(entry.path().display().to_string(), (facts.mode(), content));
            if facts.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    all
}

#[tokio::test]
async fn all_are_made_and_taken_back_as_one() {
    let house = House::new();
    let (folder, file) = (house.path("site"), house.path("site/index.html"));
    let before = state(&house.path(""));
    let steps = vec![
        step("fs.mkdir", &json!({ "path": folder })),
        step("fs.write", &json!({ "path": file, "content": "hello" })),
        step("fs.chmod", &json!({ "path": file, "mode": "0600" })),
    ];
    let done = together(&house, steps).await.expect("is made");
    let results: Value = serde_json::from_str(&done.result).expect("is JSON");
    assert_eq!(results.as_array().map(Vec::len), Some(3));
    assert_eq!(std::fs::read(&file).expect("is there"), b"hello");
    assert!(done.undoable);
    house.undo(done.audit).await.expect("is taken back");
    assert_eq!(state(&house.path("")), before);
    let again = house.undo(done.audit).await.expect_err("once");
    assert_eq!(again.code, ErrorCode::Conflict);
    house.verify().await.expect("the chain is whole");
}

#[tokio::test]
async fn when_one_fails_nothing_is_left_of_the_others() {
    let house = House::new();
    let (folder, file) = (house.path("d"), house.path("kept/x"));
    let before = state(&house.path(""));
    let steps = vec![
        step("fs.mkdir", &json!({ "path": folder })),
        step("fs.write", &json!({ "path": folder.join("a"), "content": "x" })),
        step("fs.write", &json!({ "path": file, "content": "x" })),
    ];
    let error = together(&house, steps).await.expect_err("the third is refused");
    assert!(error.message.starts_with("step 3 of 3 (fs.write): "), "{error}");
    assert!(error.message.ends_with("; all of it was taken back"), "{error}");
    assert_eq!(state(&house.path("")), before);
    assert_eq!(std::fs::read_dir(house.state().join("undo")).expect("lists").count(), 0);
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_no_part_of_it() {
    let house = House::new();
    let mkdir = || step("fs.mkdir", &json!({ "path": house.path("d") }));
    let table = [
        (vec![], "0 changes cannot be made together"),
        (
            vec![mkdir(), step("service.restart", &json!({ "name": "x" }))],
            "service.restart cannot be taken back",
        ),
        (vec![mkdir(), step("fs.read", &json!({ "path": "/etc/passwd" }))], "fs.read changes nothing"),
        (vec![mkdir(), Step { tool: 9999, args: "{}".into() }], "there is no tool with the number 9999"),
        (vec![mkdir(), step("policy.set", &json!({ "document": "" }))], "policy.set needs the role admin"),
        (vec![mkdir(); 33], "33 changes cannot be made together"),
    ];
    for (steps, part) in table {
        let error = together(&house, steps).await.expect_err(part);
        assert!(error.message.contains(part), "{error}");
        assert!(!house.path("d").exists(), "{part}");
    }
}

/// Steps over a handful of names, some of which cannot be done.
fn steps() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    prop::collection::vec((0..6_u8, 0..4_u8, 0..4_u8), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_the_steps_are_it_is_all_or_nothing(steps in steps()) {
        let runtime = tokio::runtime::Runtime::new().expect("starts");
        runtime.block_on(async {
            let house = House::new();
            let path = |n: u8| house.path(["a", "b", "a/c", "d"][usize::from(n)]);
            house.change("fs.write", json!({ "path": path(1), "content": "first" })).await.expect("is there");
            let before = state(&house.path(""));
            let steps: Vec<Step> = steps
                .into_iter()
                .map(|(what, one, other)| match what {
                    0 => step("fs.mkdir", &json!({ "path": path(one) })),
                    1 | 2 => step("fs.write", &json!({ "path": path(one), "content": format!("{other}") })),
                    3 => step("fs.remove", &json!({ "path": path(one) })),
                    4 => step("fs.move", &json!({ "from": path(one), "to": path(other) })),
                    _ => step("fs.chmod", &json!({ "path": path(one), "mode": format!("07{other}0") })),
                })
                .collect();
            match together(&house, steps).await {
                Ok(done) => {
                    house.undo(done.audit).await.expect("is taken back");
                    assert_eq!(state(&house.path("")), before);
                }
                Err(error) => {
                    assert!(error.message.ends_with("all of it was taken back"), "{error}");
                    assert_eq!(state(&house.path("")), before);
                }
            }
        });
    }
}
