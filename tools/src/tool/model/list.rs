//! `model.list`

use super::shared::{InUse, LOOKS, Learned};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::models::{self, Machine, Shelf};
use crate::tool::process::shared::human_bytes;
use aios_abi::infer::InferRequest;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// List all language models on the machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// The models.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Models {
    /// Each model, those of the image first.
    models: Vec<Model>,
    /// The tiers of this machine, and what each uses; empty when inferd does not answer.
    tiers: Vec<InUse>,
    /// What was learned from approved calls on this machine; none when inferd does not answer.
    learned: Option<Learned>,
    /// The machine's memory.
    memory: Machine,
}

/// One model.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Model {
    /// Its name on this machine.
    name: String,
    /// The tiers that use it.
    used_by: Vec<String>,
    /// `image` or `imported`.
    origin: String,
    /// Bytes of its file.
    bytes: u64,
    /// What it calls itself.
    title: String,
    /// Its architecture, such as `llama`.
    architecture: String,
    /// Number of parameters.
    parameters: u64,
    /// The type that most of its weights have, such as `Q4_K`.
    quantisation: String,
    /// Longest conversation in tokens that it was made for.
    context: u64,
    /// Whether it has a chat template.
    chat_template: bool,
    /// Bytes of memory that it takes, about.
    memory: u64,
    /// Whether somebody vouches for it: the image, a signature, or a hash that was given.
    verified: bool,
    /// Who vouches for it: `image`, `signature`, `hash`, or `nobody`.
    trust: String,
    /// When it was imported, in milliseconds since 1970.
    imported_ms: Option<u64>,
    /// Where it was imported from.
    from: Option<String>,
    /// Why it cannot be used, if its file is damaged.
    problem: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 220,
    name: "model.list",
    summary: "List the language models on this machine: size, kind, memory, which tier uses them, and whether they are verified",
    effect: Effect::Read,
    touches: &["the headers of files in /models and /data/models", "inferd, for what is in use"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("which language models are on this machine?", "{}"),
        ("list the models", "{}"),
        ("which model does the tactical tier use?", "{}"),
        ("show me all GGUF files that were imported", "{}"),
        ("how much memory would each model take?", "{}"),
        ("what model are you running on?", "{}"),
        ("ollama list", "{}"),
        ("are all models on this box verified?", "{}"),
    ],
    needs: LOOKS,
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, _: Args) -> Result<Models, CallError> {
    list(ctx, &Shelf::of_machine())
}

fn list(ctx: &Ctx, shelf: &Shelf) -> Result<Models, CallError> {
    // With inferd dead there are models all the same.
    let tiers = models::tiers(ctx).unwrap_or_default();
    let mut all = Vec::new();
    for model in shelf.all()? {
        ctx.check()?;
        let record = shelf.record(&model.name).filter(|_| model.images.is_none());
        let trust = match &record {
            _ if model.images.is_some() => "image",
            Some(record) if record.signed_by.is_some() => "signature",
            Some(record) if record.hash_was_given => "hash",
            _ => "nobody",
        };
        let (summary, problem) = match model.check() {
            Ok(summary) => (Some(summary), None),
            Err(error) => (None, Some(error.message)),
        };
        let bytes = model.path.metadata().map_or(0, |facts| facts.len());
        let used = tiers.iter().filter(|tier| model.is_used_by(tier));
        all.push(Model {
            used_by: used.map(|tier| tier.tier.name().into()).collect(),
            origin: if model.images.is_some() { "image" } else { "imported" }.into(),
            bytes,
            title: summary.as_ref().map_or(String::new(), |it| it.name.clone()),
            architecture: summary.as_ref().map_or(String::new(), |it| it.architecture.clone()),
            parameters: summary.as_ref().map_or(0, |it| it.parameters),
            quantisation: summary.as_ref().map_or(String::new(), |it| it.quantisation.into()),
            context: summary.as_ref().map_or(0, |it| it.context),
            chat_template: summary.as_ref().is_some_and(|it| it.chat_template.is_some()),
            memory: summary.as_ref().map_or(0, |it| it.memory().total()),
            verified: trust != "nobody" && problem.is_none(),
            trust: trust.into(),
            imported_ms: record.as_ref().map(|record| record.imported_ms),
            from: record.map(|record| record.from),
            problem,
            name: model.name,
        });
    }
    let tiers = tiers.iter().map(|tier| InUse::of(shelf, tier)).collect();
    let learned = models::adapted(ctx, InferRequest::Learned).ok().map(|adapted| Learned::of(&adapted));
    Ok(Models { models: all, tiers, learned, memory: Machine::now()? })
}

fn summary(found: &Models) -> String {
    let bytes = found.models.iter().map(|model| model.bytes).sum();
    let used: Vec<String> = found
        .models
        .iter()
        .flat_map(|model| model.used_by.iter().map(|tier| format!("{tier}: {}", model.name)))
        .collect();
    match (found.models.len(), used.is_empty()) {
        (0, _) => "no model is there".into(),
        (count, true) => format!("{count} models, {} in all", human_bytes(bytes)),
        (1, false) => format!("1 model, {} ({})", human_bytes(bytes), used.join(", ")),
        (count, false) => format!("{count} models, {} in all ({})", human_bytes(bytes), used.join(", ")),
    }
}
