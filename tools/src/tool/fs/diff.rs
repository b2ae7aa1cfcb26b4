//! `fs.diff`

use super::shared::difference;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Bytes of each of the two texts.
const MAX: u64 = 1024 * 1024;
/// Lines around a change.
const MAX_AROUND: u8 = 20;

/// Compare a file with another one, or with a text. Give either `with` or `text`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the file, at most 1 MiB: the old side.
    path: String,
    /// Absolute path of another file, at most 1 MiB: the new side.
    #[serde(default)]
    with: Option<String>,
    /// A text, at most 1 MiB: the new side.
    #[serde(default)]
    text: Option<String>,
    /// Lines that are shown around each change.
    #[serde(default = "default_around")]
    #[schemars(range(max = 20))]
    around: u8,
}

fn default_around() -> u8 {
    3
}

/// How they differ.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Difference {
    /// The real path of the file.
    path: String,
    /// The real path of the other file; none for a text.
    with: Option<String>,
    /// There is no difference, not in one byte.
    same: bool,
    /// Lines that only the old side has; none when one side is no text.
    removed: Option<u64>,
    /// Lines that only the new side has; none when one side is no text.
    added: Option<u64>,
    /// Unified diff; none when one side is no text, or both are the same.
    diff: Option<String>,
    /// The diff is longer than is shown (64 KiB).
    truncated: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 112,
    name: "fs.diff",
    summary: "Compare two files, or a file and a text, line by line",
    effect: Effect::Read,
    touches: &["the files named, if they hold no secrets"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("compare /data/a.txt with /data/b.txt", r#"{"path":"/data/a.txt","with":"/data/b.txt"}"#),
        ("diff /data/old.toml /data/new.toml", r#"{"path":"/data/old.toml","with":"/data/new.toml"}"#),
        (
            "what is different between /data/v1.md and /data/v2.md?",
            r#"{"path":"/data/v1.md","with":"/data/v2.md"}"#,
        ),
        (
            "are the files /data/x.bin and /data/y.bin the same?",
            r#"{"path":"/data/x.bin","with":"/data/y.bin"}"#,
        ),
        ("does /data/motd say welcome?", r#"{"path":"/data/motd","text":"welcome"}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    std::iter::once(&args.path).chain(&args.with).map(|path| (Way::Read, path.into())).collect()
}

fn run(ctx: &Ctx, args: Args) -> Result<Difference, CallError> {
    if args.around > MAX_AROUND {
        return Err(CallError::invalid(format!("`around` must be at most {MAX_AROUND} lines")));
    }
    let (path, old) = content(ctx, &args.path)?;
    let (with, new) = match (args.with, args.text) {
        (Some(with), None) => content(ctx, &with).map(|(path, new)| (Some(path), new))?,
        (None, Some(text)) if text.len() as u64 <= MAX => (None, text.into_bytes()),
        (None, Some(_)) => return Err(CallError::invalid(format!("`text` has more than {MAX} bytes"))),
        _ => return Err(CallError::invalid("give either `with`, another file, or `text`")),
    };
    let same = old == new;
    let texts = std::str::from_utf8(&old).ok().zip(std::str::from_utf8(&new).ok());
    let compared = texts.map(|(old, new)| {
        let name = with.as_deref().unwrap_or("the text");
        difference((&path, old), (name, new), args.around.into())
    });
    let (diff, counts, truncated) = match compared {
        Some((diff, counts, truncated)) => (Some(diff).filter(|_| !same), Some(counts), truncated),
        None => (None, None, false),
    };
    let (removed, added) = (counts.map(|[removed, _]| removed), counts.map(|[_, added]| added));
    Ok(Difference { path, with, same, removed, added, diff, truncated })
}

fn content(ctx: &Ctx, path: &str) -> Result<(String, Vec<u8>), CallError> {
    let (file, found) = file::open_for_reading(ctx, path)?;
    let path = found.path.display().to_string();
    let mut bytes = Vec::new();
    file.take(MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX {
        true => {
            Err(CallError::invalid(format!("{path} has more than {MAX} bytes; fs.hash compares large files")))
        }
        false => Ok((path, bytes)),
    }
}

fn summary(found: &Difference) -> String {
    let with = found.with.as_deref().unwrap_or("the text");
    match (found.same, found.removed, found.added) {
        (true, ..) => format!("{} and {with} are the same", found.path),
        (false, Some(removed), Some(added)) => {
            format!("{} and {with} differ: {removed} lines are gone, {added} are new", found.path)
        }
        _ => format!("{} and {with} differ; they are not both text", found.path),
    }
}
