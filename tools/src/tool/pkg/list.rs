//! `pkg.list`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::{Component, Effect};
use aios_abi::{CallError, paths, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest manifest in bytes that is read.
const MAX: u64 = 8 * 1024 * 1024;
/// Components in one answer.
const MAX_LISTED: usize = 2_000;

/// List what the image was built from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only components whose name contains this text.
    #[serde(default)]
    contains: Option<String>,
    /// Only this kind: `program`, `kernel`, `model` or `modules`.
    #[serde(default)]
    kind: Option<String>,
}

/// What the image was built from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Packages {
    /// Its components, by name.
    packages: Vec<Package>,
    /// There are more than are listed.
    truncated: bool,
}

/// One component.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Package {
    /// Package or program name.
    name: String,
    /// Its version.
    version: String,
    /// What it is: `program`, `kernel`, `model`, `modules`.
    kind: String,
    /// Licence as an SPDX expression.
    licence: String,
    /// Bytes on disk.
    bytes: u64,
    /// SHA-256, hexadecimal.
    sha256: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 70,
    name: "pkg.list",
    summary: "List the installed packages: programs, kernel and models with version and licence",
    effect: Effect::Read,
    touches: &["the image's manifest"],
    role: Role::Viewer,
    timeout_ms: 2_000,
    examples: &[
        ("which packages are installed?", "{}"),
        ("what version of the kernel package is in the image?", r#"{"kind":"kernel"}"#),
        ("which models are installed?", r#"{"kind":"model"}"#),
        ("list the software on this appliance with its licences", "{}"),
        ("is aios-console installed, and which version?", r#"{"contains":"aios-console"}"#),
        ("what software is on this machine?", "{}"),
        ("under which licence is the kernel?", r#"{"kind":"kernel"}"#),
    ],
    needs: Needs::NOTHING.read(&["/usr/lib/aios"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, args: Args) -> Result<Packages, CallError> {
    let wanted = args.contains.map(|text| text.to_lowercase());
    let mut packages: Vec<_> = manifest()?
        .into_iter()
        .filter(|c| wanted.as_ref().is_none_or(|text| c.name.to_lowercase().contains(text)))
        .filter(|c| args.kind.as_ref().is_none_or(|kind| c.kind == *kind))
        .map(|c| Package {
            name: c.name,
            version: c.version,
            kind: c.kind,
            licence: c.licence,
            bytes: c.bytes,
            sha256: c.sha256,
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    let truncated = packages.len() > MAX_LISTED;
    packages.truncate(MAX_LISTED);
    Ok(Packages { packages, truncated })
}

fn manifest() -> Result<Vec<Component>, CallError> {
    use std::io::Read;
    let path = paths::MANIFEST;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX).read_to_string(&mut text))
        .map_err(|e| CallError::unavailable(format!("{path}: {e}; this image has no list of its parts")))?;
    serde_json::from_str(&text)
        .map_err(|e| CallError::failed(format!("{path} is not a list of components: {e}")))
}

fn summary(found: &Packages) -> String {
    let bytes = found.packages.iter().map(|p| p.bytes).sum();
    match found.packages.as_slice() {
        [] => "no package fits".into(),
        [only] => format!("{} {} ({})", only.name, only.version, only.licence),
        all => format!("{} packages, {} in all", all.len(), human_bytes(bytes)),
    }
}
