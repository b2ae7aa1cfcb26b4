//! `model.import`

use super::shared::{WRITES, changed};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::models::{self, Incoming, Machine, Shelf, signature_path};
use crate::policy::Target;
use crate::reach::{Paths, Way};
use crate::tool::process::shared::human_bytes;
use crate::undo::Kept;
use aios_abi::infer::ModelChoice;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use aios_gguf::Summary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Import a language model from a GGUF file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the GGUF file: where it was uploaded to, or on a USB stick below `/run/usb`. A signature beside it,
    /// named the same with `.sig` at the end, is checked.
    path: String,
    /// Name that the model gets, in small letters; without it that of the file.
    #[serde(default)]
    name: Option<String>,
    /// SHA-256 that the file must have, 64 hexadecimal digits.
    #[serde(default)]
    sha256: Option<String>,
}

/// What was imported.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Imported {
    /// Its name, for the other tools.
    name: String,
    /// What it calls itself.
    title: String,
    /// Its size in bytes.
    bytes: u64,
    /// Number of parameters.
    parameters: u64,
    /// SHA-256, hexadecimal.
    sha256: String,
    /// The public key of who signed it, hexadecimal; none where no signature is beside the file.
    signed_by: Option<String>,
    /// Bytes of memory that it takes, about.
    memory: u64,
    /// What is not as one wishes, one sentence each.
    notes: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 221,
    name: "model.import",
    summary: "Import a language model from a GGUF file, after its structure, hash and signature were checked",
    effect: Effect::Reversible,
    touches: &["a new file in /data/models", "the file named, which is read"],
    role: Role::Operator,
    timeout_ms: 3_600_000,
    examples: &[
        ("import the model /data/upload/qwen2.5-0.5b.gguf", r#"{"path":"/data/upload/qwen2.5-0.5b.gguf"}"#),
        ("take the GGUF file /run/usb/mistral.gguf from the stick", r#"{"path":"/run/usb/mistral.gguf"}"#),
        (
            "add the language model /data/upload/a.gguf under the name tiny",
            r#"{"path":"/data/upload/a.gguf","name":"tiny"}"#,
        ),
        (
            "copy the model /run/usb/models/phi.gguf onto this machine",
            r#"{"path":"/run/usb/models/phi.gguf"}"#,
        ),
        (
            "install the LLM in /tmp/gemma.gguf and call it gemma",
            r#"{"path":"/tmp/gemma.gguf","name":"gemma"}"#,
        ),
        ("I uploaded llama-3b.gguf, bring it in", r#"{"path":"/data/upload/llama-3b.gguf"}"#),
        (
            "import /data/upload/b.gguf, its sha256 must be 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            r#"{"path":"/data/upload/b.gguf","sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}"#,
        ),
    ],
    needs: WRITES,
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: |_| Ok(changed()), run: undo }) },
};

fn paths(args: &Args) -> Paths {
    let own = vec![
        (Way::Read, args.path.clone().into()),
        // A second file that may be there.
        (Way::Read, signature_path(&args.path).into()),
    ];
    [own, changed()].concat()
}

struct Import {
    shelf: Shelf,
    from: Incoming,
    name: String,
    about: Summary,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    name: String,
    bytes: u64,
}

fn prepare(ctx: &Ctx, Args { path, name, sha256 }: Args) -> Result<Import, CallError> {
    let shelf = Shelf::of_machine();
    let (from, about) = Incoming::open(ctx, &path, sha256)?;
    let name = shelf.name_for(name, &from.path)?;
    shelf.has_room(from.bytes)?;
    let mut notes: Vec<String> = models::template_fault(&about).into_iter().collect();
    notes.extend(Machine::now()?.has_room_for(&name, &about.memory()).err());
    if from.signature.is_none() {
        notes.push("nobody signed it".into());
    }
    Ok(Import { shelf, from, name, about, notes })
}

impl Change for Import {
    type Output = Imported;

    fn target(&self) -> Target {
        Target::Model(self.name.clone())
    }

    fn preview(&self) -> Preview {
        let Self { from, name, about, notes, .. } = self;
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        let would = format!(
            "import {} ({}, {} million parameters, {}) as {name}; about {} of memory when it is used{notes}",
            about.name,
            human_bytes(from.bytes),
            about.parameters / 1_000_000,
            about.quantisation,
            human_bytes(about.memory().total())
        );
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { name: self.name.clone(), bytes: self.from.bytes }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Imported, CallError> {
        let Self { shelf, from, name, about, notes } = self;
        let record = shelf.take(ctx, from, name)?;
        Ok(Imported {
            name: name.clone(),
            title: about.name.clone(),
            bytes: record.bytes,
            parameters: about.parameters,
            sha256: record.sha256,
            signed_by: record.signed_by,
            memory: about.memory().total(),
            notes: std::mem::take(notes),
        })
    }
}

/// A model that somebody uses, or another one that has the name by now, stays.
fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { name, bytes } = kept.read()?;
    let shelf = Shelf::of_machine();
    let Ok(model) = shelf.find(&name) else { return Ok(format!("{name} is not there, as before")) };
    let conflict = |why: String| CallError::new(ErrorCode::Conflict, format!("{why}; nothing was undone"));
    if model.path.metadata()?.len() != bytes {
        return Err(conflict(format!("{name} is another model by now")));
    }
    let used = ModelChoice::Imported(name.clone());
    if let Some(tier) = models::tiers(ctx)?.into_iter().find(|tier| tier.current == used) {
        return Err(conflict(format!("the {} tier uses {name}", tier.tier.name())));
    }
    shelf.remove(&name)?;
    Ok(format!("{name} is removed again"))
}

fn summary(done: &Imported) -> String {
    let notes: String = done.notes.iter().map(|note| format!("; {note}")).collect();
    format!("{} is imported as {} ({}){notes}", done.title, done.name, human_bytes(done.bytes))
}
