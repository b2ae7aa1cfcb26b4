//! `log.search`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::stored;
use crate::tool::service::shared::logs;
use aios_abi::service::LogLine;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use jiff::Timestamp;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Lines in one answer.
const MAX: u32 = 1_000;
/// Lines that are asked for when not all of them will fit.
const FETCH: u32 = 20_000;
/// Length of a line in characters.
const MAX_LINE: usize = 2_000;

/// Search the logs of the services, of init and of the kernel.
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
    /// Only the last so many minutes.
    #[serde(default)]
    minutes: Option<u32>,
    /// Only lines from this moment on, RFC 3339, such as `2026-11-21T07:00:00Z`.
    #[serde(default)]
    since: Option<String>,
    /// Only lines up to this moment, RFC 3339.
    #[serde(default)]
    until: Option<String>,
    /// Also lines of this many boots before the present one, from the data disk.
    #[serde(default)]
    earlier_boots: u32,
    /// At most this many lines, the newest ones.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1_000))]
    limit: u32,
}

fn default_limit() -> u32 {
    50
}

/// How serious a line has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Everything.
    #[default]
    All,
    /// Notices and worse.
    Notice,
    /// Warnings and errors.
    Warning,
    /// Errors.
    Error,
}

impl Level {
    /// The highest number of syslog(3) that is shown; a low number is serious.
    pub(crate) fn priority(self) -> u8 {
        match self {
            Self::All => 7,
            Self::Notice => 5,
            Self::Warning => 4,
            Self::Error => 3,
        }
    }
}

/// The lines that were found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Lines {
    /// The lines, oldest first.
    lines: Vec<Line>,
    /// There may be older lines that fit.
    truncated: bool,
    /// Lines that the logs have dropped since boot; of earlier boots, lines that cannot be read any more.
    dropped: u64,
}

/// One line.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Line {
    /// When it was written, RFC 3339, UTC.
    time: String,
    /// Service, `init` or `kernel`.
    pub(crate) unit: String,
    /// How serious: 0 (emergency) to 7 (debug), as in syslog(3).
    priority: u8,
    /// The text.
    pub(crate) text: String,
    /// How many boots ago: 0 is the present one.
    boot: u32,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 60,
    name: "log.search",
    summary: "Search the logs of services, init and the kernel",
    effect: Effect::Read,
    touches: &["the logs that init keeps", "/data/log"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("show me the latest log lines", "{}"),
        ("logs", "{}"),
        ("are there errors in the logs?", r#"{"level":"error"}"#),
        ("search the log of netd for lease", r#"{"unit":"netd","contains":"lease"}"#),
        ("what did the kernel say?", r#"{"unit":"kernel"}"#),
        ("dmesg", r#"{"unit":"kernel"}"#),
        ("warnings of the last 10 minutes", r#"{"level":"warning","minutes":10}"#),
        ("find log messages about out of memory", r#"{"contains":"out of memory"}"#),
        ("what happened in the last hour?", r#"{"minutes":60}"#),
        ("show the last 20 lines of the log of console", r#"{"unit":"console","limit":20}"#),
        ("show the log lines of the last 2 boots", r#"{"earlier_boots":2}"#),
        ("what went wrong recently?", r#"{"level":"warning","minutes":60}"#),
        (
            "what did toold log between 7 and 8 o'clock UTC on 21 November 2026?",
            r#"{"unit":"toold","since":"2026-11-21T07:00:00Z","until":"2026-11-21T08:00:00Z"}"#,
        ),
    ],
    needs: Needs::NOTHING
        .read(&["/data/log"])
        .capabilities(CapabilitySet::DAC_READ_SEARCH)
        .asks(&[Asks::InitToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Lines, CallError> {
    if args.limit == 0 || args.limit > MAX {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX} lines")));
    }
    let window = window(&args)?;
    if args.earlier_boots > 0 {
        return from_disk(&args, window);
    }
    // init filters by unit and text; what is filtered here needs more lines than are shown.
    let filters_here = args.level != Level::All || window != ALWAYS;
    let fetch = if filters_here { FETCH } else { args.limit };
    let (found, dropped) = logs(ctx, args.unit, args.contains, fetch)?;
    let fetched = found.len();
    let mut lines: Vec<_> = found
        .into_iter()
        .filter(|line| line.priority <= args.level.priority() && within(window, line))
        .collect();
    let more = lines.len() > args.limit as usize;
    lines.drain(..lines.len().saturating_sub(args.limit as usize));
    Ok(Lines {
        truncated: more || fetched >= fetch as usize,
        dropped,
        lines: lines.into_iter().map(|line| shown(0, line)).collect(),
    })
}

/// The rings hold the present boot alone.
fn from_disk(args: &Args, window: Window) -> Result<Lines, CallError> {
    let contains = args.contains.as_ref().map(|text| text.to_lowercase());
    let wanted = |line: &LogLine| {
        line.priority <= args.level.priority()
            && within(window, line)
            && args.unit.as_ref().is_none_or(|unit| *unit == line.unit)
            && contains.as_ref().is_none_or(|text| line.text.to_lowercase().contains(text))
    };
    let directory = Path::new(stored::DIRECTORY);
    let found = stored::read(directory, args.earlier_boots, args.limit as usize, wanted)
        .map_err(|e| CallError::unavailable(format!("the stored logs cannot be read: {e}")))?;
    let lines = found.lines.into_iter().map(|(boot, line)| shown(boot, line)).collect();
    Ok(Lines { lines, truncated: found.more, dropped: found.unreadable })
}

/// Milliseconds since 1970: from here to there.
type Window = (u64, u64);

const ALWAYS: Window = (0, u64::MAX);

fn window(args: &Args) -> Result<Window, CallError> {
    let moment = |name: &str, text: &str| {
        let stamp: Timestamp = text.parse().map_err(|_| {
            CallError::invalid(format!("`{name}` is no moment in RFC 3339; write 2026-11-21T07:00:00Z"))
        })?;
        Ok::<_, CallError>(u64::try_from(stamp.as_millisecond()).unwrap_or(0))
    };
    let since = args.since.as_deref().map(|text| moment("since", text)).transpose()?;
    let until = args.until.as_deref().map(|text| moment("until", text)).transpose()?;
    let last = args.minutes.map(|minutes| crate::audit::now_ms().saturating_sub(u64::from(minutes) * 60_000));
    Ok((since.max(last).unwrap_or(ALWAYS.0), until.unwrap_or(ALWAYS.1)))
}

fn within((since, until): Window, line: &LogLine) -> bool {
    (since..=until).contains(&line.time_ms)
}

/// A line of so many boots ago, as people see it.
pub(crate) fn shown(boot: u32, line: LogLine) -> Line {
    Line {
        time: time(line.time_ms),
        unit: line.unit,
        priority: line.priority,
        text: line.text.chars().take(MAX_LINE).collect(),
        boot,
    }
}

fn time(ms: u64) -> String {
    let stamp = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stamp.map(|t| format!("{t:.3}")).unwrap_or_default()
}

fn summary(found: &Lines) -> String {
    let errors = found.lines.iter().filter(|line| line.priority <= 3).count();
    let bad = if errors > 0 { format!(", {errors} of them errors") } else { String::new() };
    let last = found
        .lines
        .last()
        .map(|l| format!("; the newest, of {}: {}", l.unit, l.text.chars().take(120).collect::<String>()));
    match found.lines.len() {
        0 => "no line fits".into(),
        n => format!("{n} lines{bad}{}", last.unwrap_or_default()),
    }
}
