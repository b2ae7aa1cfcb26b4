//! `system.info`

use super::shared::{SYS, Zone, zones};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::tool::memory::shared::{Pressure, pressure};
use crate::tool::process::shared::human_bytes;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::Current;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Show what machine this is and how it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// The machine.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Info {
    /// Host name.
    hostname: String,
    /// Version of the image.
    version: String,
    /// Kernel release.
    kernel: String,
    /// Instruction set, such as `x86_64`.
    architecture: String,
    /// Seconds since the kernel started.
    uptime_seconds: u64,
    /// Name of the processor.
    cpu: String,
    /// Processor cores that are online.
    cores: u32,
    /// Tasks that run or wait for a device, average of 1, 5 and 15 minutes.
    load: [f32; 3],
    /// Memory in bytes.
    memory_total: u64,
    /// Memory in bytes that programs can get.
    memory_available: u64,
    /// Processes.
    processes: u32,
    /// How much of the time work waited for the processor, in percent.
    cpu_pressure: Option<Pressure>,
    /// How much of the time work waited for memory, in percent.
    memory_pressure: Option<Pressure>,
    /// How much of the time work waited for disks, in percent.
    io_pressure: Option<Pressure>,
    /// Temperatures, where there are sensors.
    temperatures: Vec<Temperature>,
}

/// One sensor.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Temperature {
    /// What it measures, such as `x86_pkg_temp`.
    sensor: String,
    /// Degrees Celsius.
    celsius: f32,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 51,
    name: "system.info",
    summary: "Show the machine: kernel, uptime, processor, load, memory, pressure, temperature",
    effect: Effect::Read,
    touches: &["the kernel's counters"],
    role: Role::Viewer,
    timeout_ms: 2_000,
    examples: &[
        ("how is the machine?", "{}"),
        ("what is the uptime?", "{}"),
        ("which kernel version is running?", "{}"),
        ("how high is the cpu load?", "{}"),
        ("how many cores does this computer have?", "{}"),
        ("how hot is the processor?", "{}"),
        ("what version of aiOS is this?", "{}"),
        ("how long has this machine been running?", "{}"),
        ("what is the hostname?", "{}"),
        ("is the system under heavy load?", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/proc", "/sys", "/etc"]).asks(&[Asks::InitToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, _args: Args) -> Result<Info, CallError> {
    let failed = |e| CallError::failed(format!("/proc cannot be read: {e}"));
    let uname = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let memory = procfs::Meminfo::current().map_err(failed)?;
    let load = procfs::LoadAverage::current().map_err(failed)?;
    let uptime = procfs::Uptime::current().map_err(failed)?;
    let cpu = procfs::CpuInfo::current().map_err(failed)?;
    let processes = procfs::process::all_processes().map_err(failed)?.count();
    Ok(Info {
        hostname: text(uname.nodename()),
        version: crate::tool::image_version(),
        kernel: text(uname.release()),
        architecture: text(uname.machine()),
        uptime_seconds: uptime.uptime_duration().as_secs(),
        cpu: cpu.model_name(0).unwrap_or("unknown").trim().to_owned(),
        cores: u32::try_from(cpu.num_cores()).unwrap_or(0),
        load: [load.one, load.five, load.fifteen],
        memory_total: memory.mem_total,
        memory_available: memory.mem_available.unwrap_or(memory.mem_free),
        processes: u32::try_from(processes).unwrap_or(u32::MAX),
        cpu_pressure: pressure("cpu"),
        memory_pressure: pressure("memory"),
        io_pressure: pressure("io"),
        temperatures: zones(Path::new(SYS))
            .into_iter()
            .map(|Zone { sensor, celsius, .. }| Temperature { sensor, celsius })
            .collect(),
    })
}

fn summary(info: &Info) -> String {
    let hottest = info
        .temperatures
        .iter()
        .map(|t| t.celsius)
        .fold(None, |a: Option<f32>, t| Some(a.map_or(t, |a| a.max(t))));
    let heat = hottest.map(|t| format!(", {t:.0} °C")).unwrap_or_default();
    format!(
        "{}, aiOS {}, kernel {}, up {}, {} cores, load {:.2}, {} of {} memory available{heat}",
        info.hostname,
        info.version,
        info.kernel,
        duration(info.uptime_seconds),
        info.cores,
        info.load[0],
        human_bytes(info.memory_available),
        human_bytes(info.memory_total)
    )
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) if minutes == 0 => format!("{seconds} s"),
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn uptime_is_told_in_the_two_units_that_matter() {
        let told: Vec<_> = [5, 65, 3_700, 90_000].into_iter().map(duration).collect();
        assert_eq!(told, ["5 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    }
}
