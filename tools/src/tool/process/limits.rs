//! `process.limits`

use super::shared::{cgroup_of, human_bytes, no_process, process, service_of};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::process::{LimitValue, Limits as Kernel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where cgroups are (cgroup v2).
const CGROUPS: &str = "/sys/fs/cgroup";
/// Levels of cgroups that are looked at.
const MAX_LEVELS: usize = 32;

/// Show what a process may use: limits of its own and of its cgroup.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Process id.
    #[schemars(range(min = 1))]
    pid: u32,
}

/// Limits; what has none is not limited.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Limits {
    /// Process id.
    pid: u32,
    /// Its name.
    name: String,
    /// Service that it belongs to.
    service: Option<String>,
    /// Limits of the process itself (getrlimit(2)).
    own: Vec<Own>,
    /// Its cgroup and those above it, from its own on.
    cgroups: Vec<Cgroup>,
}

/// One limit of the process itself.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Own {
    /// What is limited.
    what: &'static str,
    /// In what it is counted.
    unit: &'static str,
    /// What holds; none is no limit.
    soft: Option<u64>,
    /// How far the process may raise that itself; none is no limit.
    hard: Option<u64>,
}

/// What a cgroup may use (Documentation/admin-guide/cgroup-v2.rst).
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Cgroup {
    /// Its path below `/sys/fs/cgroup`.
    path: String,
    /// Memory in use, in bytes.
    memory_bytes: Option<u64>,
    /// Memory in bytes that is not taken from it.
    memory_min: Option<u64>,
    /// Memory in bytes above which it is slowed down.
    memory_high: Option<u64>,
    /// Memory in bytes above which processes are ended.
    memory_max: Option<u64>,
    /// Swap in bytes that it may use.
    swap_max: Option<u64>,
    /// Processor time that it may use, in percent of one core.
    cpu_percent: Option<f64>,
    /// Its share of the processor against its neighbours; 100 is usual.
    cpu_weight: Option<u64>,
    /// Processes and threads in it.
    processes: Option<u64>,
    /// Processes and threads that there may be.
    processes_max: Option<u64>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 16,
    name: "process.limits",
    summary: "Show the limits of a process and of its cgroup",
    effect: Effect::Read,
    touches: &["facts of the process named and of its cgroups"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("what are the limits of process 412?", r#"{"pid":412}"#),
        ("how much RAM may process 98 take?", r#"{"pid":98}"#),
        ("ulimit of pid 230", r#"{"pid":230}"#),
        ("how many files may process 77 open at most?", r#"{"pid":77}"#),
        ("show the cgroup limits that hold for process 1500", r#"{"pid":1500}"#),
    ],
    needs: Needs::NOTHING.read(&["/proc", "/sys/fs/cgroup"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, args: Args) -> Result<Limits, CallError> {
    let process = process(args.pid)?;
    let name = process.stat().map_err(|_| no_process(args.pid))?.comm;
    let own = process.limits().map(|limits| own(&limits)).unwrap_or_default();
    let path = cgroup_of(&process);
    let above = path.iter().flat_map(|path| Path::new(path).ancestors()).take(MAX_LEVELS);
    let cgroups = above.filter(|path| path.parent().is_some()).map(cgroup).collect();
    Ok(Limits { pid: args.pid, name, service: path.as_deref().and_then(service_of), own, cgroups })
}

fn own(limits: &Kernel) -> Vec<Own> {
    let value = |value| match value {
        LimitValue::Value(most) => Some(most),
        LimitValue::Unlimited => None,
    };
    [
        ("processor time", "seconds", &limits.max_cpu_time),
        ("size of a file", "bytes", &limits.max_file_size),
        ("data", "bytes", &limits.max_data_size),
        ("stack", "bytes", &limits.max_stack_size),
        ("core file", "bytes", &limits.max_core_file_size),
        ("processes and threads of its user", "number", &limits.max_processes),
        ("open files", "number", &limits.max_open_files),
        ("locked memory", "bytes", &limits.max_locked_memory),
        ("address space", "bytes", &limits.max_address_space),
        ("waiting signals", "number", &limits.max_pending_signals),
        ("message queues", "bytes", &limits.max_msgqueue_size),
        ("realtime priority", "number", &limits.max_realtime_priority),
    ]
    .into_iter()
    .map(|(what, unit, limit)| Own {
        what,
        unit,
        soft: value(limit.soft_limit),
        hard: value(limit.hard_limit),
    })
    .collect()
}

fn cgroup(path: &Path) -> Cgroup {
    let folder = Path::new(CGROUPS).join(path.strip_prefix("/").unwrap_or(path));
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| text(name)?.trim().parse().ok();
    Cgroup {
        path: path.display().to_string(),
        memory_bytes: number("memory.current"),
        memory_min: number("memory.min").filter(|least| *least > 0),
        memory_high: number("memory.high"),
        memory_max: number("memory.max"),
        swap_max: number("memory.swap.max"),
        cpu_percent: text("cpu.max").as_deref().and_then(percent),
        cpu_weight: number("cpu.weight"),
        processes: number("pids.current"),
        processes_max: number("pids.max"),
    }
}

/// `cpu.max`: microseconds of each period, or `max`.
fn percent(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0).then(|| (quota as f64 / period as f64 * 1000.0).round() / 10.0)
}

fn summary(limits: &Limits) -> String {
    let memory = limits.cgroups.iter().filter_map(|cgroup| cgroup.memory_max).min();
    let cpu = limits.cgroups.iter().filter_map(|cgroup| cgroup.cpu_percent).reduce(f64::min);
    let files = limits.own.iter().find(|own| own.what == "open files").and_then(|own| own.soft);
    let or = |what: Option<String>, name: &str| what.unwrap_or_else(|| format!("{name} without a limit"));
    format!(
        "{} ({}): {}, {}, {}",
        limits.name,
        limits.pid,
        or(memory.map(|bytes| format!("memory up to {}", human_bytes(bytes))), "memory"),
        or(cpu.map(|percent| format!("{percent} % of a core")), "processor"),
        or(files.map(|files| format!("{files} open files")), "open files"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_processor_are_read_as_the_kernel_writes_them() {
        assert_eq!(percent("150000 100000\n"), Some(150.0));
        assert_eq!(percent("max 100000\n"), None);
        assert_eq!(percent("1 0"), None);
        assert_eq!(percent(""), None);
    }
}
