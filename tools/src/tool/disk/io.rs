//! `disk.io`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::DiskStat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Milliseconds that it measures at most.
const MAX_WINDOW: u32 = 60_000;
/// Devices in one answer.
const MAX: usize = 100;
/// Bytes of a sector, whatever the disk's own is (Documentation/admin-guide/iostats.rst).
const SECTOR: u64 = 512;

/// Measure for a moment what the disks do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only this device, such as `vda`.
    #[serde(default)]
    device: Option<String>,
    /// Milliseconds to measure; 0 only shows what was counted since boot.
    #[serde(default = "default_window")]
    #[schemars(range(max = 60_000))]
    window_ms: u32,
    /// Also those that nothing was ever read from or written to.
    #[serde(default)]
    all: bool,
}

fn default_window() -> u32 {
    500
}

/// What the disks do.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Activity {
    /// The devices, the busiest first.
    devices: Vec<Device>,
    /// There are more than are listed.
    truncated: bool,
}

/// One device or partition.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Device {
    /// Its name.
    name: String,
    /// Bytes read since boot.
    read_bytes: u64,
    /// Bytes written since boot.
    written_bytes: u64,
    /// Reads since boot.
    reads: u64,
    /// Writes since boot.
    writes: u64,
    /// What it did while it was measured; none if it was not.
    now: Option<Rate>,
}

/// What a device did while it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Rate {
    /// Bytes read a second.
    read_bytes: f64,
    /// Bytes written a second.
    written_bytes: f64,
    /// Reads and writes a second.
    operations: f64,
    /// How much of the time it had something to do, in percent.
    busy_percent: f64,
    /// Milliseconds that a read or write took on average; none if there was none.
    wait_ms: Option<f64>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 42,
    name: "disk.io",
    summary: "Measure how much the disks read and write, and how busy they are",
    effect: Effect::Read,
    touches: &["the kernel's counters"],
    role: Role::Viewer,
    timeout_ms: 65_000,
    examples: &[
        ("how busy are the disks?", "{}"),
        ("iostat", "{}"),
        ("how many bytes a second are written to vda?", r#"{"device":"vda","window_ms":1000}"#),
        ("is the disk slow?", "{}"),
        ("how much was written to the disks since boot?", r#"{"window_ms":0}"#),
        ("measure the disk activity for 2 seconds", r#"{"window_ms":2000}"#),
    ],
    needs: Needs::NOTHING.read(&["/proc"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Activity, CallError> {
    if args.window_ms > MAX_WINDOW {
        return Err(CallError::invalid(format!("`window_ms` must be at most {MAX_WINDOW}")));
    }
    let before = (args.window_ms > 0).then(stats).transpose()?;
    let begun = Instant::now();
    ctx.pause(Duration::from_millis(args.window_ms.into()))?;
    let (after, seconds) = (stats()?, begun.elapsed().as_secs_f64());
    let mut devices = Vec::new();
    for disk in after {
        let idle = disk.reads == 0 && disk.writes == 0;
        if args.device.as_ref().is_some_and(|wanted| *wanted != disk.name)
            || (idle && !args.all && args.device.is_none())
        {
            continue;
        }
        let earlier = before.iter().flatten().find(|earlier| earlier.name == disk.name);
        devices.push(Device {
            read_bytes: disk.sectors_read.saturating_mul(SECTOR),
            written_bytes: disk.sectors_written.saturating_mul(SECTOR),
            reads: disk.reads,
            writes: disk.writes,
            now: earlier.map(|earlier| rate(earlier, &disk, seconds)),
            name: disk.name,
        });
    }
    if let (Some(wanted), true) = (&args.device, devices.is_empty()) {
        return Err(CallError::not_found(format!("there is no disk named {wanted}")));
    }
    let busy = |device: &Device| device.now.map_or(0.0, |now| now.busy_percent);
    devices.sort_by(|a, b| busy(b).total_cmp(&busy(a)).then_with(|| a.name.cmp(&b.name)));
    let truncated = devices.len() > MAX;
    devices.truncate(MAX);
    Ok(Activity { devices, truncated })
}

fn stats() -> Result<Vec<DiskStat>, CallError> {
    procfs::diskstats().map_err(|e| CallError::failed(format!("/proc/diskstats cannot be read: {e}")))
}

/// Counters may wrap around; then they stood still.
fn rate(before: &DiskStat, after: &DiskStat, seconds: f64) -> Rate {
    let more = |of: fn(&DiskStat) -> u64| of(after).saturating_sub(of(before)) as f64;
    let round = |value: f64| (value * 10.0).round() / 10.0;
    let seconds = seconds.max(0.001);
    let operations = more(|disk| disk.reads) + more(|disk| disk.writes);
    let waited = more(|disk| disk.time_reading) + more(|disk| disk.time_writing);
    Rate {
        read_bytes: round(more(|disk| disk.sectors_read) * SECTOR as f64 / seconds),
        written_bytes: round(more(|disk| disk.sectors_written) * SECTOR as f64 / seconds),
        operations: round(operations / seconds),
        busy_percent: round((more(|disk| disk.time_in_progress) / 10.0 / seconds).min(100.0)),
        wait_ms: (operations > 0.0).then(|| round(waited / operations)),
    }
}

fn summary(found: &Activity) -> String {
    let words: Vec<_> = found
        .devices
        .iter()
        .take(5)
        .map(|device| match device.now {
            Some(now) => format!(
                "{} {} % busy, {}/s read, {}/s written",
                device.name,
                now.busy_percent,
                human_bytes(now.read_bytes as u64),
                human_bytes(now.written_bytes as u64)
            ),
            None => format!(
                "{} {} read, {} written since boot",
                device.name,
                human_bytes(device.read_bytes),
                human_bytes(device.written_bytes)
            ),
        })
        .collect();
    if words.is_empty() { "no disk was ever used".into() } else { words.join("; ") }
}
