//! The choice of kernels, with the real programs and the real model.

#![forbid(unsafe_code)]

use aios_abi::engine::{EngineEvent, EngineRequest, Frames, WorkerState, encode};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const KERNELS: [&str; 3] = ["avx-vnni", "avx512", "avx512-vnni"];

fn worker() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_aios-engine-llama"))
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/models/text.gguf")
}

/// A program whose first instruction no processor has (`ud2`): an ELF file as short as it can be.
fn illegal() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let code = 64 + 56;
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    file.extend((BASE + code).to_le_bytes());
    file.extend(64u64.to_le_bytes());
    file.extend([0; 12]);
    file.extend([64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // One segment, which is read and executed.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for number in [0, BASE, BASE, code + 2, code + 2, 4096] {
        file.extend(number.to_le_bytes());
    }
    file.extend([0x0f, 0x0b]);
    file
}

fn install(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("writes");
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("sets");
}

/// What the worker calls itself once its model is loaded, and what it logged.
fn started(program: &Path, memory: &Path) -> (String, String) {
    let mut child = Command::new(program)
        .args(["--stdio", "--context", "256", "--remember"])
        .arg(memory)
        .arg("--model")
        .arg(model())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut input = child.stdin.take().expect("stdin");
    let hello = EngineRequest::Hello { nonce: 1, version: aios_abi::frame::VERSION };
    input.write_all(&encode(&hello).expect("encodes")).expect("writes");
    let mut name = String::new();
    for event in Frames::new(child.stdout.take().expect("stdout")) {
        match event.expect("a frame") {
            EngineEvent::Hello { engine, state, .. } => {
                name = engine;
                match state {
                    WorkerState::Ready(_) => break,
                    WorkerState::Failed(why) | WorkerState::Off(why) => panic!("{why}"),
                    WorkerState::Loading { .. } => {}
                }
            }
            EngineEvent::State(WorkerState::Ready(_)) => break,
            EngineEvent::State(WorkerState::Failed(why) | WorkerState::Off(why)) => panic!("{why}"),
            _ => {}
        }
    }
    drop(input);
    let output = child.wait_with_output().expect("ends");
    (name, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn all_kernels_that_the_processor_has_compute_the_same_and_the_others_are_not_executed() {
    let trial = |program: &Path| {
        let output = Command::new(program).args(["--trial", "--stdio", "--model"]).arg(model()).output();
        let output =
            output.unwrap_or_else(|e| panic!("{}: {e}; `make engines` builds it", program.display()));
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let likelihood =
        |said: &str| said.split(' ').nth(3).and_then(|n| n.parse::<f64>().ok()).expect("a number");
    let (works, base) = trial(&worker());
    assert!(works, "{base}");
    for kernels in KERNELS {
        let (works, said) = trial(&worker().with_file_name(format!("aios-engine-llama-{kernels}")));
        match aios_engine_llama::kernels::claimed(kernels) {
            Ok(()) => {
                assert!(works, "{kernels}: {said}");
                let differs = (likelihood(&said) - likelihood(&base)).abs();
                assert!(differs < 0.1, "{kernels}: {said}, base: {base}");
            }
            Err(why) => assert_eq!((works, said), (false, why), "{kernels}"),
        }
    }
}

#[test]
fn kernels_that_crash_are_named_and_others_are_used_and_remembered() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("llama");
    std::fs::copy(worker(), &program).expect("copies");
    install(folder.path(), "llama-illegal", &illegal());
    install(folder.path(), "llama-empty", b"");
    let memory = folder.path().join("kernels.json");
    let (name, log) = started(&program, &memory);
    assert!(name.starts_with("llama.cpp (base kernels"), "{name}");
    assert!(name.contains("not illegal: it was killed by signal 4"), "{name}");
    assert!(name.contains("not empty: "), "{name}");
    assert!(log.contains("kernels: base "), "{log}");

    let (again, log) = started(&program, &memory);
    assert_eq!(again, name);
    assert!(!log.contains("kernels: "), "they are not tried again: {log}");
    // Another set of programs is another matter.
    std::fs::remove_file(folder.path().join("llama-empty")).expect("removes");
    let (name, log) = started(&program, &memory);
    assert!(!name.contains("empty") && log.contains("kernels: base "), "{name} {log}");
}
