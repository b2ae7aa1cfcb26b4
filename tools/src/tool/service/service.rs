//! What the service tools share: services as PID 1 tells of them.

use crate::ctx::Ctx;
use aios_abi::service::{InitReply, InitRequest, LogLine, ServiceStatus};
use aios_abi::{CallError, ErrorCode};
use schemars::JsonSchema;
use serde::Serialize;

/// One service.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Service {
    /// Name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// `waiting`, `starting`, `running`, `stopping`, `stopped`, `backoff` (died, will be started again) or `failed`.
    pub state: String,
    /// Main process, if it runs.
    pub pid: Option<u32>,
    /// Seconds in this state.
    pub since_seconds: u64,
    /// How often it was started again after a death, since boot.
    pub restarts: u32,
    /// It keeps dying and is retried slowly.
    pub degraded: bool,
    /// Why it last ended.
    pub last_exit: Option<String>,
    /// What it last said of itself.
    pub status: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time in microseconds.
    pub cpu_usec: Option<u64>,
    /// Processes.
    pub processes: Option<u32>,
}

impl From<ServiceStatus> for Service {
    fn from(status: ServiceStatus) -> Self {
        Self {
            state: status.state.as_str().into(),
            name: status.name,
            description: status.description,
            pid: status.pid,
            since_seconds: status.since_ms / 1000,
            restarts: status.restarts,
            degraded: status.degraded,
            last_exit: status.last_exit,
            status: status.status,
            memory_bytes: status.memory_bytes,
            cpu_usec: status.cpu_usec,
            processes: status.processes,
        }
    }
}

/// Ask PID 1.
pub(crate) fn ask(ctx: &Ctx, request: InitRequest) -> Result<InitReply, CallError> {
    ctx.init(request)
}

/// PID 1 answered something else than was asked.
pub(crate) fn unexpected() -> CallError {
    CallError::new(
        ErrorCode::Failed,
        "init answered something else than was asked; use programs of one release",
    )
}

/// All services, and the service files that PID 1 refused.
pub(crate) fn all(ctx: &Ctx) -> Result<(Vec<Service>, Vec<String>), CallError> {
    match ask(ctx, InitRequest::List)? {
        InitReply::List { services, refused } => {
            Ok((services.into_iter().map(Service::from).collect(), refused))
        }
        _ => Err(unexpected()),
    }
}

/// One service.
pub(crate) fn one(ctx: &Ctx, name: &str) -> Result<Service, CallError> {
    match ask(ctx, InitRequest::Status { name: name.into() })? {
        InitReply::Status(status) => Ok(status.into()),
        _ => Err(unexpected()),
    }
}

/// Log lines, oldest first, and how many the rings have dropped.
pub(crate) fn logs(
    ctx: &Ctx,
    unit: Option<String>,
    contains: Option<String>,
    limit: u32,
) -> Result<(Vec<LogLine>, u64), CallError> {
    match ask(ctx, InitRequest::Logs { unit, contains, limit, follow: false })? {
        InitReply::Logs { lines, dropped } => Ok((lines, dropped)),
        _ => Err(unexpected()),
    }
}
