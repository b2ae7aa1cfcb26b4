//! Services that are kept up by two processes: one at work, and one that has executed the program and waits in
//! front of its first instruction, as a tracee (ptrace(2)). When the first one dies, the second has only to be
//! let go; making a process, closing its sandbox and executing its program took their time before.
//!
//! The supervisor knows nothing of it: a standby lives beside a run, in the same cgroup, and becomes the next
//! run's process or dies with it.

use super::Machine;
use super::held::Held;
use crate::logs::INIT;
use crate::notify;
use crate::spawn::{self, Spawned};
use crate::spawner::Spawner;
use crate::supervisor::Id;
use crate::sys::{self, Change};
use rustix::process::{Pid, Signal, kill_process};
use std::os::fd::OwnedFd;

/// A process that waits.
#[derive(Debug)]
pub(super) struct Standby {
    spawned: Spawned,
    /// It has executed its program.
    executed: bool,
    program: Option<Program>,
    /// Keeps the mounts of the process at work when that dies: taking them down would hold up its end.
    _mounts: Option<OwnedFd>,
}

/// What a program's file was when it was executed: device, inode, time of its last change.
type Program = (u64, u64, i64, i64);

fn program(held: &Held) -> Option<Program> {
    let stat = rustix::fs::stat(held.unit.exec.first()?).ok()?;
    Some((stat.st_dev, stat.st_ino, stat.st_ctime, stat.st_ctime_nsec as i64))
}

fn mounts_of(pid: Pid) -> Option<OwnedFd> {
    let path = format!("/proc/{}/ns/mnt", pid.as_raw_nonzero());
    Some(std::fs::File::open(path).ok()?.into())
}

impl Standby {
    pub(super) fn pid(&self) -> Pid {
        self.spawned.pid
    }
}

impl Held {
    /// Whether nothing is in its cgroup but the standby.
    pub(super) fn only_standby(&self) -> bool {
        let (Some(standby), Some(cgroup)) = (&self.standby, &self.cgroup) else { return false };
        cgroup.holds_only(standby.pid())
    }

    /// The standby ends; nobody will want it.
    pub(super) fn drop_standby(&mut self) {
        if let Some(standby) = self.standby.take() {
            // It is ours until it is reaped; one that has ended already does not mind.
            let _ = kill_process(standby.pid(), Signal::KILL);
        }
    }

    /// The process of a run: that of the standby, or a new one.
    pub(super) fn begin(&mut self, spawner: &mut Spawner) -> Result<Spawned, String> {
        match self.promote() {
            Some(spawned) => Ok(spawned),
            None => self.make(spawner, false),
        }
    }

    fn make(&mut self, spawner: &mut Spawner, waits: bool) -> Result<Spawned, String> {
        let cgroup = self.cgroup.as_ref().ok_or("it has no cgroup")?;
        spawn::spawn(spawner, &self.unit, cgroup, &mut self.sockets, notify::SOCKET, waits)
    }

    /// Let the standby begin, if there is one and its program is still that of the service.
    fn promote(&mut self) -> Option<Spawned> {
        let begins = |standby: &Standby| {
            standby.executed && standby.program == program(self) && sys::begin(standby.pid()).is_ok()
        };
        if !self.standby.as_ref().is_some_and(begins) {
            self.drop_standby();
            return None;
        }
        // What is left to be written down can wait until it has begun.
        rustix::thread::sched_yield();
        self.standby.take().map(|standby| standby.spawned)
    }
}

impl Machine {
    /// A service has changed: one that is ready may have a standby, one of which nothing is left has none. One that
    /// is about to stop gets none any more.
    pub(super) fn consider_standby(&mut self, id: Id) {
        let (runs, over) = (self.supervisor.runs(id), self.supervisor.active_run(id).is_none());
        let Some(held) = self.services.get_mut(id.0) else { return };
        if over {
            held.drop_standby();
        } else if runs && held.unit.standby && held.standby.is_none() && !self.standbys.contains(&id) {
            self.standbys.push_back(id);
        }
    }

    /// Services that are being started come first.
    pub(super) fn may_make_standby(&self) -> bool {
        !self.standbys.is_empty() && !self.supervisor.starting() && !self.supervisor.shutting_down()
    }

    /// Make one of those that are wanted.
    pub(super) fn make_standby(&mut self) {
        if !self.may_make_standby() {
            return;
        }
        let Some(id) = self.standbys.pop_front() else { return };
        let runs = self.supervisor.runs(id);
        let Some(held) = self.services.get_mut(id.0) else { return };
        if !runs || !held.unit.standby || held.standby.is_some() {
            return;
        }
        let program = program(held);
        match held.make(&mut self.spawner, true) {
            Ok(spawned) => {
                let _mounts = held.process.and_then(|main| mounts_of(main.pid));
                held.standby = Some(Standby { spawned, executed: false, program, _mounts });
            }
            // The service runs; it only starts as slowly as others.
            Err(why) => self.logs.push(INIT, 4, &format!("{}: no standby: {why}", held.unit.name)),
        }
        self.remember(id);
    }

    /// News of a process that is no main process: perhaps of a standby.
    pub(super) fn standby_changed(&mut self, pid: Pid, change: Change) {
        let is = |held: &&mut Held| held.standby.as_ref().is_some_and(|standby| standby.pid() == pid);
        let Some(held) = self.services.iter_mut().find(is) else { return };
        match (change, &mut held.standby) {
            (Change::Trapped(libc::SIGTRAP), Some(standby)) => standby.executed = true,
            // Somebody sent it a signal: there is nobody there yet to take notice.
            (Change::Trapped(_) | Change::Stopped | Change::Continued, _) => held.drop_standby(),
            (Change::Exited(_) | Change::Killed(_), _) => {
                let failure = held.standby.take().and_then(|standby| standby.spawned.failure());
                let why = failure.unwrap_or_else(|| "was killed".to_owned());
                self.logs.push(INIT, 4, &format!("{}: its standby {why}", held.unit.name));
            }
        }
    }
}
