//! `service.status`

use super::shared::{Service, logs, one};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Log lines in the answer.
const LINES: u32 = 10;

/// Show one service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `netd`.
    name: String,
}

/// One service and the end of its log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    /// The service.
    service: Service,
    /// Its last log lines, oldest first.
    log: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 21,
    name: "service.status",
    summary: "Show one service in detail: state, restarts, memory, last log lines",
    effect: Effect::Read,
    touches: &["state and log of the service named"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("is netd running?", r#"{"name":"netd"}"#),
        ("show the status of the console service", r#"{"name":"console"}"#),
        ("why did inferd crash?", r#"{"name":"inferd"}"#),
        ("how often was agentd restarted?", r#"{"name":"agentd"}"#),
        ("how much memory does the service toold use?", r#"{"name":"toold"}"#),
        ("is the network daemon netd ok?", r#"{"name":"netd"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Status, CallError> {
    let service = one(ctx, &args.name)?;
    let (lines, _) = logs(ctx, Some(args.name), None, LINES)?;
    Ok(Status { service, log: lines.into_iter().map(|line| line.text).collect() })
}

fn summary(found: &Status) -> String {
    let service = &found.service;
    let pid = service.pid.map(|pid| format!(" as process {pid}")).unwrap_or_default();
    let exit = service.last_exit.as_ref().map(|why| format!(", last {why}")).unwrap_or_default();
    format!(
        "{} is {}{pid} for {} s, {} restarts{exit}",
        service.name, service.state, service.since_seconds, service.restarts
    )
}
