//! `process.wait`

use super::shared::Held;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Seconds that somebody may wait.
const MAX_SECONDS: u32 = 600;

/// Wait until a process has ended, or time is over.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Process id.
    #[schemars(range(min = 1))]
    pid: u32,
    /// At most so many seconds.
    #[serde(default = "default_seconds")]
    #[schemars(range(min = 1, max = 600))]
    seconds: u32,
}

fn default_seconds() -> u32 {
    30
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Waited {
    /// Process id.
    pid: u32,
    /// Its name.
    name: String,
    /// It has ended; how, only its parent is told.
    ended: bool,
    /// For how many milliseconds it was waited for.
    milliseconds: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 18,
    name: "process.wait",
    summary: "Wait until a process has ended",
    effect: Effect::Read,
    touches: &["facts of the process named"],
    role: Role::Viewer,
    timeout_ms: 610_000,
    examples: &[
        ("wait until process 999901 has ended", r#"{"pid":999901}"#),
        ("wait 60 seconds for pid 999902 to finish", r#"{"pid":999902,"seconds":60}"#),
        ("tell me when process 999903 is done", r#"{"pid":999903,"seconds":45}"#),
        ("has process 999904 finished yet?", r#"{"pid":999904,"seconds":1}"#),
        ("block until the backup with the pid 999905 exits", r#"{"pid":999905,"seconds":45}"#),
    ],
    needs: Needs::NOTHING.read(&["/proc"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Waited, CallError> {
    if args.seconds == 0 || args.seconds > MAX_SECONDS {
        return Err(CallError::invalid(format!("`seconds` must be 1 to {MAX_SECONDS}")));
    }
    let process = Held::find(args.pid)?;
    ctx.progress(format!("{} ({}) runs", process.name, process.pid), None);
    let begun = Instant::now();
    let ended = process.ends_within(Duration::from_secs(args.seconds.into()))?;
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Waited { pid: process.pid, name: process.name, ended, milliseconds })
}

fn summary(waited: &Waited) -> String {
    let seconds = (waited.milliseconds as f64 / 100.0).round() / 10.0;
    match waited.ended {
        true => format!("{} ({}) has ended, after {seconds} s", waited.name, waited.pid),
        false => format!("{} ({}) has not ended within {seconds} s", waited.name, waited.pid),
    }
}
