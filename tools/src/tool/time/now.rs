//! `time.now`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use jiff::{Timestamp, tz::TimeZone};
use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Show date and time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// Date and time as the machine's clock has it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Now {
    /// UTC, RFC 3339.
    utc: String,
    /// Day of the week in English.
    weekday: String,
    /// Milliseconds since 1970.
    unix_ms: i64,
    /// Seconds since the kernel started.
    uptime_seconds: i64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 52,
    name: "time.now",
    summary: "Show the current date and time",
    effect: Effect::Read,
    touches: &["the clock"],
    role: Role::Viewer,
    timeout_ms: 1_000,
    examples: &[
        ("what time is it?", "{}"),
        ("what is today's date?", "{}"),
        ("which day of the week is it?", "{}"),
        ("show the clock", "{}"),
        ("date", "{}"),
    ],
    needs: Needs::BROKER,
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, _args: Args) -> Result<Now, CallError> {
    let now = Timestamp::now();
    let weekday = format!("{:?}", TimeZone::UTC.to_datetime(now).weekday());
    Ok(Now {
        utc: format!("{now:.0}"),
        weekday,
        unix_ms: now.as_millisecond(),
        uptime_seconds: clock_gettime(ClockId::Boottime).tv_sec,
    })
}

fn summary(now: &Now) -> String {
    format!("{}, {} (UTC)", now.weekday, now.utc)
}
