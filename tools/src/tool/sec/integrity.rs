//! `sec.integrity`

use super::baseline::{named, usual};
use crate::baseline::{self, Baseline, Difference};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use jiff::Timestamp;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Differences that are shown.
const MAX_SHOWN: usize = 500;

/// Compare files with the baseline: what was added, removed or changed since it was set (`sec.baseline`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Which part of the baseline: files, and directories with all below them.
    #[serde(default = "usual")]
    paths: Vec<String>,
}

/// How files differ from the baseline.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Compared {
    /// When the baseline was set, RFC 3339.
    taken: String,
    /// What it is of.
    paths: Vec<String>,
    /// Files that were looked at.
    files: usize,
    /// Files that were not there.
    added: Vec<String>,
    /// Files that are gone.
    removed: Vec<String>,
    /// Files with another content.
    changed: Vec<String>,
    /// Files with another mode or owner.
    facts: Vec<String>,
    /// There are more differences than are shown.
    more: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 214,
    name: "sec.integrity",
    summary: "Compare files with the baseline: what was added, removed or changed",
    effect: Effect::Read,
    touches: &["files of the baseline, to read them"],
    role: Role::Operator,
    timeout_ms: 120_000,
    examples: &[
        ("check the integrity of the files", "{}"),
        ("was any file changed since the baseline?", "{}"),
        ("compare the configuration with its baseline", "{}"),
        ("has somebody tampered with the files?", "{}"),
        (
            "which files in /data/www are not what they were when the baseline was set?",
            r#"{"paths":["/data/www"]}"#,
        ),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH).asks(&[Asks::Baseline]),
    code: &Look { paths: |args: &Args| named(&args.paths), run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Compared, CallError> {
    let text = ctx.baseline()?.ok_or_else(|| {
        CallError::not_found("there is no baseline; set one with sec.baseline while all is as it should be")
    })?;
    let then = Baseline::read(&text)?.of(&args.paths)?;
    // A path that is gone is a difference, not an error.
    let there = |path: &&String| std::fs::symlink_metadata(path).is_ok();
    let paths: Vec<String> = then.paths.iter().filter(there).cloned().collect();
    let now = Baseline::take(ctx, &paths, Timestamp::now().as_second())?;
    let mut all = baseline::compare(&then, &now);
    let more = all.len() > MAX_SHOWN;
    all.truncate(MAX_SHOWN);
    let of = |kind| all.iter().filter(|(_, one)| *one == kind).map(|(path, _)| path.clone()).collect();
    Ok(Compared {
        taken: Timestamp::from_second(then.taken).map(|time| time.to_string()).unwrap_or_default(),
        files: now.files.len(),
        added: of(Difference::Added),
        removed: of(Difference::Removed),
        changed: of(Difference::Content),
        facts: of(Difference::Facts),
        paths: then.paths,
        more,
    })
}

fn summary(done: &Compared) -> String {
    let Compared { taken, files, added, removed, changed, facts, .. } = done;
    let all = added.len() + removed.len() + changed.len() + facts.len();
    match all {
        0 => format!("{files} files are what they were on {taken}"),
        _ => format!(
            "since {taken}: {} added, {} removed, {} changed, {} with another mode or owner",
            added.len(),
            removed.len(),
            changed.len(),
            facts.len()
        ),
    }
}
