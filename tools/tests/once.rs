//! A change that is asked for again under its key is made once.

mod house;

use aios_abi::ErrorCode;
use aios_abi::audit::Entry;
use aios_abi::tool::{Step, ToolRequest};
use futures_util::future::join_all;
use house::House;
use serde_json::json;
use std::path::Path;

fn write(path: &Path, content: &str) -> ToolRequest {
    let tool = aios_toold::tool::by_name("fs.write").expect("a tool").number;
    ToolRequest::Call { tool, args: json!({ "path": path, "content": content }).to_string(), dry_run: false }
}

async fn begun(house: &House) -> usize {
    house.records().await.iter().filter(|record| matches!(record.entry, Entry::Begin { .. })).count()
}

#[tokio::test]
async fn asked_again_it_is_answered_as_the_first_time_and_not_made() {
    let house = House::new();
    let path = house.path("note");
    let first = house.ask_once("test", "k-1", write(&path, "a")).await.expect("is made");
    assert!(!first.repeated);
    std::fs::write(&path, "somebody else's").expect("writes");
    let again = house.ask_once("test", "k-1", write(&path, "a")).await.expect("is answered");
    assert!(again.repeated);
    assert_eq!((again.audit, again.result, again.summary), (first.audit, first.result, first.summary));
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "somebody else's");
    assert_eq!(begun(&house).await, 1);
    // The same key of somebody else is another one.
    house.ask_once("other", "k-1", write(&path, "b")).await.expect("is made");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "b");
    let house = house.restart(|_| {});
    let after = house.ask_once("test", "k-1", write(&path, "a")).await.expect("is answered");
    assert!(after.repeated);
    assert_eq!(begun(&house).await, 2);
}

#[tokio::test]
async fn a_key_is_for_one_request() {
    let house = House::new();
    let path = house.path("note");
    let first = house.ask_once("test", "k", write(&path, "a")).await.expect("is made");
    let other = house.ask_once("test", "k", write(&path, "b")).await.expect_err("something else");
    assert_eq!(other.code, ErrorCode::Conflict);
    assert!(other.message.contains(&format!("record {}", first.audit)), "{other}");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "a");
    for key in ["", "two words", "\u{e9}", &"x".repeat(65)] {
        let error = house.ask_once("test", key, write(&path, "c")).await.expect_err("no key");
        assert_eq!(error.code, ErrorCode::Invalid, "{key:?}");
    }
}

#[tokio::test]
async fn what_was_refused_before_it_began_may_be_tried_again() {
    let house = House::new();
    let path = house.path("folder/note");
    house.ask_once("test", "k", write(&path, "a")).await.expect_err("no such directory");
    std::fs::create_dir(house.path("folder")).expect("made");
    let done = house.ask_once("test", "k", write(&path, "a")).await.expect("is made");
    assert!(!done.repeated);
}

#[tokio::test]
async fn several_changes_have_one_key() {
    let house = House::new();
    let steps = || {
        let tool = aios_toold::tool::by_name("fs.mkdir").expect("a tool").number;
        let step = |name| Step { tool, args: json!({ "path": house.path(name) }).to_string() };
        ToolRequest::Together { steps: vec![step("a"), step("b")] }
    };
    let first = house.ask_once("test", "k", steps()).await.expect("are made");
    let again = house.ask_once("test", "k", steps()).await.expect("are answered");
    assert_eq!((first.repeated, again.repeated, again.audit), (false, true, first.audit));
}

#[tokio::test]
async fn of_many_at_once_one_is_made() {
    let house = House::new();
    let path = house.path("note");
    let calls = (0..12).map(|_| house.ask_once("test", "k", write(&path, "a")));
    let answers = join_all(calls).await;
    let (made, others): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.as_ref().is_ok_and(|done| !done.repeated));
    assert_eq!(made.len(), 1);
    for other in others {
        assert!(
            matches!(&other, Ok(done) if done.repeated)
                || other.is_err_and(|e| e.code == ErrorCode::Conflict)
        );
    }
    assert_eq!(begun(&house).await, 1);
}
