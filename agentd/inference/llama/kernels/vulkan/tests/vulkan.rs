//! The worker on Mesa's lavapipe: a whole Vulkan driver that computes on the processor.

#![forbid(unsafe_code)]

#[path = "../../tests/common.rs"]
mod common;

use aios_abi::engine::Offload;
use common::{answered, base, beside_base, likelihood, trial, worker};
use std::path::Path;
use std::process::Command;

const DRIVER: &str = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";

fn vulkan() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_aios-engine-llama-vulkan"))
}

/// It sees lavapipe, or no graphics processor at all: one that this computer may have is not meant.
fn command(program: &Path, sees: bool) -> Command {
    assert!(Path::new(DRIVER).exists(), "lavapipe is not installed; `make test-gpu` installs it");
    let mut command = worker(program);
    command.env("VK_ICD_FILENAMES", if sees { DRIVER } else { "/dev/null" });
    // A driver that computes on the processor is not used unless somebody asks for it.
    if sees {
        command.env("GGML_VK_VISIBLE_DEVICES", "0");
    }
    command
}

fn on_lavapipe(arguments: &[&str], environment: &[(&str, &str)]) -> (Offload, String) {
    let mut command = command(vulkan(), true);
    command.args(["--kernels", "vulkan kernels"]).args(arguments).envs(environment.iter().copied());
    let (name, model, said) = answered(command);
    assert!(name.contains("vulkan kernels"), "{name}");
    (model.offload.expect("there is a device"), said)
}

#[test]
fn it_computes_what_the_processor_computes() {
    let (ours, processor) = (likelihood(command(vulkan(), true)), likelihood(command(&base(), false)));
    assert!((ours - processor).abs() < 0.1, "{ours} and {processor}");
    assert_eq!(
        trial(command(vulkan(), false)),
        (false, "there is no graphics processor that it can use".into())
    );
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
    let (_folder, program) = beside_base("vulkan", vulkan());
    let (name, model, _) = answered(command(&program, false));
    assert_eq!(name, "llama.cpp (base kernels; not vulkan: there is no graphics processor that it can use)");
    assert_eq!(model.offload, None);
}
