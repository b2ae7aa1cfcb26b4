//! `model.remove`

use super::shared::{WRITES, changed};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview};
use crate::models::{self, Shelf};
use crate::policy::Target;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Remove an imported model from the disk.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the model, as `model.list` shows it.
    name: String,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Removed {
    /// Name of the model.
    name: String,
    /// Bytes that are free now.
    bytes: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 225,
    name: "model.remove",
    summary: "Remove an imported language model that no tier uses, which frees its room on the disk",
    effect: Effect::Irreversible,
    touches: &["the model's file in /data/models"],
    role: Role::Admin,
    timeout_ms: 60_000,
    examples: &[
        ("remove the model tiny", r#"{"name":"tiny"}"#),
        ("delete the language model mistral-7b", r#"{"name":"mistral-7b"}"#),
        ("I do not need the model phi any more", r#"{"name":"phi"}"#),
        ("free the room that the model qwen takes", r#"{"name":"qwen"}"#),
        ("ollama rm gemma", r#"{"name":"gemma"}"#),
        ("throw the imported model llama-3b away", r#"{"name":"llama-3b"}"#),
    ],
    needs: WRITES,
    code: &Make { paths: |_| changed(), prepare, summary, undo: None },
};

struct Remove {
    shelf: Shelf,
    name: String,
    bytes: u64,
    from: Option<String>,
}

fn prepare(ctx: &Ctx, Args { name }: Args) -> Result<Remove, CallError> {
    let shelf = Shelf::of_machine();
    let model = shelf.find(&name)?;
    let refused = |why: String| CallError::new(ErrorCode::Conflict, why);
    if model.images.is_some() {
        return Err(CallError::denied(format!("{name} belongs to the image, which is never changed")));
    }
    let tiers = models::tiers(ctx).map_err(|e| {
        CallError::new(e.code, format!("it is not known whether {name} is in use: {}", e.message))
    })?;
    if let Some(tier) = tiers.iter().find(|tier| model.is_used_by(tier)) {
        let tier = tier.tier.name();
        return Err(refused(format!("the {tier} tier uses {name}; activate another model there first")));
    }
    // One that a new model on trial would go back to has to stay.
    if let Some(tier) = tiers.iter().find(|tier| tier.trial && tier.previous == Some(model.choice())) {
        let tier = tier.tier.name();
        return Err(refused(format!(
            "the {tier} tier goes back to {name} if its new model fails; wait a minute"
        )));
    }
    let bytes = model.path.metadata()?.len();
    let from = shelf.record(&name).map(|record| record.from);
    Ok(Remove { shelf, name, bytes, from })
}

impl Change for Remove {
    type Output = Removed;

    fn target(&self) -> Target {
        Target::Model(self.name.clone())
    }

    fn preview(&self) -> Preview {
        let from = self.from.as_ref().map_or(String::new(), |from| format!("; it was imported from {from}"));
        let would =
            format!("remove the model {} and free {} for good{from}", self.name, human_bytes(self.bytes));
        Preview { would, diff: None }
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Removed, CallError> {
        self.shelf.remove(&self.name)?;
        Ok(Removed { name: self.name.clone(), bytes: self.bytes })
    }
}

fn summary(done: &Removed) -> String {
    format!("the model {} is removed; {} are free", done.name, human_bytes(done.bytes))
}
