//! `container.stats`

use super::shared::{LOOKS_AT, check};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::pkg::shared::LOOKS;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where the services' cgroups are.
const GROUPS: &str = "/sys/fs/cgroup/aios";
/// What this takes besides the containers themselves.
const READS: &[&str] = &[GROUPS, LOOKS[0], LOOKS[1], LOOKS[2], LOOKS[3], LOOKS[4]];

/// Show what a container uses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the container.
    name: String,
}

/// What it uses (cgroup-v2.rst); what the kernel does not count is none.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Stats {
    /// Bytes of memory (`memory.current`).
    memory_bytes: Option<u64>,
    /// The most that it had (`memory.peak`).
    memory_peak_bytes: Option<u64>,
    /// What it may have; none is no limit (`memory.max`).
    memory_limit_bytes: Option<u64>,
    /// How often the kernel killed something in it for want of memory (`memory.events`).
    out_of_memory: Option<u64>,
    /// Microseconds of processor time (`cpu.stat`).
    cpu_usec: Option<u64>,
    /// Microseconds that it was held back by its limit.
    cpu_throttled_usec: Option<u64>,
    /// Processes and threads (`pids.current`).
    processes: Option<u64>,
    /// How many it may have (`pids.max`).
    processes_limit: Option<u64>,
    /// Bytes read from all disks (`io.stat`).
    read_bytes: u64,
    /// Bytes written to all disks.
    written_bytes: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 160,
    name: "container.stats",
    summary: "Show what a container uses: memory, processor time, processes, disk",
    effect: Effect::Read,
    touches: &["the cgroup of the container"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("how much memory does the container shop use?", r#"{"name":"shop"}"#),
        ("docker stats wiki", r#"{"name":"wiki"}"#),
        ("resource usage of the container blog", r#"{"name":"blog"}"#),
        ("is the container cache held back by its cpu limit?", r#"{"name":"cache"}"#),
        ("how many processes does the container mail have?", r#"{"name":"mail"}"#),
    ],
    needs: Needs { read: READS, ..LOOKS_AT },
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Stats, CallError> {
    let image = check(ctx, &args.name)?;
    read(&Path::new(GROUPS).join(image.manifest.name))
}

fn read(group: &Path) -> Result<Stats, CallError> {
    let text = |name: &str| std::fs::read_to_string(group.join(name)).unwrap_or_default();
    if !group.is_dir() {
        return Err(CallError::not_found(format!(
            "{} is not there; init made no cgroup for it",
            group.display()
        )));
    }
    let number = |name: &str| text(name).trim().parse().ok();
    let (cpu, io) = (text("cpu.stat"), text("io.stat"));
    let disks = |name: &str| io.lines().filter_map(|line| after(line, name)).fold(0, u64::saturating_add);
    Ok(Stats {
        memory_bytes: number("memory.current"),
        memory_peak_bytes: number("memory.peak"),
        memory_limit_bytes: number("memory.max"),
        out_of_memory: field(&text("memory.events"), "oom_kill"),
        cpu_usec: field(&cpu, "usage_usec"),
        cpu_throttled_usec: field(&cpu, "throttled_usec"),
        processes: number("pids.current"),
        processes_limit: number("pids.max"),
        read_bytes: disks("rbytes="),
        written_bytes: disks("wbytes="),
    })
}

/// The number behind a name in a flat keyed file.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// The number behind `NAME=` in a nested keyed line.
fn after(line: &str, name: &str) -> Option<u64> {
    line.split(' ').find_map(|word| word.strip_prefix(name)?.parse().ok())
}

fn summary(stats: &Stats) -> String {
    let memory = stats.memory_bytes.map_or("unknown".into(), human_bytes);
    let limit =
        stats.memory_limit_bytes.map(|limit| format!(" of {}", human_bytes(limit))).unwrap_or_default();
    let seconds = stats.cpu_usec.unwrap_or(0) as f64 / 1e6;
    let processes = stats.processes.unwrap_or(0);
    format!("memory {memory}{limit}, {seconds:.1} s of processor time, {processes} processes and threads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_and_what_is_not_limited_has_no_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\noom 1\noom_kill 2\n"),
            ("cpu.stat", "usage_usec 7\nthrottled_usec 3\n"),
            ("pids.current", "5\n"),
            ("pids.max", "64\n"),
            ("io.stat", "254:0 rbytes=10 wbytes=20 rios=1\n254:16 rbytes=1 wbytes=2\n"),
        ] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let stats = read(folder.path()).expect("is there");
        assert_eq!((stats.memory_bytes, stats.memory_limit_bytes), (Some(4096), None));
        assert_eq!(
            (stats.out_of_memory, stats.cpu_usec, stats.cpu_throttled_usec),
            (Some(2), Some(7), Some(3))
        );
        assert_eq!((stats.processes, stats.processes_limit), (Some(5), Some(64)));
        assert_eq!((stats.read_bytes, stats.written_bytes, stats.memory_peak_bytes), (11, 22, None));
        assert!(read(&folder.path().join("none")).is_err());
    }
}
