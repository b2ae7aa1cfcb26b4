//! `schedule.list`

use super::shared::{all, words};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::schedule::{Entry, Item, Past};
use crate::tool::service::shared::{ask, unexpected};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Show what is planned, and what came of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only entries whose last run failed.
    #[serde(default)]
    only_failed: bool,
}

/// What is planned.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Planned {
    /// Calls of tools, by name.
    entries: Vec<Listed>,
    /// Services that init starts at times; service.enable and service.disable switch those.
    timers: Vec<Timer>,
}

/// A planned call.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// Its name.
    name: String,
    /// When it runs.
    when: String,
    /// The tool that is called.
    tool: String,
    /// Its arguments, a JSON object as text.
    args: String,
    /// What it is for.
    purpose: String,
    /// Who planned it, and as whom it runs.
    by: String,
    /// The role that it runs with.
    role: String,
    /// Whether it runs.
    enabled: bool,
    /// What was missed is done once when the machine is on again.
    catch_up: bool,
    /// Seconds until it runs.
    next_run_seconds: Option<u64>,
    /// Its last run began then, in RFC 3339, UTC.
    began: Option<String>,
    /// And ended then; none while it runs, and when it was cut off with the machine.
    ended: Option<String>,
    /// What that came to.
    result: Option<String>,
    /// Why that failed.
    error: Option<String>,
    /// Record of that call.
    audit: Option<u64>,
    /// How often it ran.
    runs: u64,
    /// How often in a row it failed.
    failed: u64,
    /// How often it was due while it still ran.
    skipped: u64,
}

/// A service with a timer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Timer {
    /// The service.
    service: String,
    /// Its state.
    state: String,
    /// Seconds until it is started.
    next_run_seconds: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 175,
    name: "schedule.list",
    summary: "Show what is planned: calls of tools and timers, when each runs next and how its last run went",
    effect: Effect::Read,
    touches: &["the schedule", "timers of services"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("what is scheduled?", "{}"),
        ("which tasks run at night?", "{}"),
        ("when does the next planned job run?", "{}"),
        ("show all timers and cron jobs", "{}"),
        ("which scheduled tasks have failed?", r#"{"only_failed":true}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::Schedule, Asks::InitToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Planned, CallError> {
    let mut entries: Vec<Listed> = all(ctx)?.into_iter().map(listed).collect();
    entries.retain(|entry| !args.only_failed || entry.error.is_some());
    let timers = match ask(ctx, InitRequest::List)? {
        InitReply::List { services, .. } => services
            .into_iter()
            .filter_map(|service| {
                let next_run_seconds = service.next_run_ms? / 1000;
                Some(Timer { service: service.name, state: service.state.as_str().into(), next_run_seconds })
            })
            .collect(),
        _ => return Err(unexpected()),
    };
    Ok(Planned { entries, timers })
}

fn listed((item, next_run_seconds): (Item, Option<u64>)) -> Listed {
    let Item { entry, past } = item;
    let Entry { name, when, tool, args, purpose, catch_up, enabled, maker } = entry;
    let Past { began, ended, result, error, audit, runs, failed, skipped, .. } = past;
    let time = |seconds: Option<u64>| {
        let seconds = i64::try_from(seconds?).ok()?;
        Timestamp::from_second(seconds).ok().map(|time| time.to_string())
    };
    Listed {
        name,
        when: words(&when),
        tool,
        args,
        purpose,
        by: match maker.person {
            Some(person) => format!("{} ({})", person.name, maker.by),
            None => maker.by,
        },
        role: maker.role.as_str().into(),
        enabled,
        catch_up,
        next_run_seconds,
        began: time(began),
        ended: time(ended),
        result,
        error,
        audit,
        runs,
        failed,
        skipped,
    }
}

fn summary(planned: &Planned) -> String {
    let failed: Vec<&str> =
        planned.entries.iter().filter(|e| e.error.is_some()).map(|e| e.name.as_str()).collect();
    let mut text = format!("{} planned calls, {} timers", planned.entries.len(), planned.timers.len());
    if !failed.is_empty() {
        text += &format!("; the last run failed of {}", failed.join(", "));
    }
    text
}
