//! Many services, and the death of many of them at once.

use crate::{Outcome, sys};
use rustix::process::{Pid, Signal, kill_process};

/// A service that does nothing.
pub(crate) fn idle() -> Outcome {
    sys::pause();
    Ok(())
}

/// Kill the processes of so many services whose names begin so.
pub(crate) fn kill(prefix: &str, count: u32) -> Outcome {
    let mut victims = Vec::new();
    for entry in std::fs::read_dir("/sys/fs/cgroup/aios")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) && victims.len() < count as usize {
            let text = std::fs::read_to_string(entry.path().join("cgroup.procs"))?;
            victims.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
        }
    }
    for victim in &victims {
        kill_process(*victim, Signal::KILL)?;
    }
    println!("hostile: kill: {} processes", victims.len());
    Ok(())
}
