use super::*;
use crate::Cost;
use aios_abi::engine::{Generate, ModelInfo};
use clap::Parser;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Writes "tick" in turn for all that ask, two at once.
#[derive(Default)]
struct Clock {
    left: std::collections::BTreeMap<u64, (u32, u32)>,
}

impl Engine for Clock {
    fn info(&self) -> ModelInfo {
        ModelInfo {
            name: "clock".into(),
            parameters: 0,
            context: 0,
            dimensions: 0,
            threads: 1,
            slots: 2,
            adapter: None,
            reads: Vec::new(),
            budget: None,
            offload: None,
        }
    }

    fn begin(&mut self, id: u64, work: Work) -> Result<Begun, CallError> {
        let Work::Generate(request) = &work else { return Err(CallError::invalid("a clock only ticks")) };
        if self.left.len() == 2 {
            return Ok(Begun::Later(work));
        }
        self.left.insert(id, (request.max_tokens, request.max_tokens));
        Ok(Begun::Yes)
    }

    fn end(&mut self, id: u64) {
        self.left.remove(&id);
    }

    fn step(&mut self, tell: &mut dyn FnMut(u64, Told)) {
        for (id, (left, all)) in &mut self.left {
            *left -= 1;
            tell(*id, Told::Text("tick".into()));
            if *left == 0 {
                tell(*id, Told::Done(Cost { prompt: 1, generated: *all, ..Cost::default() }));
            }
        }
        self.left.retain(|_, (left, _)| *left > 0);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn worker() -> (tempfile_path::Folder, std::path::PathBuf) {
    let folder = tempfile_path::Folder::new();
    let path = folder.0.join("s");
    let options =
        Options::parse_from(["worker", "--model", "/none", "--listen", path.to_str().expect("text")]);
    std::thread::spawn(move || run("test", options, |_, _| Ok(Clock::default())));
    while !path.exists() {
        std::thread::yield_now();
    }
    (folder, path)
}

/// A folder of this test's own, without another dependency.
mod tempfile_path {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    pub(super) struct Folder(pub(super) std::path::PathBuf);
    impl Folder {
        pub(super) fn new() -> Self {
            let number = NEXT.fetch_add(1, Ordering::SeqCst);
            let path = std::env::temp_dir().join(format!("aios-engine-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }
    }
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

struct Peer {
    stream: UnixStream,
    events: Frames<UnixStream, EngineEvent>,
}

impl Peer {
    fn connect(path: &std::path::Path) -> Self {
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(path) {
                break stream;
            }
        };
        let events = Frames::new(stream.try_clone().expect("a second handle"));
        Self { stream, events }
    }

    fn send(&mut self, request: &EngineRequest) {
        self.stream.write_all(&encode(request).expect("encodes")).expect("sends");
    }

    fn next(&mut self) -> EngineEvent {
        self.events.next().expect("the worker hung up").expect("a whole frame")
    }

    fn until(&mut self, mut wanted: impl FnMut(&EngineEvent) -> bool) -> EngineEvent {
        loop {
            let event = self.next();
            if wanted(&event) {
                return event;
            }
        }
    }

    fn hello(&mut self, nonce: u64) {
        self.send(&EngineRequest::Hello { nonce, version: frame::VERSION });
        self.until(|e| matches!(e, EngineEvent::Hello { nonce: n, .. } if *n == nonce));
    }
}

fn generate(id: u64, max_tokens: u32) -> EngineRequest {
    EngineRequest::Generate(Generate { id, max_tokens, ..Generate::default() })
}

#[test]
fn a_request_streams_and_ends() {
    let (_folder, path) = worker();
    let mut peer = Peer::connect(&path);
    peer.hello(7);
    peer.send(&generate(1, 3));
    let mut ticks = 0;
    let end = peer.until(|e| {
        ticks += u32::from(matches!(e, EngineEvent::Text { id: 1, .. }));
        matches!(e, EngineEvent::Done { .. })
    });
    assert_eq!(
        (ticks, end),
        (3, EngineEvent::Done { id: 1, cost: Cost { prompt: 1, generated: 3, ..Cost::default() } })
    );
}

#[test]
fn a_cancelled_request_ends_and_the_next_one_runs() {
    let (_folder, path) = worker();
    let mut peer = Peer::connect(&path);
    peer.hello(1);
    peer.send(&generate(1, 1_000_000));
    peer.until(|e| matches!(e, EngineEvent::Text { .. }));
    peer.send(&EngineRequest::Cancel { id: 1 });
    let end = peer.until(|e| matches!(e, EngineEvent::Error { .. }));
    assert!(matches!(end, EngineEvent::Error { id: 1, error } if error.code == ErrorCode::Cancelled));
    peer.send(&generate(2, 1));
    peer.until(|e| matches!(e, EngineEvent::Done { id: 2, .. }));
}

#[test]
fn a_new_conversation_hears_nothing_of_the_one_before() {
    let (_folder, path) = worker();
    let mut first = Peer::connect(&path);
    first.hello(1);
    first.send(&generate(1, 1_000_000));
    first.until(|e| matches!(e, EngineEvent::Text { .. }));
    // Half a frame, as a peer that dies leaves it; then its successor on the same stream.
    first.stream.write_all(&[9, 9, 9]).expect("sends");
    first.stream.write_all(&[0]).expect("sends");
    first.hello(2);
    first.send(&generate(2, 2));
    let event = first.next();
    assert!(matches!(event, EngineEvent::Text { id: 2, .. }), "{event:?} belongs to the old conversation");
    drop(first);
    let mut second = Peer::connect(&path);
    second.hello(3);
    second.send(&generate(1, 1));
    second.until(|e| matches!(e, EngineEvent::Done { id: 1, .. }));
}

#[test]
fn two_are_worked_on_in_turn_and_a_third_waits_for_room() {
    let (_folder, path) = worker();
    let mut peer = Peer::connect(&path);
    peer.hello(1);
    for id in 1..=3 {
        peer.send(&generate(id, if id == 2 { 1_000_000 } else { 40 }));
    }
    let mut seen = Vec::new();
    peer.until(|e| {
        if let EngineEvent::Text { id, .. } = e
            && seen.last() != Some(id)
        {
            seen.push(*id);
        }
        matches!(e, EngineEvent::Done { id: 3, .. })
    });
    let turns = |id| seen.iter().filter(|seen| **seen == id).count();
    assert!(turns(1) > 10 && turns(2) > 10 && turns(3) > 10, "{seen:?}");
    let first_of_third = seen.iter().position(|id| *id == 3).expect("it ran");
    assert!(!seen[first_of_third..].contains(&1), "the third waited for the first to end: {seen:?}");
    peer.send(&EngineRequest::Cancel { id: 2 });
    peer.until(|e| matches!(e, EngineEvent::Error { id: 2, .. }));
}

#[test]
fn what_the_engine_cannot_do_is_an_error() {
    let (_folder, path) = worker();
    let mut peer = Peer::connect(&path);
    peer.hello(1);
    peer.send(&EngineRequest::Embed { id: 5, texts: vec!["a".into()], adapted: false });
    let end = peer.until(|e| matches!(e, EngineEvent::Error { .. }));
    assert!(matches!(end, EngineEvent::Error { id: 5, error } if error.message == "a clock only ticks"));
}
