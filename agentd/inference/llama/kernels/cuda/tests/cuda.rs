//! The worker on a card of NVIDIA, and where there is none. `make test-gpu CUDA=1`; without a card the first test fails.

#![forbid(unsafe_code)]

#[path = "../../tests/common.rs"]
mod common;

use common::{answered, base, beside_base, likelihood, trial, worker};
use std::path::Path;
use std::process::Command;

fn cuda() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_aios-engine-llama-cuda"))
}

/// It sees the first card, or none.
fn command(program: &Path, sees: bool) -> Command {
    let mut command = worker(program);
    command.env("CUDA_VISIBLE_DEVICES", if sees { "0" } else { "" });
    command
}

#[test]
fn a_card_computes_what_the_processor_computes_with_as_many_layers_as_have_room() {
    let (ours, processor) = (likelihood(command(cuda(), true)), likelihood(command(&base(), false)));
    assert!((ours - processor).abs() < 0.1, "{ours} and {processor}");
    for (memory, expected) in [("65536", 31..=31), ("230", 1..=30), ("10", 0..=0)] {
        let mut limited = command(cuda(), true);
        limited.args(["--kernels", "cuda kernels", "--gpu-memory", memory]);
        let (name, model, said) = answered(limited);
        let offload = model.offload.expect("there is a card");
        println!("{name}: {offload:?}, {said:?}");
        assert!(expected.contains(&offload.layers) && offload.of == 31, "{offload:?}");
        assert_eq!(offload.layers == 0, offload.why.is_some(), "{offload:?}");
        assert!(!said.is_empty());
    }
}

#[test]
fn without_a_card_the_worker_for_one_is_named_with_the_reason_and_not_used() {
    assert_eq!(
        trial(command(cuda(), false)),
        (false, "there is no graphics processor that it can use".into())
    );
    let (_folder, program) = beside_base("cuda", cuda());
    let (name, model, _) = answered(command(&program, false));
    assert_eq!(name, "llama.cpp (base kernels; not cuda: there is no graphics processor that it can use)");
    assert_eq!(model.offload, None);
}
