//! `model.verify`

use super::shared::LOOKS;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::models::{self, Machine, Shelf};
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::{Component, Effect};
use aios_abi::{CallError, paths, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Check a model again: hash, signature, structure, chat template, memory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the model, as `model.list` shows it.
    name: String,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verified {
    /// Name of the model.
    name: String,
    /// Whether it can be used: nothing is wrong with it, and it fits into memory.
    good: bool,
    /// What is wrong, one sentence each.
    problems: Vec<String>,
    /// What is not as one wishes and does not keep it from being used.
    notes: Vec<String>,
    /// SHA-256 of its file, hexadecimal.
    sha256: String,
    /// The public key of who signed it, hexadecimal.
    signed_by: Option<String>,
    /// Bytes of memory that it takes, about.
    memory: Option<Parts>,
    /// The machine's memory.
    machine: Machine,
}

/// Bytes of memory, about.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Parts {
    /// Its weights.
    weights: u64,
    /// What it remembers of conversations.
    cache: u64,
    /// What is computed with, and the worker itself.
    work: u64,
    /// All of it.
    total: u64,
}

/// What looking takes: the files, and the image's list of what it was built from.
const READS: &[&str] = &[
    paths::MODELS,
    paths::IMPORTED_MODELS,
    "/etc/aios/extension-keys",
    "/data/config/extension-keys",
    "/proc/meminfo",
    paths::MANIFEST,
];

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 222,
    name: "model.verify",
    summary: "Verify a language model: its hash, signature, structure and chat template, and whether it fits into memory",
    effect: Effect::Read,
    touches: &["the model's file, all of it"],
    role: Role::Viewer,
    timeout_ms: 3_600_000,
    examples: &[
        ("verify the model tiny", r#"{"name":"tiny"}"#),
        ("is the language model mistral-7b intact?", r#"{"name":"mistral-7b"}"#),
        ("does qwen2.5-3b fit into this machine's memory?", r#"{"name":"qwen2.5-3b"}"#),
        ("check hash and signature of the imported model phi", r#"{"name":"phi"}"#),
        ("has somebody tampered with the model text?", r#"{"name":"text"}"#),
        ("would gemma run here?", r#"{"name":"gemma"}"#),
        ("does the chat template of llama-1b work?", r#"{"name":"llama-1b"}"#),
    ],
    needs: LOOKS.read(READS),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Verified, CallError> {
    verify(ctx, &Shelf::of_machine(), &args.name)
}

fn verify(ctx: &Ctx, shelf: &Shelf, name: &str) -> Result<Verified, CallError> {
    let model = shelf.find(name)?;
    let machine = Machine::now()?;
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    let memory = match model.check() {
        Err(error) => {
            problems.push(error.message);
            None
        }
        Ok(about) => {
            let memory = about.memory();
            problems.extend(machine.has_room_for(name, &memory).err());
            notes.extend(models::template_fault(&about));
            Some(memory)
        }
    };
    let sha256 = models::sha256_of(ctx, &model.path)?;
    let mut signed_by = None;
    let expected = match (model.images, shelf.record(name)) {
        (Some(_), _) => of_image(name),
        (None, Some(record)) => {
            signed_by = record.signed_by.and_then(|key| match is_trusted(shelf, &key) {
                true => Some(key),
                false => {
                    problems
                        .push(format!("it was signed by {key}, whom this machine does not trust any more"));
                    None
                }
            });
            if signed_by.is_none() && !record.hash_was_given {
                notes.push("nobody vouches for it: it came without a signature and without a hash".into());
            }
            Some(record.sha256)
        }
        (None, None) => {
            problems.push(
                "its record is lost, so nobody knows what it was; remove it and import it again".into(),
            );
            None
        }
    };
    if let Some(expected) = expected.filter(|expected| *expected != sha256) {
        problems.push(format!(
            "its SHA-256 is {sha256}, and it was {expected}: the file was altered or damaged; remove it and import it again"
        ));
    }
    let memory =
        memory.map(|it| Parts { weights: it.weights, cache: it.cache, work: it.work, total: it.total() });
    Ok(Verified {
        name: name.into(),
        good: problems.is_empty(),
        problems,
        notes,
        sha256,
        signed_by,
        memory,
        machine,
    })
}

fn is_trusted(shelf: &Shelf, key: &str) -> bool {
    let line = format!("aios-extension-pub {key}");
    aios_extension::parse_key(line.as_bytes()).is_some_and(|key| shelf.keys.hold(&key))
}

/// The hash of the image's model, as the image's own list says it.
fn of_image(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(paths::MANIFEST).ok()?;
    let parts: Vec<Component> = serde_json::from_str(&text).ok()?;
    let models: Vec<Component> = parts.into_iter().filter(|part| part.kind == "model").collect();
    let size = std::fs::metadata(format!("{}/{name}.gguf", paths::MODELS)).ok()?.len();
    models.into_iter().find(|part| part.bytes == size && part.sha256.len() == 64).map(|part| part.sha256)
}

fn summary(found: &Verified) -> String {
    let Verified { name, good, problems, notes, memory, .. } = found;
    let memory =
        memory.as_ref().map_or(String::new(), |it| format!(", about {} of memory", human_bytes(it.total)));
    let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
    match good {
        true => format!("{name} is good{memory}{notes}"),
        false => format!("{name}: {}", problems.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shared::tests::Inferd;
    use super::*;

    #[test]
    fn each_problem_is_one_sentence() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::at(folder.path());
        let ctx = crate::ctx::within(Inferd::default());
        std::fs::write(shelf.path("cut"), b"GGUF\x03").expect("written");
        let found = verify(&ctx, &shelf, "cut").expect("is judged");
        assert!(!found.good && found.problems.len() == 2, "{:?}", found.problems);
        assert!(found.problems[0].contains("truncated") && found.problems[1].contains("record is lost"));
        assert!(
            verify(&ctx, &shelf, "missing")
                .is_err_and(|e| e.message == "there is no model missing; there are: cut")
        );
    }
}
