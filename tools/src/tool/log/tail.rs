//! `log.tail`

use super::search::{Level, Line, shown};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::tool::service::shared::logs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Seconds that somebody may follow.
const MAX_SECONDS: u32 = 600;
/// Lines from before.
const MAX_EARLIER: u32 = 100;
/// Lines in one answer.
const MAX: u32 = 1_000;
/// Characters of a line that are shown as it comes.
const MAX_SHOWN: usize = 300;

/// Follow the logs for a while: the last lines, and those that come meanwhile.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only this service, or `init`, or `kernel`.
    #[serde(default)]
    unit: Option<String>,
    /// Only lines that contain this text; upper and lower case are the same.
    #[serde(default)]
    contains: Option<String>,
    /// Only lines at least this serious.
    #[serde(default)]
    level: Level,
    /// For how many seconds.
    #[serde(default = "default_seconds")]
    #[schemars(range(min = 1, max = 600))]
    seconds: u32,
    /// So many lines from before, at most.
    #[serde(default = "default_earlier")]
    #[schemars(range(max = 100))]
    earlier: u32,
    /// End when so many new lines have come; 1 waits for the first one.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1_000))]
    limit: u32,
}

fn default_seconds() -> u32 {
    10
}

fn default_earlier() -> u32 {
    10
}

fn default_limit() -> u32 {
    500
}

/// The lines.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Followed {
    /// Lines from before, oldest first.
    earlier: Vec<Line>,
    /// Lines that came while it was followed, oldest first.
    lines: Vec<Line>,
    /// For how many milliseconds it was followed.
    milliseconds: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 61,
    name: "log.tail",
    summary: "Follow the logs of services, init and the kernel for some seconds, line by line as they come",
    effect: Effect::Read,
    touches: &["the logs that init keeps"],
    role: Role::Viewer,
    timeout_ms: 610_000,
    examples: &[
        ("follow the log for 2 seconds", r#"{"seconds":2}"#),
        ("tail -f the log of netd", r#"{"unit":"netd","seconds":1}"#),
        ("wait for the next line of the console's log", r#"{"unit":"console","seconds":1,"limit":1}"#),
        ("show errors as they happen", r#"{"level":"error","seconds":1}"#),
        ("watch what the kernel says from now on", r#"{"unit":"kernel","earlier":0,"seconds":1}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Followed, CallError> {
    for (name, value, least, most) in [
        ("seconds", args.seconds, 1, MAX_SECONDS),
        ("earlier", args.earlier, 0, MAX_EARLIER),
        ("limit", args.limit, 1, MAX),
    ] {
        if !(least..=most).contains(&value) {
            return Err(CallError::invalid(format!("`{name}` must be {least} to {most}")));
        }
    }
    let begun = Instant::now();
    let until = begun + Duration::from_secs(args.seconds.into());
    let serious = |priority: u8| priority <= args.level.priority();
    // The newest line of all is where the new ones begin, whether it is shown or not.
    let (found, _) = logs(ctx, args.unit.clone(), args.contains.clone(), MAX_EARLIER.max(1))?;
    let mut after = found.last().map_or(0, |line| line.seq);
    let mut earlier: Vec<Line> =
        found.into_iter().filter(|line| serious(line.priority)).map(|line| shown(0, line)).collect();
    earlier.drain(..earlier.len().saturating_sub(args.earlier as usize));
    let mut lines: Vec<Line> = Vec::new();
    while lines.len() < args.limit as usize {
        let left = until.saturating_duration_since(Instant::now());
        if left < Duration::from_millis(1) {
            break;
        }
        for line in ctx.new_lines(args.unit.as_deref(), args.contains.as_deref(), after, left)? {
            after = after.max(line.seq);
            if serious(line.priority) {
                let line = shown(0, line);
                let text = format!("{}: {}", line.unit, line.text);
                ctx.progress(text.chars().take(MAX_SHOWN).collect::<String>(), None);
                lines.push(line);
            }
        }
    }
    lines.truncate(args.limit as usize);
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Followed { earlier, lines, milliseconds })
}

fn summary(followed: &Followed) -> String {
    let seconds = (followed.milliseconds as f64 / 100.0).round() / 10.0;
    let last = followed.lines.last().or(followed.earlier.last());
    let last = last.map(|line| {
        format!("; the newest, of {}: {}", line.unit, line.text.chars().take(120).collect::<String>())
    });
    format!("{} new lines in {seconds} s{}", followed.lines.len(), last.unwrap_or_default())
}
