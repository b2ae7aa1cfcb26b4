//! Workers that do not come to their end by themselves.

mod house;

use aios_abi::call::Meta;
use aios_abi::tool::ToolRequest;
use aios_abi::who::Role;
use aios_abi::{CallError, ErrorCode};
use aios_toold::broker::Way;
use aios_toold::caller::Caller;
use house::{House, Workshop};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_seqpacket::UnixSeqpacketListener;

/// Until something must have happened.
const PATIENCE: Duration = Duration::from_secs(20);

/// A call that takes longer than anybody has patience.
struct Long {
    call: JoinHandle<Result<(), CallError>>,
    cancelled: Arc<Notify>,
    worker: Pid,
}

impl Long {
    async fn begin(house: &House, tool: &str, args: Value) -> Self {
        let cancelled = Arc::new(Notify::new());
        let caller = Caller { by: "test".into(), person: None, role: Role::Viewer };
        let (progress, _) = tokio::sync::mpsc::channel(1);
        let way = Way::new(caller, Meta::why("a test")).watched(progress, cancelled.clone());
        let tool = aios_toold::tool::by_name(tool).expect("a tool").number;
        let request = ToolRequest::Call { tool, args: args.to_string(), dry_run: false };
        let broker = house.broker.clone();
        let call = tokio::spawn(async move { broker.answer(way, request).await.map(drop) });
        let begun = Instant::now();
        let worker = loop {
            match house.workshop.at_work().as_slice() {
                [worker] => break Pid::from_raw(*worker).expect("a process"),
                [] => assert!(begun.elapsed() < PATIENCE && !call.is_finished(), "nobody is at work"),
                more => panic!("one worker is at work: {more:?}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        Self { call, cancelled, worker }
    }

    /// A file without content that takes hours to read.
    async fn hash(house: &House) -> Self {
        let path = house.path("long");
        std::fs::File::create(&path).and_then(|file| file.set_len(1 << 42)).expect("made");
        Self::begin(house, "fs.hash", json!({ "path": path })).await
    }
}

async fn nobody_is_at_work(house: &House) {
    let begun = Instant::now();
    while !house.workshop.at_work().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{:?} live on", house.workshop.at_work());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn the_next_call_works(house: &House) {
    let path = house.path("note");
    house.change("fs.write", json!({ "path": path, "content": "x" })).await.expect("is written");
    house.change("fs.read", json!({ "path": path })).await.expect("is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_is_told_of_and_the_next_call_has_another() {
    let house = House::new();
    let Long { call, worker, .. } = Long::hash(&house).await;
    kill_process(worker, Signal::KILL).expect("is killed");
    let error = call.await.expect("no fault").expect_err("has no result");
    assert_eq!(error.message, "fs.hash has no result: its worker: it was killed (SIGKILL)");
    nobody_is_at_work(&house).await;
    the_next_call_works(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_takes_the_worker_along() {
    let house = House::new();
    let Long { call, cancelled, .. } = Long::hash(&house).await;
    cancelled.notify_one();
    let error = call.await.expect("no fault").expect_err("is cancelled");
    assert_eq!(error.code, ErrorCode::Cancelled, "{error}");
    nobody_is_at_work(&house).await;
    the_next_call_works(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_time_is_over_is_ended() {
    let house = House::new();
    // A netd that hears and never answers.
    let _netd = UnixSeqpacketListener::bind(house.state().join("../netd.sock")).expect("binds");
    let Long { call, .. } = Long::begin(&house, "net.resolve", json!({ "name": "gateway.lan" })).await;
    let error = call.await.expect("no fault").expect_err("takes too long");
    assert_eq!(error.code, ErrorCode::Timeout, "{error}");
    nobody_is_at_work(&house).await;
    the_next_call_works(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workshop_that_was_started_again_is_found_again() {
    let mut house = House::new();
    the_next_call_works(&house).await;
    for _ in 0..3 {
        let socket = house.state().join("../workshop.sock");
        // The one before is ended when its place is taken.
        house.workshop = Workshop::start(&socket);
        the_next_call_works(&house).await;
    }
    house.verify().await.expect("is whole");
}
