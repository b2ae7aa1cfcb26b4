//! `sec.baseline`

use crate::baseline::{Baseline, compare};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::policy::Target;
use crate::reach::{Asks, Needs, Paths, Way};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use jiff::Timestamp;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Paths of a baseline.
const MAX_PATHS: usize = 32;

/// Keep what files are like now, to compare with later (`sec.integrity`). It takes the place of the baseline before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Files, and directories with all below them; at most 32, and 20,000 files. What holds secrets is left out.
    #[serde(default = "usual")]
    paths: Vec<String>,
}

pub(crate) fn usual() -> Vec<String> {
    vec!["/data/config".into()]
}

/// What was kept.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Set {
    /// What it is of: real paths.
    paths: Vec<String>,
    /// Files, directories and links.
    files: usize,
    /// BLAKE3 of the baseline itself, to write down elsewhere.
    blake3: String,
    /// Differences from the baseline before; none if there was none.
    differences: Option<usize>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 213,
    name: "sec.baseline",
    summary: "Keep hashes, modes and owners of files, to find later what was changed",
    effect: Effect::Reversible,
    touches: &["the files named, to read them", "the baseline"],
    role: Role::Admin,
    timeout_ms: 120_000,
    examples: &[
        ("take a baseline of the configuration", "{}"),
        ("remember what the files in /data/www are like now", r#"{"paths":["/data/www"]}"#),
        (
            "set the integrity baseline to /data/config and /data/extensions",
            r#"{"paths":["/data/config","/data/extensions"]}"#,
        ),
        (
            "the changes in /data/config are fine, accept them as the new baseline",
            r#"{"paths":["/data/config"]}"#,
        ),
        ("keep the hashes of all files below /etc", r#"{"paths":["/etc"]}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH).asks(&[Asks::BaselineToSet]),
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: |_| Ok(Vec::new()), run: undo }) },
};

fn paths(args: &Args) -> Paths {
    named(&args.paths)
}

/// These are read.
pub(crate) fn named(paths: &[String]) -> Paths {
    paths.iter().take(MAX_PATHS).map(|path| (Way::Read, path.into())).collect()
}

struct Setting {
    before: Option<String>,
    after: String,
    taken: Baseline,
}

/// What undo has to know; the content is the baseline before.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    after: String,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Setting, CallError> {
    if args.paths.is_empty() || args.paths.len() > MAX_PATHS {
        return Err(CallError::invalid(format!("give 1 to {MAX_PATHS} paths")));
    }
    let before = ctx.baseline()?;
    let taken = Baseline::take(ctx, &args.paths, Timestamp::now().as_second())?;
    Ok(Setting { before, after: taken.write()?, taken })
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

impl Change for Setting {
    type Output = Set;

    fn target(&self) -> Target {
        Target::Baseline
    }

    fn preview(&self) -> Preview {
        let would =
            format!("keep what {} files in {} are like", self.taken.files.len(), self.taken.paths.join(", "));
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { after: hash(&self.after) }, self.before.clone().map(String::into_bytes)))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Set, CallError> {
        ctx.set_baseline(Some(self.after.clone()))?;
        let before = self.before.as_deref().and_then(|text| Baseline::read(text).ok());
        Ok(Set {
            paths: self.taken.paths.clone(),
            files: self.taken.files.len(),
            blake3: hash(&self.after),
            differences: before.map(|before| compare(&before, &self.taken).len()),
        })
    }
}

fn summary(set: &Set) -> String {
    format!("{} files in {} are kept as the baseline", set.files, set.paths.join(", "))
}

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let note: Note = kept.read()?;
    let before = kept.content.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let now = ctx.baseline()?;
    if now == before {
        return Ok("the baseline is as it was before".into());
    }
    if now.as_deref().map(hash) != Some(note.after) {
        let text = "the baseline was set again since; undo that first, or set it anew";
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    ctx.set_baseline(before)?;
    Ok("the baseline before counts again".into())
}
