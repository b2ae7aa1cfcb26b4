//! The worker on Mesa's lavapipe: a whole Vulkan driver that computes on the processor.

#![forbid(unsafe_code)]

use aios_abi::engine::{
    EngineEvent, EngineRequest, Frames, Generate, Message, ModelInfo, Offload, WorkerState, encode,
};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DRIVER: &str = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";

fn built(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../../target").join(path)
}

fn base() -> PathBuf {
    built("engines/x86_64-unknown-linux-gnu/release/aios-engine-llama")
}

/// A program with the tiny model. It sees lavapipe, or no graphics processor at all: one that this computer may have is not meant.
fn command(program: &Path, sees: bool) -> Command {
    assert!(Path::new(DRIVER).exists(), "lavapipe is not installed; `make test-gpu` installs it");
    let mut command = Command::new(program);
    command.args(["--stdio", "--model"]).arg(built("models/text.gguf"));
    command.env("VK_ICD_FILENAMES", if sees { DRIVER } else { "/dev/null" });
    // A driver that computes on the processor is not used unless somebody asks for it.
    if sees {
        command.env("GGML_VK_VISIBLE_DEVICES", "0");
    }
    command
}

/// A worker's name, its model, and what it says to one question.
fn answered(mut command: Command) -> (String, ModelInfo, String) {
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

fn on_lavapipe(arguments: &[&str], environment: &[(&str, &str)]) -> (Offload, String) {
    let mut command = command(Path::new(env!("CARGO_BIN_EXE_aios-engine-llama-vulkan")), true);
    command.args(["--kernels", "vulkan kernels"]).args(arguments).envs(environment.iter().copied());
    let (name, model, said) = answered(command);
    assert!(name.contains("vulkan kernels"), "{name}");
    (model.offload.expect("there is a device"), said)
}

#[test]
fn it_computes_what_the_processor_computes() {
    let trial = |program: &Path, sees: bool| {
        let output = command(program, sees).arg("--trial").output().expect("starts");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let likelihood = |(works, said): (bool, String)| {
        assert!(works, "{said}");
        said.split(' ').nth(3).and_then(|n| n.parse::<f64>().ok()).expect("a number")
    };
    let vulkan = Path::new(env!("CARGO_BIN_EXE_aios-engine-llama-vulkan"));
    let (ours, processor) = (likelihood(trial(vulkan, true)), likelihood(trial(&base(), false)));
    assert!((ours - processor).abs() < 0.1, "{ours} and {processor}");
    assert_eq!(trial(vulkan, false), (false, "there is no graphics processor that it can use".into()));
}

#[test]
fn as_much_of_the_model_as_has_room_is_on_it_and_the_answer_is_the_same() {
    let mut alone = command(&base(), false);
    alone.args(["--kernels", "base kernels"]);
    let (_, model, expected) = answered(alone);
    assert_eq!(model.offload, None);
    let (whole, said) = on_lavapipe(&[], &[]);
    assert!(whole.device.contains("llvmpipe"), "{whole:?}");
    assert_eq!((whole.layers, whole.of, whole.why), (31, 31, None));
    assert_eq!(said, expected);
    let (part, said) = on_lavapipe(&["--gpu-memory", "230"], &[]);
    assert!((1..31).contains(&part.layers) && part.why.is_none(), "{part:?}");
    assert_eq!(said, expected);
    let (none, said) = on_lavapipe(&["--gpu-memory", "10"], &[]);
    assert_eq!((none.layers, none.why.as_deref()), (0, Some("its free memory has no room for a layer")));
    assert_eq!(said, expected);
}

#[test]
fn a_device_that_refuses_memory_leaves_the_work_to_the_processor() {
    let (offload, said) = on_lavapipe(&[], &[("GGML_VK_FORCE_MAX_BUFFER_SIZE", "1000000")]);
    assert_eq!(offload.layers, 0, "{offload:?}");
    assert!(offload.why.is_some_and(|why| why.contains("there is no memory for a context")));
    assert!(!said.is_empty());
}

#[test]
fn without_a_graphics_processor_the_worker_for_one_is_named_with_the_reason_and_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("llama");
    std::fs::copy(base(), &program).expect("copies");
    let vulkan = Path::new(env!("CARGO_BIN_EXE_aios-engine-llama-vulkan"));
    std::os::unix::fs::symlink(vulkan, folder.path().join("llama-vulkan")).expect("links");
    let (name, model, _) = answered(command(&program, false));
    assert_eq!(name, "llama.cpp (base kernels; not vulkan: there is no graphics processor that it can use)");
    assert_eq!(model.offload, None);
}
