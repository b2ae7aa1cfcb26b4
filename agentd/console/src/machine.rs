//! What the kernel says about load, memory and disks. The parsers are pure; the readers are thin.

use aios_abi::service::MachineStatus;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Processor load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cpu {
    /// Busy share of all cores since the last look, 0 to 100.
    pub percent: f64,
    /// Load average over one minute.
    pub load1: f64,
    /// Cores.
    pub cores: u32,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All that the kernel has.
    pub total: u64,
    /// What could be given to a new process without swapping.
    pub available: u64,
}

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Where it is mounted.
    pub mount: String,
    /// Size in bytes.
    pub total: u64,
    /// Bytes that may still be written.
    pub available: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// Ticks that the processors have spent, from `/proc/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ticks {
    busy: u64,
    total: u64,
}

/// The first line and the number of cores of `/proc/stat` (proc_stat(5)).
pub fn parse_stat(text: &str) -> Option<(Ticks, u32)> {
    let first = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = first.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // guest and guest_nice (9th, 10th) are contained in user and nice already.
    let total = fields.iter().take(8).sum();
    let idle = fields.get(3)? + fields.get(4).copied().unwrap_or(0);
    let is_core = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let cores = text.lines().filter(is_core).count();
    Some((Ticks { busy: total - idle, total }, u32::try_from(cores).ok()?))
}

/// The busy share between two looks, in percent.
pub fn percent(before: Ticks, after: Ticks) -> f64 {
    let total = after.total.saturating_sub(before.total);
    let busy = after.busy.saturating_sub(before.busy).min(total);
    if total == 0 {
        return 0.0;
    }
    (busy as f64 / total as f64 * 1000.0).round() / 10.0
}

/// `MemTotal` and `MemAvailable` of `/proc/meminfo` (proc_meminfo(5)).
pub fn parse_meminfo(text: &str) -> Option<Memory> {
    let kib = |name: &str| {
        text.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            value.split_whitespace().next()?.parse::<u64>().ok()
        })
    };
    Some(Memory { total: kib("MemTotal")? * 1024, available: kib("MemAvailable")? * 1024 })
}

/// Remembers the last look at the processors.
#[derive(Debug, Default)]
pub struct Meter {
    last: Option<(Instant, Ticks, f64)>,
}

impl Meter {
    /// The load now. Two looks within a fifth of a second see the same: too few ticks lie between them.
    pub fn read(&mut self) -> Cpu {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load1 = load.split_whitespace().next().and_then(|l| l.parse().ok()).unwrap_or(0.0);
        let Some((ticks, cores)) = parse_stat(&stat) else {
            return Cpu { percent: 0.0, load1, cores: 0 };
        };
        let now = Instant::now();
        let percent = match self.last {
            Some((at, _, percent)) if now - at < Duration::from_millis(200) => percent,
            Some((_, before, _)) => percent(before, ticks),
            None => percent(Ticks::default(), ticks),
        };
        if self.last.is_none_or(|(at, ..)| now - at >= Duration::from_millis(200)) {
            self.last = Some((now, ticks, percent));
        }
        Cpu { percent, load1, cores }
    }
}

/// Memory now; zeros when the kernel does not say.
pub fn memory() -> Memory {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    parse_meminfo(&text).unwrap_or(Memory { total: 0, available: 0 })
}

/// The file systems of the appliance that are there.
pub fn disks() -> Vec<Disk> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    ["/", "/data", "/models"].iter().filter_map(|mount| disk(mount, &mounts)).collect()
}

fn disk(mount: &str, mounts: &str) -> Option<Disk> {
    let stat = rustix::fs::statvfs(mount).ok()?;
    Some(Disk {
        mount: mount.to_owned(),
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        available: stat.f_bavail.saturating_mul(stat.f_frsize),
        read_only: is_read_only(mount, mounts),
    })
}

/// Whether the file system itself is read-only (`/proc/PID/mountinfo`, proc(5)): the mount that a sandboxed
/// daemon sees is that anyway.
fn is_read_only(mount: &str, mounts: &str) -> bool {
    let options = mounts.lines().rev().find_map(|line| {
        let (place, source) = line.split_once(" - ")?;
        (place.split(' ').nth(4)? == mount).then(|| source.split(' ').nth(2))?
    });
    options.is_some_and(|options| options.split(',').any(|option| option == "ro"))
}

/// The host name.
pub fn hostname() -> String {
    line("/proc/sys/kernel/hostname")
}

/// The image's version (os-release(5)).
pub fn version() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    parse_version(&text).unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

fn parse_version(text: &str) -> Option<String> {
    let is_ours = text.lines().any(|line| line.trim_matches('"') == "NAME=aiOS" || line == "NAME=\"aiOS\"");
    let value = text.lines().find_map(|line| line.strip_prefix("VERSION_ID="))?;
    is_ours.then(|| value.trim_matches('"').to_owned())
}

/// What can be said of the machine without init; what only init knows is left at zero.
pub fn identity() -> MachineStatus {
    let uptime = line("/proc/uptime");
    let seconds: f64 = uptime.split_whitespace().next().and_then(|u| u.parse().ok()).unwrap_or(0.0);
    MachineStatus {
        hostname: hostname(),
        version: version(),
        kernel: line("/proc/sys/kernel/osrelease"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        uptime_ms: (seconds * 1000.0) as u64,
        init_started_ms: 0,
        console_ready_ms: None,
        data: "unknown".into(),
        init_resumed: 0,
    }
}

fn line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 0 50 800 50 0 0 0 90 0\ncpu0 50 0 25 400 25 0 0 0 0 0\ncpu1 50 0 25 400 25\n\
                        intr 1\nctxt 2\n";

    #[test]
    fn a_file_system_is_read_only_when_it_says_so_itself() {
        let mounts = "177 155 253:0 / / ro,nosuid - erofs /dev/vda ro,user_xattr\n\
                      183 177 253:2 / /data ro,nosuid,relatime - ext4 /dev/vdc rw\nbroken\n";
        assert!(is_read_only("/", mounts));
        assert!(!is_read_only("/data", mounts) && !is_read_only("/models", mounts));
    }

    #[test]
    fn guest_time_is_not_counted_twice_and_waiting_for_disks_is_idle() {
        assert_eq!(parse_stat(STAT), Some((Ticks { busy: 150, total: 1000 }, 2)));
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat("cpu  1 2"), None);
    }

    #[test]
    fn the_share_is_that_between_two_looks_and_never_beyond_its_bounds() {
        let (zero, one) = (Ticks::default(), Ticks { busy: 150, total: 1000 });
        assert_eq!(percent(zero, one), 15.0);
        assert_eq!(percent(one, one), 0.0);
        assert_eq!(percent(one, zero), 0.0);
        assert_eq!(percent(zero, Ticks { busy: 20, total: 10 }), 100.0);
    }

    #[test]
    fn memory_is_in_bytes() {
        let text = "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(parse_meminfo(text), Some(Memory { total: 2 << 20, available: 1 << 20 }));
        assert_eq!(parse_meminfo("MemTotal: x kB"), None);
    }

    #[test]
    fn only_the_appliances_own_release_names_the_version() {
        assert_eq!(parse_version("NAME=aiOS\nVERSION_ID=0.2.0\n"), Some("0.2.0".into()));
        assert_eq!(parse_version("NAME=\"aiOS\"\nVERSION_ID=\"0.2.0\"\n"), Some("0.2.0".into()));
        assert_eq!(parse_version("NAME=Other\nVERSION_ID=13\n"), None);
    }

    #[test]
    fn this_machine_has_cores_memory_and_a_root() {
        let cpu = Meter::default().read();
        assert!(cpu.cores > 0 && (0.0..=100.0).contains(&cpu.percent));
        assert!(memory().total > 0);
        assert_eq!(disks().first().map(|d| d.mount.clone()), Some("/".into()));
    }
}
