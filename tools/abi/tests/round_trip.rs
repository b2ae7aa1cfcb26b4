//! Client and server over a real socket.
#![cfg(feature = "tokio")]

use aios_abi::call::{Meta, Protocol};
use aios_abi::client::{Client, Next};
use aios_abi::server::{Context, Handler, serve};
use aios_abi::{CallError, ErrorCode, frame};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

struct Echo;
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    Back(String),
    Long(usize),
    Never,
    Count(u32),
    Who,
}

impl Protocol for Echo {
    type Request = Ask;
    type Event = u32;
    type Reply = String;
    const SOCKET: &'static str = "/nowhere";
    const SERVER: &'static str = "echo";
}

struct Server;
impl Handler<Echo> for Server {
    async fn handle(self: Arc<Self>, context: Context<Echo>, request: Ask) -> Result<String, CallError> {
        match request {
            Ask::Back(text) => Ok(text),
            Ask::Long(length) => Ok("x".repeat(length)),
            Ask::Never => std::future::pending().await,
            Ask::Count(to) => {
                for n in 0..to {
                    context.send(n).await?;
                }
                Ok("done".into())
            }
            Ask::Who => Ok(format!("{}", context.peer.pid)),
        }
    }
}

fn start() -> (Client<Echo>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let listener = UnixSeqpacketListener::bind(&path).expect("binds");
    tokio::spawn(serve(listener, Arc::new(Server)));
    (Client::at(&path), dir)
}

#[tokio::test]
async fn a_call_comes_back_and_many_share_a_connection() {
    let (client, _dir) = start();
    let calls = (0..32).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { client.call(Meta::default(), Ask::Back(n.to_string())).await })
    });
    for (n, call) in calls.enumerate() {
        assert_eq!(call.await.expect("joins"), Ok(n.to_string()));
    }
    let pid = client.call(Meta::default(), Ask::Who).await.expect("answers");
    assert_eq!(pid, std::process::id().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gives_up_while_it_reads_for_others_leaves_that_to_one_of_them() {
    let (client, _dir) = start();
    for round in 0..50_u32 {
        let calls = (0..16_u32).map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                if n % 2 == 0 {
                    let mut never = client.start(Meta::default(), Ask::Never).await.expect("starts");
                    let patience = std::time::Duration::from_micros(u64::from(n * 40 + round));
                    assert!(tokio::time::timeout(patience, never.next()).await.is_err());
                    return;
                }
                let meta = Meta::default().deadline_ms(20_000);
                let call = client.start(meta, Ask::Count(10)).await.expect("starts");
                assert_eq!(call.finish(|_| {}).await.as_deref(), Ok("done"));
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.expect("is answered");
        }
    }
}

#[tokio::test]
async fn a_server_that_was_started_again_is_found_again_by_the_next_call() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let client = Client::<Echo>::at(&path);
    for round in 0..5 {
        let _ = std::fs::remove_file(&path);
        let runtime = std::thread::spawn({
            let path = path.clone();
            move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
                let listener = {
                    let _inside = runtime.enter();
                    UnixSeqpacketListener::bind(&path).expect("binds")
                };
                let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
                let serving = std::thread::spawn(move || {
                    runtime.block_on(async {
                        tokio::select! { _ = serve(listener, Arc::new(Server)) => {}, _ = stopped => {} }
                    });
                });
                (stop, serving)
            }
        });
        let (stop, serving) = runtime.join().expect("starts");
        let text = round.to_string();
        assert_eq!(client.call(Meta::default(), Ask::Back(text.clone())).await, Ok(text));
        stop.send(()).expect("is told");
        serving.join().expect("ends");
    }
}

#[tokio::test]
async fn one_user_has_so_many_connections_and_hears_why_there_are_no_more() {
    let (client, dir) = start();
    let mut others = Vec::new();
    for n in 0..64 {
        let other = Client::<Echo>::at(dir.path().join("s"));
        assert!(other.call(Meta::default(), Ask::Who).await.is_ok(), "{n}");
        others.push(other);
    }
    let error = client.call(Meta::default(), Ask::Who).await.expect_err("too many");
    assert_eq!(error.code, ErrorCode::Busy, "{error}");
    others.pop();
    // The server hears of a connection that was closed a moment later.
    while client.call(Meta::default(), Ask::Who).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_long_reply_travels_as_a_sealed_memory_file() {
    let (client, _dir) = start();
    for length in [frame::MAX_PACKET - 64, frame::MAX_PACKET, 3_000_000] {
        let text = client.call(Meta::default(), Ask::Long(length)).await.expect("answers");
        assert_eq!(text.len(), length);
    }
}

#[tokio::test]
async fn events_arrive_in_order_before_the_reply() {
    let (client, _dir) = start();
    let mut seen = Vec::new();
    let call = client.start(Meta::default(), Ask::Count(500)).await.expect("starts");
    let reply = call.finish(|n| seen.push(n)).await;
    assert_eq!(reply.as_deref(), Ok("done"));
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_deadline_and_a_dropped_call_end_the_work() {
    let (client, _dir) = start();
    let error = client.call(Meta::why("t").deadline_ms(20), Ask::Never).await.expect_err("late");
    assert_eq!(error.code, ErrorCode::Timeout);
    // More than a connection may have open, one after the other: each drop makes room.
    for _ in 0..200 {
        drop(client.start(Meta::default(), Ask::Never).await.expect("starts"));
        assert_eq!(client.call(Meta::default(), Ask::Back("a".into())).await.as_deref(), Ok("a"));
    }
}

#[tokio::test]
async fn an_oversized_or_broken_packet_gets_a_clear_error_and_the_connection_lives() {
    let (client, dir) = start();
    let raw = UnixSeqpacket::connect(dir.path().join("s")).await.expect("connects");
    let mut buffer = vec![0; 65536];
    for (packet, says) in [
        (vec![1; frame::MAX_PACKET + 100], "longer than"),
        (vec![9, 0, 0], "version 9"),
        (vec![frame::VERSION, 0xff, 0xff, 0xff], "not a valid message"),
    ] {
        raw.send(&packet).await.expect("sends");
        let length = raw.recv(&mut buffer).await.expect("answers").bytes_read();
        let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(said.contains(says), "{said:?} should say {says:?}");
    }
    assert_eq!(client.call(Meta::default(), Ask::Back("b".into())).await.as_deref(), Ok("b"));
}

#[tokio::test]
async fn too_many_open_requests_are_refused_not_queued_for_ever() {
    let (client, _dir) = start();
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(client.start(Meta::default(), Ask::Never).await.expect("starts"));
    }
    let error = client.call(Meta::default(), Ask::Back("c".into())).await.expect_err("busy");
    assert_eq!(error.code, ErrorCode::Busy);
    let Next::Reply(Err(_)) = held.remove(0).next_or_cancel().await else { panic!("no reply expected") };
}

trait NextOrCancel {
    async fn next_or_cancel(self) -> Next<Echo>;
}
impl NextOrCancel for aios_abi::client::Call<Echo> {
    async fn next_or_cancel(self) -> Next<Echo> {
        drop(self);
        Next::Reply(Err(CallError::new(ErrorCode::Cancelled, "")))
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let client = Client::<Echo>::at("/nonexistent/socket");
    let error = client.call(Meta::default(), Ask::Who).await.expect_err("nobody there");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("echo cannot be reached at /nonexistent/socket"));
}
