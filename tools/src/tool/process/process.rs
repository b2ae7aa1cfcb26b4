//! What the process tools share.

use aios_abi::{CallError, ErrorCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The kernel's own threads have this flag (`PF_KTHREAD`, include/linux/sched.h).
pub(crate) const KERNEL_THREAD: u32 = 0x0020_0000;
/// Length of a command line in characters.
pub(crate) const MAX_COMMAND: usize = 200;

/// A process that is held: this very one, also after its number was given to another one (pidfd_open(2)).
pub(crate) struct Held {
    handle: OwnedFd,
    /// Process id.
    pub(crate) pid: u32,
    /// Its name.
    pub(crate) name: String,
    /// It is a thread of the kernel.
    pub(crate) kernel: bool,
    /// When it was started, in ticks since the kernel's start.
    pub(crate) started: u64,
}

/// There is none with this number.
pub(crate) fn no_process(pid: u32) -> CallError {
    CallError::not_found(format!("there is no process {pid}"))
}

/// What `/proc` knows of a process.
pub(crate) fn process(pid: u32) -> Result<procfs::process::Process, CallError> {
    let number = i32::try_from(pid).map_err(|_| no_process(pid))?;
    procfs::process::Process::new(number).map_err(|_| no_process(pid))
}

impl Held {
    /// The process with this number.
    pub(crate) fn find(pid: u32) -> Result<Self, CallError> {
        let none = || no_process(pid);
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(none)?;
        let handle = pidfd_open(number, PidfdFlags::empty()).map_err(|_| none())?;
        let stat = process(pid)?.stat().map_err(|_| none())?;
        let kernel = stat.flags & KERNEL_THREAD != 0;
        let held = Self { handle, pid, name: stat.comm, kernel, started: stat.starttime };
        // What was read may be of another one that got the number meanwhile.
        match held.ends_within(Duration::ZERO)? {
            true => Err(none()),
            false => Ok(held),
        }
    }

    /// Wait for its end, at most this long.
    pub(crate) fn ends_within(&self, wait: Duration) -> Result<bool, CallError> {
        let mut fds = [PollFd::new(&self.handle, PollFlags::IN)];
        let wait = Timespec::try_from(wait).unwrap_or_default();
        let ready = poll(&mut fds, Some(&wait)).map_err(std::io::Error::from)?;
        Ok(ready > 0)
    }

    /// Send it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), CallError> {
        pidfd_send_signal(&self.handle, signal).map_err(|e| {
            let error = CallError::from(std::io::Error::from(e));
            let text = format!("{} ({}) did not get the signal: {error}", self.name, self.pid);
            match e {
                Errno::SRCH => CallError::new(ErrorCode::NotFound, text),
                _ => CallError::new(error.code, text),
            }
        })
    }
}

/// User names by id, from `/etc/passwd`: a static program must not ask libc for them.
pub(crate) fn users() -> HashMap<u32, String> {
    parse_passwd(&std::fs::read_to_string("/etc/passwd").unwrap_or_default())
}

fn parse_passwd(text: &str) -> HashMap<u32, String> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some((uid, name.to_owned()))
        })
        .collect()
}

/// Bytes for people: `1.5 GiB`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    match aios_abi::units::scale(bytes) {
        (_, "B") => format!("{bytes} B"),
        (value, unit) => format!("{value:.1} {unit}"),
    }
}

/// The service that a process belongs to, by the path of its cgroup (cgroups(7)).
pub(crate) fn service_of(cgroup: &str) -> Option<String> {
    let name = cgroup.strip_prefix("/aios/")?.split('/').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The path of its cgroup below `/sys/fs/cgroup` (cgroup v2).
pub(crate) fn cgroup_of(process: &procfs::process::Process) -> Option<String> {
    let groups = process.cgroups().ok()?;
    groups.0.into_iter().find(|group| group.hierarchy == 0).map(|group| group.pathname)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_from_passwd_and_broken_lines_are_passed_over() {
        let users =
            parse_passwd("root:x:0:0:root:/:/sbin/nologin\nbroken\naios-agentd:x:102:102:::\nx:y:z:\n");
        assert_eq!(users.len(), 2);
        assert_eq!(users.get(&102).map(String::as_str), Some("aios-agentd"));
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        assert_eq!(human_bytes(512), "512 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn a_cgroup_names_its_service() {
        assert_eq!(service_of("/aios/netd/worker-1").as_deref(), Some("netd"));
        assert_eq!(service_of("/aios/").or(service_of("/user.slice")), None);
    }
}
