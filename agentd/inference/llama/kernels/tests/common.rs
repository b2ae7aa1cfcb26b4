//! What the tests of both workers for graphics processors share.

use aios_abi::engine::{
    EngineEvent, EngineRequest, Frames, Generate, Message, ModelInfo, WorkerState, encode,
};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn built(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../../target").join(path)
}

/// The worker that computes on the processor.
pub(crate) fn base() -> PathBuf {
    built("engines/x86_64-unknown-linux-gnu/release/aios-engine-llama")
}

/// A program with the tiny model.
pub(crate) fn worker(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--stdio", "--model"]).arg(built("models/text.gguf"));
    command
}

/// Whether a trial works, and what it says.
pub(crate) fn trial(mut command: Command) -> (bool, String) {
    let output = command.arg("--trial").output().expect("starts");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// How likely the trial's words are, as a natural logarithm.
pub(crate) fn likelihood(command: Command) -> f64 {
    let (works, said) = trial(command);
    assert!(works, "{said}");
    said.split(' ').nth(3).and_then(|n| n.parse::<f64>().ok()).expect("a number")
}

/// A folder in which this worker is one of two; the other one computes on the processor and chooses.
pub(crate) fn beside_base(name: &str, program: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let chooses = folder.path().join("llama");
    std::fs::copy(base(), &chooses).expect("copies");
    std::os::unix::fs::symlink(program, folder.path().join(format!("llama-{name}"))).expect("links");
    (folder, chooses)
}

/// A worker's name, its model, and what it says to one question.
pub(crate) fn answered(mut command: Command) -> (String, ModelInfo, String) {
    let mut child = command
        .args(["--context", "256"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts; `make test-gpu` builds it");
    let mut input = child.stdin.take().expect("stdin");
    let mut send = |request: &EngineRequest| {
        input.write_all(&encode(request).expect("encodes")).expect("writes");
    };
    send(&EngineRequest::Hello { nonce: 1, version: aios_abi::frame::VERSION });
    let (mut name, mut model, mut said) = (String::new(), None, String::new());
    for event in Frames::new(child.stdout.take().expect("stdout")) {
        let state = match event.expect("a frame") {
            EngineEvent::Hello { engine, state, .. } => {
                name = engine;
                state
            }
            EngineEvent::State(state) => state,
            EngineEvent::Text { text, .. } => {
                said.push_str(&text);
                continue;
            }
            EngineEvent::Done { .. } => break,
            other => panic!("{other:?}"),
        };
        match state {
            WorkerState::Loading { .. } => {}
            WorkerState::Ready(info) => {
                model = Some(info);
                let content = "Name three colours.".into();
                send(&EngineRequest::Generate(Generate {
                    id: 1,
                    messages: vec![Message { role: "user".into(), content }],
                    max_tokens: 8,
                    ..Generate::default()
                }));
            }
            WorkerState::Failed(why) | WorkerState::Off(why) => panic!("{why}"),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    (name, model.expect("is loaded"), said)
}
