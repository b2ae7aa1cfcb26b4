//! `sample.peek`: the tool that a test adds, to find it in every interface. It is in no image.

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Peek at a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the file; the kernel knows of one alone.
    path: String,
    /// How to show it.
    #[serde(default)]
    manner: Manner,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Manner {
    /// As it is.
    #[default]
    Plain,
    /// In capitals.
    Loud,
}

/// What was seen.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Seen {
    /// The text.
    glimpse: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 60_000,
    name: "sample.peek",
    summary: "Peek at a file that a test made",
    effect: Effect::Read,
    touches: &["one file of the kernel"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("peek at /proc/version", r#"{"path":"/proc/version"}"#),
        ("take a peek at /proc/version loudly", r#"{"path":"/proc/version","manner":"loud"}"#),
        ("glimpse /proc/version", r#"{"path":"/proc/version"}"#),
        ("have a quick peek at /proc/version", r#"{"path":"/proc/version"}"#),
        ("peek loudly at /proc/version", r#"{"path":"/proc/version","manner":"loud"}"#),
    ],
    needs: Needs::NOTHING.read(&["/proc/version"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_: &Ctx, args: Args) -> Result<Seen, CallError> {
    // No check of its own: what was not declared, the kernel refuses.
    let text = std::fs::read_to_string(&args.path)?;
    Ok(Seen { glimpse: if matches!(args.manner, Manner::Loud) { text.to_uppercase() } else { text } })
}

fn summary(seen: &Seen) -> String {
    format!("saw {} bytes", seen.glimpse.len())
}
