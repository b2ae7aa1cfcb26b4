//! One cgroup a service: its limits, its death, its consumption (cgroup-v2.rst).

use aios_unit::{Resources, Unit};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const SLICE: &str = "aios";

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
    Ok(())
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
        let faults = limit(&path, &unit.resources);
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = openat(CWD, &path, flags, Mode::empty()).map_err(|e| fail(e.into()))?;
        let events = File::open(path.join("cgroup.events")).map_err(fail)?;
        Ok((Self { path, directory, events }, faults))
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
        ("pids.max", text(resources.pids_max.map(u64::from), "max")),
        ("cpu.weight", text(resources.cpu_weight.map(u64::from), "100")),
    ];
    settings
        .iter()
        .filter_map(|(name, value)| {
            let error = std::fs::write(path.join(name), value).err()?;
            Some(format!("{}/{name} = {value}: {error}", path.display()))
        })
        .collect()
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
