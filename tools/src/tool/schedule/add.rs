//! `schedule.add`

use super::shared::{NEEDS, Switch, UNDO, find, summary, unexpected};
use crate::caller::Caller;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::schedule::{Entry, ScheduleAnswer, ScheduleQuestion, When};
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Have a tool called at times. It is called as you are: with your role, and as the policy allows it at that moment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the entry: lower-case letters, digits, `-` and `_`.
    name: String,
    /// Moments of the calendar in UTC, `minute hour day month weekday` as in crontab: `30 3 * * mon-fri`. This or `every_seconds`.
    at: Option<String>,
    /// Seconds from one beginning to the next.
    #[schemars(range(min = 60, max = 31_622_400))]
    every_seconds: Option<u64>,
    /// Name of the tool that is called, such as `backup.snapshot`.
    tool: String,
    /// Its arguments, a JSON object as text.
    #[serde(default = "none")]
    arguments: String,
    /// What it is for; each call gives it as its reason.
    purpose: String,
    /// What was missed while the machine was off is done once as soon as it is on again.
    #[serde(default)]
    catch_up: bool,
}

fn none() -> String {
    "{}".into()
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 176,
    name: "schedule.add",
    summary: "Plan calls of a tool: at moments of the calendar or every so often",
    effect: Effect::Reversible,
    touches: &["the schedule"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        (
            "back up /data/www every night at half past three",
            r#"{"name":"nightly","at":"30 3 * * *","tool":"backup.snapshot","arguments":"{\"paths\":[\"/data/www\"]}","purpose":"nightly backup","catch_up":true}"#,
        ),
        (
            "clean up temporary files once a week",
            r#"{"name":"tidy","at":"0 4 * * sun","tool":"disk.cleanup","purpose":"weekly cleaning"}"#,
        ),
        (
            "restart web every Monday morning at 5",
            r#"{"name":"restart-web","at":"0 5 * * mon","tool":"service.restart","arguments":"{\"name\":\"web\"}","purpose":"it leaks memory"}"#,
        ),
        (
            "look for security holes every hour",
            r#"{"name":"holes","every_seconds":3600,"tool":"sec.audit","purpose":"find what is open"}"#,
        ),
        (
            "plan a check of the backup nightly on the first of each month",
            r#"{"name":"check-backup","at":"0 6 1 * *","tool":"backup.verify","arguments":"{\"name\":\"nightly\"}","purpose":"is it whole"}"#,
        ),
    ],
    needs: NEEDS,
    code: &Make { paths: no_paths, prepare, summary, undo: Some(UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Switch, CallError> {
    let Args { name, at, every_seconds, tool, arguments: args, purpose, catch_up } = args;
    let when = match (at, every_seconds) {
        (Some(at), None) => When::At(at),
        (None, Some(seconds)) => When::EverySeconds(seconds),
        _ => {
            return Err(CallError::invalid(
                "say when: either `at` (such as \"30 3 * * *\") or `every_seconds`",
            ));
        }
    };
    // The broker puts in who asks.
    let maker: Caller = ctx.caller.clone();
    let entry = Entry { name, when, tool, args, purpose, catch_up, enabled: true, maker };
    let entry = match ctx.schedule(ScheduleQuestion::Check(Box::new(entry)))? {
        ScheduleAnswer::Fits(entry) => *entry,
        _ => return Err(unexpected()),
    };
    if find(ctx, &entry.name)?.is_some() {
        let text =
            format!("there is an entry {} already; remove it first or choose another name", entry.name);
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    Ok(Switch { name: entry.name.clone(), from: None, to: Some(entry) })
}
