//! `memory.info`

use super::shared::{Pressure, pressure};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::{Current, Meminfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Show how memory is used.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// Memory in bytes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Memory {
    /// All that the kernel manages.
    total: u64,
    /// What programs can get without swapping.
    available: u64,
    /// Used for nothing at all.
    free: u64,
    /// Caches of files, given back on demand.
    cached: u64,
    /// Buffers of block devices, given back on demand.
    buffers: u64,
    /// Shared memory and tmpfs.
    shared: u64,
    /// Used by the kernel for its own things, of which some can be given back.
    kernel: u64,
    /// Used part in percent (what is not available).
    used_percent: f64,
    /// Swap in all.
    swap_total: u64,
    /// Swap in use.
    swap_used: u64,
    /// How much of the time work waited for memory, in percent.
    pressure: Option<Pressure>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 50,
    name: "memory.info",
    summary: "Show how much memory is used and free",
    effect: Effect::Read,
    touches: &["the kernel's memory counters"],
    role: Role::Viewer,
    timeout_ms: 2_000,
    examples: &[
        ("how much memory is free?", "{}"),
        ("show RAM usage", "{}"),
        ("is the machine running out of memory?", "{}"),
        ("how much RAM does this box have?", "{}"),
        ("is swap being used?", "{}"),
        ("memory pressure", "{}"),
        ("memory usage", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/proc", "/sys"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, _args: Args) -> Result<Memory, CallError> {
    let info =
        Meminfo::current().map_err(|e| CallError::failed(format!("/proc/meminfo cannot be read: {e}")))?;
    let available = info.mem_available.unwrap_or(info.mem_free);
    let used = info.mem_total.saturating_sub(available);
    Ok(Memory {
        total: info.mem_total,
        available,
        free: info.mem_free,
        cached: info.cached,
        buffers: info.buffers,
        shared: info.shmem.unwrap_or(0),
        kernel: info.slab,
        used_percent: (used as f64 / info.mem_total.max(1) as f64 * 1000.0).round() / 10.0,
        swap_total: info.swap_total,
        swap_used: info.swap_total.saturating_sub(info.swap_free),
        pressure: pressure("memory"),
    })
}

fn summary(memory: &Memory) -> String {
    let swap = if memory.swap_total == 0 {
        "no swap".into()
    } else {
        format!("swap {} of {}", human_bytes(memory.swap_used), human_bytes(memory.swap_total))
    };
    format!(
        "{} % of {} memory used, {} available, {swap}",
        memory.used_percent,
        human_bytes(memory.total),
        human_bytes(memory.available)
    )
}
