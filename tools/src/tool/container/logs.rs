//! `container.logs`

use super::shared::{LOOKS_AT, check};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::tool::log::search::{Line, shown};
use crate::tool::service::shared::logs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lines in one answer.
const MOST: u32 = 1_000;

/// Show what a container wrote.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the container.
    name: String,
    /// Only lines that contain this text; upper and lower case are the same.
    #[serde(default)]
    contains: Option<String>,
    /// At most so many lines, the newest ones.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1_000))]
    limit: u32,
}

fn default_limit() -> u32 {
    100
}

/// What it wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Lines {
    /// Oldest first.
    lines: Vec<Line>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 157,
    name: "container.logs",
    summary: "Show the last lines that a container wrote",
    effect: Effect::Read,
    touches: &["the log of the container"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("show the logs of the container shop", r#"{"name":"shop"}"#),
        ("docker logs wiki", r#"{"name":"wiki"}"#),
        ("what did the container blog say last?", r#"{"name":"blog","limit":1}"#),
        ("find errors in the output of the container cache", r#"{"name":"cache","contains":"error"}"#),
        ("last 20 lines of the container mail", r#"{"name":"mail","limit":20}"#),
    ],
    needs: LOOKS_AT,
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Lines, CallError> {
    if !(1..=MOST).contains(&args.limit) {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MOST}")));
    }
    check(ctx, &args.name)?;
    let (lines, _) = logs(ctx, Some(args.name), args.contains, args.limit)?;
    Ok(Lines { lines: lines.into_iter().map(|line| shown(0, line)).collect() })
}

fn summary(found: &Lines) -> String {
    match found.lines.last() {
        None => "it wrote nothing of that since boot".into(),
        Some(last) => {
            let text: String = last.text.chars().take(200).collect();
            format!("{} lines, the last one: {text}", found.lines.len())
        }
    }
}
