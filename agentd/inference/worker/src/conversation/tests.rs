use super::*;
use crate::Cost;
use aios_abi::engine::{Generate, ModelInfo};
use clap::Parser;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Writes "tick" until it is cancelled.
struct Clock;

impl Engine for Clock {
    fn info(&self) -> ModelInfo {
        ModelInfo { name: "clock".into(), parameters: 0, context: 0, dimensions: 0, threads: 1 }
    }

    fn generate(
        &mut self,
        request: &Generate,
        on_text: &mut dyn FnMut(&str),
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Cost, CallError> {
        for _ in 0..request.max_tokens {
            if is_cancelled() {
                return Err(cancelled());
            }
            on_text("tick");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Cost { prompt: 1, reused: 0, generated: request.max_tokens })
    }
}

fn worker() -> (tempfile_path::Folder, std::path::PathBuf) {
    let folder = tempfile_path::Folder::new();
    let path = folder.0.join("s");
    let options =
        Options::parse_from(["worker", "--model", "/none", "--listen", path.to_str().expect("text")]);
    std::thread::spawn(move || run("test", options, |_, _| Ok(Clock)));
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
    decoder: Decoder,
    events: std::collections::VecDeque<EngineEvent>,
}

impl Peer {
    fn connect(path: &std::path::Path) -> Self {
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(path) {
                break stream;
            }
        };
        Self { stream, decoder: Decoder::default(), events: Default::default() }
    }

    fn send(&mut self, request: &EngineRequest) {
        self.stream.write_all(&encode(request).expect("encodes")).expect("sends");
    }

    fn next(&mut self) -> EngineEvent {
        let mut buffer = [0; 4096];
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let length = self.stream.read(&mut buffer).expect("reads");
            assert!(length > 0, "the worker hung up");
            let events = &mut self.events;
            self.decoder.feed(&buffer[..length], |frame| events.push_back(frame.expect("a whole frame")));
        }
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
    EngineRequest::Generate(Generate {
        id,
        messages: vec![],
        prefix: String::new(),
        grammar: None,
        max_tokens,
        temperature_milli: 0,
        seed: 0,
    })
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
        (3, EngineEvent::Done { id: 1, prompt_tokens: 1, reused_tokens: 0, generated_tokens: 3 })
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
