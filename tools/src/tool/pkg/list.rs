//! `pkg.list`

use super::shared::LOOKS;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::shelf::Shelf;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::{Component, Effect};
use aios_abi::{CallError, paths, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest manifest in bytes that is read.
const MAX: u64 = 8 * 1024 * 1024;
/// Components in one answer.
const MAX_LISTED: usize = 2_000;

/// List what the machine's image was built from, and the extensions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only components whose name contains this text.
    #[serde(default)]
    contains: Option<String>,
    /// Only this kind: `program`, `kernel`, `model`, `modules` or `extension`.
    #[serde(default)]
    kind: Option<String>,
}

/// What is installed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Packages {
    /// Components of the machine's image, and extensions, by name.
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
    /// What it is: `program`, `kernel`, `model`, `modules`, `extension`.
    kind: String,
    /// Licence as an SPDX expression.
    licence: String,
    /// Bytes on disk.
    bytes: u64,
    /// SHA-256, hexadecimal; empty for an extension, which has a seal instead (`pkg.verify`).
    sha256: String,
}

/// The image's own list, and what the shelf of extensions takes.
const READS: &[&str] = &["/usr/lib/aios", LOOKS[0], LOOKS[1], LOOKS[2], LOOKS[3], LOOKS[4]];

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 70,
    name: "pkg.list",
    summary: "List the installed packages: programs, kernel, models and extensions with version and licence",
    effect: Effect::Read,
    touches: &["the image's manifest", "/data/extensions"],
    role: Role::Viewer,
    timeout_ms: 2_000,
    examples: &[
        ("which packages are installed?", "{}"),
        ("what version of the kernel package is in the image?", r#"{"kind":"kernel"}"#),
        ("which models are installed, and in which version?", r#"{"kind":"model"}"#),
        ("list the software on this appliance with its licences", "{}"),
        ("is aios-console installed, and which version?", r#"{"contains":"aios-console"}"#),
        ("what software is on this machine?", "{}"),
        ("under which licence is the kernel?", r#"{"kind":"kernel"}"#),
        ("which extensions are installed?", r#"{"kind":"extension"}"#),
    ],
    needs: Needs::NOTHING.read(READS),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Packages, CallError> {
    let wanted = args.contains.map(|text| text.to_lowercase());
    let mut packages: Vec<_> = manifest()?
        .into_iter()
        .chain(extensions(ctx)?)
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

/// Extensions as components. One that cannot be read any more is named all the same.
fn extensions(ctx: &Ctx) -> Result<Vec<Component>, CallError> {
    let shelf = Shelf::of(ctx);
    let mut all = Vec::new();
    for name in shelf.names()? {
        let Some(file) = shelf.state(&name)?.record.current else { continue };
        let image = shelf.stored(&file).ok().map(|(_, image)| image);
        let manifest = image.as_ref().map(|image| &image.manifest);
        all.push(Component {
            name,
            version: manifest.map_or("unreadable", |m| &m.version).to_owned(),
            kind: "extension".into(),
            licence: manifest.map_or("NOASSERTION", |m| &m.licence).to_owned(),
            bytes: image.as_ref().map_or(0, |image| image.seal.file_bytes()),
            sha256: String::new(),
        });
    }
    Ok(all)
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
