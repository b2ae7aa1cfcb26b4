//! One cgroup a service: its limits, its death, its consumption (cgroup-v2.rst).

use aios_unit::{Resources, Unit};
use rustix::fs::{CWD, Mode, OFlags, inotify, openat};
use rustix::process::Pid;
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const SLICE: &str = "aios";
/// Where PID 1 itself lives, beside the services.
const OWN: &str = "init";
/// Where a service runs whose cgroup is its own to divide.
const MAIN: &str = "main";
/// What is not taken from PID 1 when memory is short: its program and all that it has to remember.
const OWN_MEMORY: u64 = 24 << 20;
/// Processes and threads of a service that says nothing else.
const PIDS_MAX: &str = "1024";

/// Make the place in which all services live. `protected` is the sum of what they are guaranteed.
pub(crate) fn make_slice(protected: u64) -> Result<(), String> {
    let root = Path::new(ROOT);
    let slice = root.join(SLICE);
    // A controller that the kernel does not have must not take the others with it.
    for controller in ["memory", "pids", "cpu", "io"] {
        let _ = std::fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    match std::fs::create_dir(&slice) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
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

/// Which cgroups became empty or got their first process: inotify(7) for the `cgroup.events` of all of them.
/// One descriptor instead of one a service: what is open in PID 1 is copied into each new process.
#[derive(Debug)]
pub(crate) struct Events {
    inotify: OwnedFd,
    /// Numbers of services by that of the watch.
    watches: HashMap<i32, u32>,
}

/// Notes that are read in one turn; more wait.
const NOTES: usize = 4096;

/// What [`Events`] told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Those of these services.
    These(Vec<u32>),
    /// There were more notes than the kernel keeps: any.
    Any,
}

impl Events {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Self { inotify: inotify::init(flags)?, watches: HashMap::new() })
    }

    /// For the event loop.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.inotify
    }

    /// Tell when this cgroup, which is that of the service with this number, changes. A removed one is
    /// forgotten by itself.
    pub(crate) fn watch(&mut self, cgroup: &Cgroup, number: u32) -> io::Result<()> {
        let path = cgroup.path.join("cgroup.events");
        let watch = inotify::add_watch(&self.inotify, path, inotify::WatchFlags::MODIFY)?;
        self.watches.insert(watch, number);
        Ok(())
    }

    /// What changed since the last call.
    pub(crate) fn changed(&mut self) -> Changed {
        let mut buffer = [MaybeUninit::uninit(); NOTES];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut changed = Vec::new();
        while let Ok(event) = reader.next() {
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                return Changed::Any;
            }
            if event.events().contains(inotify::ReadFlags::IGNORED) {
                self.watches.remove(&event.wd());
            } else if let Some(number) = self.watches.get(&event.wd()) {
                changed.push(*number);
            }
            if reader.is_buffer_empty() {
                break;
            }
        }
        Changed::These(changed)
    }
}

/// A service's cgroup.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Its service may make others below it.
    delegated: bool,
}

/// Where the cgroup of a service is.
pub(crate) fn path_of(service: &str) -> PathBuf {
    Path::new(ROOT).join(SLICE).join(service)
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
        let path = path_of(&unit.name);
        let fresh = match std::fs::create_dir(&path) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(format!("{}: {e}", path.display())),
        };
        let this = Self { path, delegated: unit.resources.delegate };
        let mut faults = this.set(&unit.resources, fresh);
        if this.delegated
            && let Err(e) = this.delegate(unit.user.uid, unit.user.gid)
        {
            faults.push(format!("{} cannot be left to its service: {e}", this.path.display()));
        }
        Ok((this, faults))
    }

    /// Leave it to its service's user to divide: its files that say so (cgroup-v2.rst, "Delegation") and the group in
    /// which the service runs, because one that hands out memory holds no process itself.
    fn delegate(&self, uid: u32, gid: u32) -> io::Result<()> {
        let main = self.path.join(MAIN);
        match std::fs::create_dir(&main) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        for controller in ["memory", "pids", "cpu"] {
            // A controller that the kernel does not have must not take the others with it.
            let _ = std::fs::write(self.path.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        for group in [&self.path, &main] {
            for name in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
                std::os::unix::fs::chown(group.join(name), Some(uid), Some(gid))?;
            }
        }
        Ok(())
    }

    /// The group that its main process is in.
    fn home(&self) -> PathBuf {
        if self.delegated { self.path.join(MAIN) } else { self.path.clone() }
    }

    /// Set the limits anew, as the service file has them now. Returns what could not be set.
    pub(crate) fn limit(&self, resources: &Resources) -> Vec<String> {
        self.set(resources, false)
    }

    fn set(&self, resources: &Resources, fresh: bool) -> Vec<String> {
        let mut faults = limit(&self.path, resources, fresh);
        faults.extend(limit_disk(&self.path, resources));
        faults
    }

    /// Remove it; the kernel refuses while a process is left.
    pub(crate) fn remove(self) {
        if self.delegated {
            for below in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
                // Its files cannot be removed this way, and go with it.
                let _ = std::fs::remove_dir(below.path());
            }
        }
        let _ = std::fs::remove_dir(&self.path);
    }

    /// How many processes it holds.
    pub(crate) fn processes(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.home().join("cgroup.procs")).ok()?;
        u32::try_from(text.lines().count()).ok()
    }

    /// Whether this process is in it, and no other.
    pub(crate) fn holds_only(&self, pid: Pid) -> bool {
        let text = std::fs::read_to_string(self.home().join("cgroup.procs"));
        let alone = text.is_ok_and(|text| text.trim_end().parse() == Ok(pid.as_raw_nonzero().get()));
        alone && (!self.delegated || self.usage().processes == Some(1))
    }

    /// For making a process in it.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat(CWD, self.home(), flags, Mode::empty())?)
    }

    /// Whether a process is left.
    pub(crate) fn populated(&self) -> bool {
        let text = std::fs::read_to_string(self.path.join("cgroup.events"));
        text.is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
    }

    /// Kill every process in it at once.
    pub(crate) fn kill(&self) -> io::Result<()> {
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

/// What the kernel has as a default needs no word in a group that was just made.
fn limit(path: &Path, resources: &Resources, fresh: bool) -> Vec<String> {
    let text = |n: Option<u64>| n.map(|n| n.to_string());
    let weight = |n: Option<u32>| text(n.map(u64::from));
    let kernel_has = [
        ("memory.min", text(resources.memory_min), "0"),
        ("memory.high", text(resources.memory_high), "max"),
        ("memory.max", text(resources.memory_max), "max"),
        ("memory.swap.max", text(resources.swap_max), "max"),
        ("cpu.weight", weight(resources.cpu_weight), "100"),
        ("cpu.max", resources.cpu_max.map(|n| format!("{n}000 100000")), "max"),
        ("io.weight", weight(resources.io_weight), "100"),
    ];
    let needed = kernel_has.into_iter().filter(|(_, wanted, _)| !fresh || wanted.is_some());
    let ours = [
        // A service that lost one of its processes to want of memory is broken in ways that nobody tested.
        ("memory.oom.group", None, "1"),
        ("pids.max", weight(resources.pids_max), PIDS_MAX),
    ];
    needed
        .chain(ours)
        .filter_map(|(name, wanted, default)| {
            let error = std::fs::write(path.join(name), wanted.as_deref().unwrap_or(default)).err()?;
            // What was not asked for is not missed on a kernel that cannot do it.
            let value = wanted?;
            Some(format!("{}/{name} = {value}: {error}", path.display()))
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
    let set = || -> io::Result<()> {
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
