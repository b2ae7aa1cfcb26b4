//! `cpu.usage`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::{CpuTime, CurrentSI, KernelStats};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Milliseconds that it measures at most.
const MAX_WINDOW: u32 = 60_000;
/// Milliseconds that it measures at least: the kernel counts in steps of 10.
const MIN_WINDOW: u32 = 100;

/// Measure for a moment how busy the processor is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Milliseconds to measure.
    #[serde(default = "default_window")]
    #[schemars(range(min = 100, max = 60_000))]
    window_ms: u32,
}

fn default_window() -> u32 {
    500
}

/// How busy the processor is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// All cores together; 100 is all of them all the time.
    all: Share,
    /// Each core, the first one first.
    cores: Vec<Share>,
    /// Processes and threads that run or wait for a core.
    running: Option<u32>,
    /// Processes and threads that wait for a device.
    blocked: Option<u32>,
}

/// Where the time went, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Share {
    /// All that is not idle.
    busy: f64,
    /// Programs.
    user: f64,
    /// The kernel.
    system: f64,
    /// Interrupts.
    interrupts: f64,
    /// Nothing to do because a device has not answered.
    waiting: f64,
    /// The host of this virtual machine did something else.
    stolen: f64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 57,
    name: "cpu.usage",
    summary: "Measure how busy the processor is, in all and core by core",
    effect: Effect::Read,
    touches: &["the kernel's counters"],
    role: Role::Viewer,
    timeout_ms: 65_000,
    examples: &[
        ("how busy is the processor?", "{}"),
        ("what is the cpu usage right now?", "{}"),
        ("are all cores busy?", "{}"),
        ("measure the processor load for 2 seconds", r#"{"window_ms":2000}"#),
        ("mpstat", "{}"),
        ("how many percent of the cpu are idle?", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/proc"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Usage, CallError> {
    if !(MIN_WINDOW..=MAX_WINDOW).contains(&args.window_ms) {
        return Err(CallError::invalid(format!("`window_ms` must be {MIN_WINDOW} to {MAX_WINDOW}")));
    }
    let before = stats()?;
    ctx.pause(Duration::from_millis(args.window_ms.into()))?;
    let after = stats()?;
    let cores =
        before.cpu_time.iter().zip(&after.cpu_time).map(|(before, after)| share(before, after)).collect();
    Ok(Usage {
        all: share(&before.total, &after.total),
        cores,
        running: after.procs_running,
        blocked: after.procs_blocked,
    })
}

fn stats() -> Result<KernelStats, CallError> {
    KernelStats::current().map_err(|e| CallError::failed(format!("/proc/stat cannot be read: {e}")))
}

/// Counters that go back (a core that went off and on, iowait) count as standing still.
fn share(before: &CpuTime, after: &CpuTime) -> Share {
    let times = |t: &CpuTime| {
        let or = |ticks: Option<u64>| ticks.unwrap_or(0);
        [t.user + t.nice, t.system, or(t.irq) + or(t.softirq), or(t.iowait), or(t.steal), t.idle]
    };
    let (before, after) = (times(before), times(after));
    let spent: Vec<u64> =
        before.iter().zip(after).map(|(before, after)| after.saturating_sub(*before)).collect();
    let all = spent.iter().sum::<u64>();
    let percent = |ticks: u64| match all {
        0 => 0.0,
        all => (ticks as f64 / all as f64 * 1000.0).round() / 10.0,
    };
    let [user, system, interrupts, waiting, stolen, idle] = *spent.as_slice() else {
        return Share::default();
    };
    Share {
        busy: percent(all.saturating_sub(idle).saturating_sub(waiting)),
        user: percent(user),
        system: percent(system),
        interrupts: percent(interrupts),
        waiting: percent(waiting),
        stolen: percent(stolen),
    }
}

fn summary(usage: &Usage) -> String {
    let Share { busy, user, system, waiting, .. } = usage.all;
    let most = usage.cores.iter().enumerate().max_by(|a, b| a.1.busy.total_cmp(&b.1.busy));
    let most = most.map(|(number, core)| {
        format!("; the busiest of {} cores is {number} with {} %", usage.cores.len(), core.busy)
    });
    format!(
        "{busy} % busy ({user} % programs, {system} % kernel), {waiting} % waiting for devices{}",
        most.unwrap_or_default()
    )
}
