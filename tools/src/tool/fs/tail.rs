//! `fs.tail`

use super::shared::modified;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek, SeekFrom};

/// Lines in one answer.
const MAX: u32 = 1_000;
/// Bytes that are looked at, from the end.
const MAX_BYTES: u64 = 256 * 1024;

/// Show the last lines of a text file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the file.
    path: String,
    /// At most this many lines.
    #[serde(default = "default_lines")]
    #[schemars(range(min = 1, max = 1_000))]
    lines: u32,
}

fn default_lines() -> u32 {
    20
}

/// The end of a file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tail {
    /// The file's real path.
    path: String,
    /// Its last lines, oldest first; bytes that are no UTF-8 are replaced.
    lines: Vec<String>,
    /// There is more before them.
    truncated: bool,
    /// Size of the whole file in bytes.
    size: u64,
    /// When the content was last changed, RFC 3339.
    modified: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 5,
    name: "fs.tail",
    summary: "Show the last lines of a text file",
    effect: Effect::Read,
    touches: &["the file named, if it holds no secrets"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        (
            "show the last 20 lines of the file /data/app/app.log",
            r#"{"path":"/data/app/app.log","lines":20}"#,
        ),
        ("tail /data/app/error.log", r#"{"path":"/data/app/error.log"}"#),
        ("what are the last lines of the file /data/notes.txt?", r#"{"path":"/data/notes.txt"}"#),
        ("show the end of the file /data/import.csv", r#"{"path":"/data/import.csv"}"#),
        ("print the last 5 lines of the file /etc/passwd", r#"{"path":"/etc/passwd","lines":5}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Read, args.path.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Tail, CallError> {
    if args.lines == 0 || args.lines > MAX {
        return Err(CallError::invalid(format!("`lines` must be 1 to {MAX}")));
    }
    let (mut file, found) = file::open_for_reading(ctx, &args.path)?;
    let size = found.stat.st_size.cast_unsigned();
    let from = size.saturating_sub(MAX_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let (lines, truncated) = last_lines(&bytes, args.lines as usize, from > 0);
    let path = found.path.display().to_string();
    Ok(Tail { path, lines, truncated, size, modified: modified(&found.stat) })
}

/// The last lines of these bytes. When the bytes are not the whole, the first line may be cut and does not count.
fn last_lines(bytes: &[u8], most: usize, cut: bool) -> (Vec<String>, bool) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<&str> = text.lines().collect();
    if cut && lines.len() > 1 {
        lines.remove(0);
    }
    let skipped = lines.len().saturating_sub(most);
    (lines.into_iter().skip(skipped).map(str::to_owned).collect(), cut || skipped > 0)
}

fn summary(tail: &Tail) -> String {
    format!("the last {} lines of {}", tail.lines.len(), tail.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        let last = |text: &str, most, cut| last_lines(text.as_bytes(), most, cut);
        assert_eq!(last("a\nb\nc\n", 2, false), (vec!["b".into(), "c".into()], true));
        assert_eq!(last("a\nb", 9, false), (vec!["a".into(), "b".into()], false));
        assert_eq!(last("half\nwhole\n", 9, true), (vec!["whole".into()], true));
        assert_eq!(last("", 9, false), (Vec::new(), false));
    }
}
