//! A cgroup for each worker: its memory and its threads are bounded by the kernel whatever it does. init leaves the
//! workshop's cgroup to the workshop (`delegate = true`); where nobody did, workers have the limits of their process alone.

use crate::reach::Needs;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Processes and threads of a worker.
const THREADS: &str = "16";

/// The groups of workers, below the one that was left to us.
pub(super) struct Slots {
    below: Option<PathBuf>,
    free: Vec<Slot>,
    made: u32,
}

/// One of them.
pub(super) struct Slot {
    path: PathBuf,
    memory: u64,
    kills: u64,
}

impl Slots {
    /// Those of this process, if it runs in the group `main` of one that is its own to divide.
    pub(super) fn find() -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let own = Path::new("/sys/fs/cgroup").join(own);
        let divided = own.file_name().is_some_and(|name| name == "main");
        let below = own.parent().filter(|_| divided).map(Path::to_path_buf);
        Self { below, free: Vec::new(), made: 0 }
    }

    /// One that nobody is in, as an open directory.
    pub(super) fn take(&mut self) -> Option<(Slot, OwnedFd)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.make()?,
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = openat(CWD, &slot.path, flags, Mode::empty()).ok()?;
        Some((slot, directory))
    }

    fn make(&mut self) -> Option<Slot> {
        let path = self.below.as_ref()?.join(format!("worker-{}", self.made));
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                tracing::warn!("{}: {e}; workers have no cgroups of their own", path.display());
                self.below = None;
                return None;
            }
            _ => {}
        }
        self.made += 1;
        // A kernel without one of these still has the others.
        let _ = std::fs::write(path.join("pids.max"), THREADS);
        let _ = std::fs::write(path.join("memory.swap.max"), "0");
        let mut slot = Slot { kills: kills(&path), path, memory: 0 };
        // One that waits has the usual limit already.
        slot.limit(Needs::NOTHING.memory);
        Some(slot)
    }

    /// Nobody is in it any more.
    pub(super) fn give_back(&mut self, slot: Option<Slot>) {
        self.free.extend(slot);
    }
}

impl Slot {
    /// What the worker in it may take, in bytes.
    pub(super) fn limit(&mut self, memory: u64) {
        if self.memory != memory && std::fs::write(self.path.join("memory.max"), memory.to_string()).is_ok() {
            self.memory = memory;
        }
    }

    /// Whether the kernel killed somebody in it for want of memory since this was last asked.
    pub(super) fn starved(&mut self) -> bool {
        let kills = kills(&self.path);
        std::mem::replace(&mut self.kills, kills) < kills
    }
}

fn kills(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path.join("memory.events")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}
