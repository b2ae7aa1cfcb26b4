//! One cgroup a service: its limits, its death, its consumption (cgroup-v2.rst).

use aios_unit::{Resources, Unit};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const SLICE: &str = "aios";
/// Where PID 1 itself lives, beside the services.
const OWN: &str = "init";
/// What is not taken from PID 1 when memory is short: its program and all that it has to remember.
const OWN_MEMORY: u64 = 24 << 20;
/// Processes and threads of a service that says nothing else.
const PIDS_MAX: u32 = 1024;

/// Make the place in which all services live. `protected` is the sum of what they are guaranteed.
pub(crate) fn make_slice(protected: u64) -> Result<(), String> {
    let root = Path::new(ROOT);
    let slice = root.join(SLICE);
    // A controller that the kernel does not have must not take the others with it.
    for controller in ["memory", "pids", "cpu", "io"] {
        let _ = std::fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    match std::fs::create_dir(&slice) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(format!("{} cannot be made: {e}; is cgroup2 mounted?", slice.display()));
        }
        _ => {}
    }
    for controller in ["memory", "pids", "cpu", "io"] {
        let _ = std::fs::write(slice.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    // A guarantee holds only as far as that of every group above it.
    let _ = std::fs::write(slice.join("memory.min"), protected.to_string());
    // What all services together cannot do is leave no process for PID 1 and its kernel.
    let most = crate::device::line(Path::new("/proc/sys/kernel/pid_max")).and_then(|n| n.parse::<u64>().ok());
    if let Some(most) = most {
        let _ = std::fs::write(slice.join("pids.max"), (most - most / 8).to_string());
    }
    protect_init(root);
    Ok(())
}

/// PID 1 goes on when memory is short. A kernel without the memory controller cannot promise that.
fn protect_init(root: &Path) {
    let own = root.join(OWN);
    let _ = std::fs::create_dir(&own);
    let _ = std::fs::write(own.join("memory.min"), OWN_MEMORY.to_string());
    let _ = std::fs::write(own.join("cgroup.procs"), "0");
}

/// Kill everything that is left of a service that nobody knows any more.
pub(crate) fn kill_strangers(known: &[&str]) -> Vec<String> {
    let entries = std::fs::read_dir(Path::new(ROOT).join(SLICE)).into_iter().flatten().flatten();
    let mut killed = Vec::new();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(&name.as_str()) && std::fs::write(entry.path().join("cgroup.kill"), "1").is_ok() {
            killed.push(name);
        }
    }
    killed
}

/// A service's cgroup.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
    events: File,
}

/// What a service uses.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_usec: Option<u64>,
    pub(crate) processes: Option<u32>,
}

impl Cgroup {
    /// Make it, with the limits of its service. The second value says what could not be set.
    pub(crate) fn make(unit: &Unit) -> Result<(Self, Vec<String>), String> {
        let path = Path::new(ROOT).join(SLICE).join(&unit.name);
        let fail = |e: std::io::Error| format!("{}: {e}", path.display());
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(fail(e)),
            _ => {}
        }
        let mut faults = limit(&path, &unit.resources);
        faults.extend(limit_disk(&path, &unit.resources));
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = openat(CWD, &path, flags, Mode::empty()).map_err(|e| fail(e.into()))?;
        let events = File::open(path.join("cgroup.events")).map_err(fail)?;
        Ok((Self { path, directory, events }, faults))
    }

    /// Set the limits anew, as the service file has them now. Returns what could not be set.
    pub(crate) fn limit(&self, resources: &Resources) -> Vec<String> {
        let mut faults = limit(&self.path, resources);
        faults.extend(limit_disk(&self.path, resources));
        faults
    }

    /// Remove it; the kernel refuses while a process is left.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_dir(&self.path);
    }

    /// How many processes it holds.
    pub(crate) fn processes(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.path.join("cgroup.procs")).ok()?;
        u32::try_from(text.lines().count()).ok()
    }

    /// For making a process in it.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Reports EPOLLPRI when the last process has gone or the first one has come.
    pub(crate) fn events(&self) -> &File {
        &self.events
    }

    /// Whether a process is left. Reading it re-arms [`Cgroup::events`].
    pub(crate) fn populated(&mut self) -> bool {
        let mut text = String::new();
        let read = self.events.rewind().and_then(|()| self.events.read_to_string(&mut text));
        read.is_ok() && text.lines().any(|line| line == "populated 1")
    }

    /// Kill every process in it at once.
    pub(crate) fn kill(&self) -> std::io::Result<()> {
        std::fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// How often the kernel killed something in it for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let text = std::fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        field(&text, "oom_kill").unwrap_or(0)
    }

    /// What it uses now.
    pub(crate) fn usage(&self) -> Usage {
        let text = |name| std::fs::read_to_string(self.path.join(name)).unwrap_or_default();
        Usage {
            memory_bytes: text("memory.current").trim().parse().ok(),
            cpu_usec: field(&text("cpu.stat"), "usage_usec"),
            processes: text("pids.current").trim().parse().ok(),
        }
    }
}

/// The number behind a name in a flat keyed file.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn limit(path: &Path, resources: &Resources) -> Vec<String> {
    let text = |n: Option<u64>, default: &str| n.map_or_else(|| default.to_owned(), |n| n.to_string());
    // Defaults are written as well: the group may be left over from an earlier init.
    let settings = [
        ("memory.min", text(resources.memory_min, "0")),
        ("memory.high", text(resources.memory_high, "max")),
        ("memory.max", text(resources.memory_max, "max")),
        ("memory.swap.max", text(resources.swap_max, "max")),
        // A service that lost one of its processes to want of memory is broken in ways that nobody tested.
        ("memory.oom.group", "1".to_owned()),
        ("pids.max", resources.pids_max.unwrap_or(PIDS_MAX).to_string()),
        ("cpu.weight", text(resources.cpu_weight.map(u64::from), "100")),
        ("cpu.max", resources.cpu_max.map_or_else(|| "max".to_owned(), |n| format!("{}000 100000", n))),
        ("io.weight", text(resources.io_weight.map(u64::from), "100")),
    ];
    settings
        .iter()
        .filter_map(|(name, value)| {
            let error = std::fs::write(path.join(name), value).err()?;
            // What was not asked for is not missed on a kernel that cannot do it.
            let default =
                matches!(value.as_str(), "0" | "1" | "max" | "100") || value == &PIDS_MAX.to_string();
            (!default).then(|| format!("{}/{name} = {value}: {error}", path.display()))
        })
        .collect()
}

/// The limits of what it reads from and writes to the data disk.
fn limit_disk(path: &Path, resources: &Resources) -> Option<String> {
    let (read, write) = (resources.io_read_max, resources.io_write_max);
    if read.is_none() && write.is_none() {
        return None;
    }
    let text = |n: Option<u64>| n.map_or_else(|| "max".to_owned(), |n| n.to_string());
    let set = || -> std::io::Result<()> {
        let disk = rustix::fs::stat("/data")?.st_dev;
        let (major, minor) = (rustix::fs::major(disk), rustix::fs::minor(disk));
        let value = format!("{major}:{minor} rbps={} wbps={}", text(read), text(write));
        std::fs::write(path.join("io.max"), value)
    };
    set()
        .err()
        .map(|e| format!("{}/io.max: {e}; the data disk is not limited for this service", path.display()))
}

/// The service in whose cgroup a process is.
pub(crate) fn service_of(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    service_in(&text)
}

fn service_in(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut parts = path.split('/');
    (parts.next()? == SLICE).then(|| parts.next().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_the_service_in_whose_cgroup_it_is() {
        assert_eq!(service_in("0::/aios/toold\n").as_deref(), Some("toold"));
        assert_eq!(service_in("0::/aios/toold/worker\n").as_deref(), Some("toold"));
        assert_eq!(service_in("0::/\n"), None);
        assert_eq!(service_in("0::/other/toold\n"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        assert_eq!(field("oom 3\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(field("oom_kill_x 2\n", "oom_kill"), None);
    }
}
