//! The audit chain on a disk that somebody tampers with, or that fails.

mod house;

use aios_abi::audit::{Entry, Hash, Outcome, Record};
use aios_abi::{ErrorCode, who::Role};
use house::House;
use redb::{Database, ReadableTable, TableDefinition};
use serde_json::json;
use std::path::Path;

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

async fn some_records() -> House {
    let house = House::new();
    for n in 0..6 {
        let path = house.path(&n.to_string());
        house.change("fs.write", json!({ "path": path, "content": "x" })).await.expect("is written");
    }
    house
}

/// Change the records of the chain at rest, as somebody with the disk in hand would.
fn tamper(dir: &Path, change: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>)) {
    let database = Database::open(dir.join("state/audit.redb")).expect("opens");
    let write = database.begin_write().expect("begins");
    change(&mut write.open_table(RECORDS).expect("a table"));
    write.commit().expect("is written");
}

fn record(table: &redb::Table<'_, u64, &[u8]>, seq: u64) -> Record {
    postcard::from_bytes(table.get(seq).expect("reads").expect("is there").value()).expect("decodes")
}

fn put(table: &mut redb::Table<'_, u64, &[u8]>, at: u64, record: &Record) {
    table.insert(at, postcard::to_stdvec(record).expect("encodes").as_slice()).expect("is put");
}

fn with_another_reason(mut entry: Entry) -> Entry {
    match &mut entry {
        Entry::Begin { call, .. } => call.why = "something else".into(),
        Entry::End { outcome, .. } => *outcome = Outcome::Interrupted,
        other => panic!("{other:?}"),
    }
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_record_is_named() {
    let house = some_records().await.restart(|dir| {
        tamper(dir, |table| {
            let mut altered = record(table, 3);
            altered.entry = with_another_reason(altered.entry);
            put(table, 3, &altered);
        });
    });
    let error = house.verify().await.expect_err("must be found");
    assert_eq!(error.code, ErrorCode::Failed);
    assert!(error.message.contains("record 3 was altered"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_forged_with_a_fitting_hash_or_removed_is_named() {
    let house = some_records().await.restart(|dir| {
        tamper(dir, |table| {
            let old = record(table, 4);
            let before = record(table, 3);
            put(table, 4, &Record::new(Some((3, before.hash)), old.time_ms, with_another_reason(old.entry)));
        });
    });
    let error = house.verify().await.expect_err("must be found");
    assert!(error.message.contains("record 5 does not follow"), "{error}");
    let house = house.restart(|dir| tamper(dir, |table| drop(table.remove(2).expect("is removed"))));
    let error = house.verify().await.expect_err("must be found");
    assert!(error.message.contains("record 2 is missing"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_cut_is_kept_aside_and_the_new_one_says_so() {
    let house = some_records().await.restart(|dir| {
        tamper(dir, |table| {
            let last = table.last().expect("reads").expect("is there").0.value();
            table.remove(last).expect("is removed");
        });
    });
    let records = house.records().await;
    let Some(Entry::Opened { version, .. }) = records.first().map(|r| &r.entry) else {
        panic!("{records:?}")
    };
    assert!(version.contains("new chain"), "{version}");
    let kept = version.rsplit(' ').next().expect("a name");
    assert!(house.state().join(kept).is_file(), "{kept}");
    let report = house.change("sec.audit", json!({})).await.expect("looks");
    assert!(report.result.contains("the chain before this one was damaged"), "{}", report.result);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_chain_does_not_stop_the_broker() {
    for bytes in [&b"rubbish"[..], &[0; 100_000], &[0xff; 5_000]] {
        let house = some_records().await.restart(|dir| {
            std::fs::write(dir.join("state/audit.redb"), bytes).expect("written");
        });
        house.verify().await.expect("a new chain is whole");
        house.change("fs.write", json!({ "path": house.path("0"), "content": "y" })).await.expect("works");
    }
    // Bytes overturned in the middle of a good one.
    let house = some_records().await.restart(|dir| {
        let path = dir.join("state/audit.redb");
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes.iter_mut().skip(4_096).step_by(97).for_each(|byte| *byte ^= 0x55);
        std::fs::write(&path, bytes).expect("written");
    });
    house.change("time.now", json!({})).await.expect("works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_broker_does_not_take_the_chain_of_the_first() {
    let house = some_records().await;
    let error = house::open(house.state().parent().expect("a parent")).err().expect("is in use");
    assert_eq!(error.code, ErrorCode::Conflict, "{error}");
    house.verify().await.expect("is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_machine_did_not_survive_is_told_at_the_next_start() {
    let house = some_records().await;
    let last = house.records().await.last().map(|r| (r.seq, r.hash)).expect("a record");
    let begun =
        house.records().await.into_iter().find(|r| matches!(r.entry, Entry::Begin { .. })).expect("one");
    let house = house.restart(|dir| {
        let database = Database::open(dir.join("state/audit.redb")).expect("opens");
        let open: TableDefinition<'_, u64, ()> = TableDefinition::new("open");
        let write = database.begin_write().expect("begins");
        write.open_table(open).expect("a table").insert(begun.seq, ()).expect("is put");
        write.commit().expect("is written");
    });
    let records = house.records().await;
    let told =
        |r: &Record| matches!(&r.entry, Entry::End { of, outcome: Outcome::Interrupted } if *of == begun.seq);
    assert_eq!(records.iter().filter(|r| r.seq > last.0 && told(r)).count(), 1, "{records:#?}");
    assert_ne!(last.1, Hash::default());
    house.verify().await.expect("is whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_cannot_be_opened_stops_changes_and_nobody_from_looking() {
    let house = some_records().await.restart(|dir| {
        // A directory in its place answers as a broken disk does: with an error that is no damage.
        let chain = dir.join("state/audit.redb");
        std::fs::rename(&chain, dir.join("aside")).expect("moved");
        std::fs::create_dir(&chain).expect("made");
    });
    house.change("disk.usage", json!({})).await.expect("looks");
    let write = json!({ "path": house.path("late"), "content": "x" });
    let error = house.change("fs.write", write.clone()).await.expect_err("must be refused");
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    assert!(!house.path("late").exists());
    // The disk is back: what had to wait is written first.
    let chain = house.state().join("audit.redb");
    std::fs::remove_dir(&chain).expect("removed");
    std::fs::rename(house.state().join("../aside"), &chain).expect("moved");
    house.change("fs.write", write).await.expect("is written");
    let records = house.records().await;
    let looked = |r: &Record| matches!(&r.entry, Entry::Call { call, .. } if call.tool == "disk.usage");
    assert_eq!(records.iter().filter(|r| looked(r)).count(), 1);
    house.verify().await.expect("is whole");
    assert!(house.call(Role::Viewer, "", "time.now", json!({})).await.is_ok());
}
