//! `process.list`

use super::shared::{KERNEL_THREAD, MAX_COMMAND, human_bytes, users};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::process::{Process, all_processes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Processes in one answer.
const MAX: u32 = 500;
/// How long processor use is measured: with the kernel's ticks of 10 ms this tells 2.5 % apart.
const WINDOW: Duration = Duration::from_millis(400);

/// List processes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// What comes first.
    #[serde(default)]
    sort: Sort,
    /// At most this many.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 500))]
    limit: u32,
    /// Only processes whose name or command line contains this text.
    #[serde(default)]
    contains: Option<String>,
    /// Also threads of the kernel.
    #[serde(default)]
    kernel: bool,
}

fn default_limit() -> u32 {
    50
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// Most memory first.
    #[default]
    Memory,
    /// Most processor use first, measured for a moment.
    Cpu,
    /// Lowest process id first.
    Pid,
}

/// The processes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Processes {
    /// The processes, in the order asked for.
    processes: Vec<Info>,
    /// How many match in all.
    total: u32,
    /// More match than are listed.
    truncated: bool,
}

/// One process.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Info {
    /// Process id.
    pid: u32,
    /// Id of its parent.
    parent: u32,
    /// Name as the kernel has it.
    name: String,
    /// Command line, shortened.
    command: String,
    /// User that it runs as.
    user: String,
    /// State: `R` runs, `S` sleeps, `D` waits for a device, `Z` has ended, `T` is stopped.
    state: char,
    /// Memory in bytes (resident set).
    memory_bytes: u64,
    /// Processor use in percent of one core, when sorted by it.
    cpu_percent: Option<f64>,
    /// Processor time since its start, in seconds.
    cpu_seconds: f64,
    /// Threads.
    threads: u32,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 10,
    name: "process.list",
    summary: "List running processes by memory or processor use",
    effect: Effect::Read,
    touches: &["facts of processes"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("which processes are running?", "{}"),
        ("what uses the most memory?", r#"{"sort":"memory","limit":10}"#),
        ("which program eats the cpu?", r#"{"sort":"cpu","limit":10}"#),
        ("show the top 5 processes by cpu", r#"{"sort":"cpu","limit":5}"#),
        ("is a process named aios-inferd running?", r#"{"contains":"aios-inferd"}"#),
        ("ps", r#"{"sort":"pid"}"#),
        ("how many processes are there?", "{}"),
        ("why is the machine so slow?", r#"{"sort":"cpu","limit":10}"#),
        ("show the kernel threads too", r#"{"kernel":true,"sort":"pid"}"#),
    ],
    needs: Needs::NOTHING.read(&["/proc", "/etc/passwd"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Processes, CallError> {
    if args.limit == 0 || args.limit > MAX {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX} processes")));
    }
    let wanted = args.contains.as_deref().map(str::to_lowercase);
    let ticks = procfs::ticks_per_second() as f64;
    let users = users();
    let measured = (args.sort == Sort::Cpu).then(|| (Instant::now(), ticks_of_all()));
    if measured.is_some() {
        ctx.pause(WINDOW)?;
    }
    let mut found = Vec::new();
    for process in all_processes().map_err(failed)?.flatten() {
        // A process that ends meanwhile is no error.
        let Some(mut info) = look_at(&process, args.kernel, wanted.as_deref(), ticks, &users) else {
            continue;
        };
        if let Some((since, before)) = &measured {
            let earlier = before.get(&info.pid).copied().unwrap_or(0.0);
            let used = (info.cpu_seconds - earlier / ticks).max(0.0);
            info.cpu_percent = Some((used / since.elapsed().as_secs_f64() * 1000.0).round() / 10.0);
        }
        found.push(info);
    }
    match args.sort {
        Sort::Memory => found.sort_by_key(|info| std::cmp::Reverse(info.memory_bytes)),
        Sort::Cpu => found
            .sort_by(|a, b| b.cpu_percent.partial_cmp(&a.cpu_percent).unwrap_or(std::cmp::Ordering::Equal)),
        Sort::Pid => found.sort_by_key(|info| info.pid),
    }
    let total = u32::try_from(found.len()).unwrap_or(u32::MAX);
    found.truncate(args.limit as usize);
    Ok(Processes { processes: found, total, truncated: total > args.limit })
}

fn failed(error: procfs::ProcError) -> CallError {
    CallError::failed(format!("/proc cannot be read: {error}"))
}

/// Processor time of every process so far, in ticks.
fn ticks_of_all() -> HashMap<u32, f64> {
    let Ok(all) = all_processes() else { return HashMap::new() };
    all.flatten()
        .filter_map(|process| {
            let stat = process.stat().ok()?;
            Some((stat.pid.cast_unsigned(), (stat.utime + stat.stime) as f64))
        })
        .collect()
}

fn look_at(
    process: &Process,
    kernel: bool,
    wanted: Option<&str>,
    ticks: f64,
    users: &HashMap<u32, String>,
) -> Option<Info> {
    let stat = process.stat().ok()?;
    if stat.flags & KERNEL_THREAD != 0 && !kernel {
        return None;
    }
    let command = process.cmdline().unwrap_or_default().join(" ");
    if let Some(wanted) = wanted
        && !stat.comm.to_lowercase().contains(wanted)
        && !command.to_lowercase().contains(wanted)
    {
        return None;
    }
    let uid = process.uid().ok()?;
    Some(Info {
        pid: stat.pid.cast_unsigned(),
        parent: stat.ppid.cast_unsigned(),
        memory_bytes: stat.rss.saturating_mul(procfs::page_size()),
        cpu_percent: None,
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        threads: u32::try_from(stat.num_threads).unwrap_or(0),
        state: stat.state,
        name: stat.comm,
        command: command.chars().take(MAX_COMMAND).collect(),
        user: users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
    })
}

fn summary(found: &Processes) -> String {
    let first = found.processes.first().map(|p| match p.cpu_percent {
        Some(percent) => format!(", first {} ({}) with {percent} % of a core", p.name, p.pid),
        None => format!(", first {} ({}) with {}", p.name, p.pid, human_bytes(p.memory_bytes)),
    });
    format!("{} processes{}", found.total, first.unwrap_or_default())
}
