//! What the shell holds for a service.

use super::standby::Standby;
use crate::boot;
use crate::cgroup::Cgroup;
use crate::logs::{self, Lines, Logs};
use crate::supervisor::{Ended, Id, Run, Spec};
use crate::sys::Change;
use aios_unit::Unit;
use std::collections::HashMap;
use std::os::fd::OwnedFd;

/// The process of a run. It is our child: until it is reaped, and then this goes, its number is nobody else's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) run: Run,
    pub(super) pid: rustix::process::Pid,
}

/// A service and what belongs to it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) unit: Unit,
    /// Its file is gone; its place may be given to another service when nothing of it runs.
    pub(super) gone: bool,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) sockets: Vec<(String, OwnedFd)>,
    pub(super) process: Option<Process>,
    pub(super) standby: Option<Standby>,
    pub(super) output: Option<OwnedFd>,
    pub(super) lines: Lines,
    pub(super) report: Option<OwnedFd>,
    /// Where it writes a line when it is ready.
    pub(super) ready: Option<OwnedFd>,
    /// `STATUS=` of the present run.
    pub(super) status: Option<String>,
    /// `oom_kill` when the run began.
    pub(super) oom_before: u64,
    /// What the kernel said about the last process that it killed here for want of memory.
    pub(super) oom: Option<logs::OomKill>,
}

impl Held {
    pub(super) fn new(unit: Unit, logs: &mut Logs) -> Self {
        let mut this = Self {
            unit,
            gone: false,
            cgroup: None,
            sockets: Vec::new(),
            process: None,
            standby: None,
            output: None,
            lines: Lines::default(),
            report: None,
            ready: None,
            status: None,
            oom_before: 0,
            oom: None,
        };
        this.make_cgroup(logs);
        this
    }

    /// A milestone has no process, and so no cgroup.
    pub(super) fn make_cgroup(&mut self, logs: &mut Logs) {
        if self.unit.exec.is_empty() {
            return;
        }
        match Cgroup::make(&self.unit) {
            Ok((cgroup, faults)) => {
                faults.iter().for_each(|fault| logs.warn(fault));
                self.cgroup = Some(cgroup);
            }
            Err(why) => logs.warn(&why),
        }
    }

    pub(super) fn read_output(&mut self, logs: &mut Logs) {
        let Self { output, lines, unit, .. } = self;
        logs::drain(output, |piece| lines.feed(piece, |line| logs.push_line(&unit.name, line)));
    }

    /// Read what is left of a run that has ended.
    pub(super) fn drain(&mut self, logs: &mut Logs) {
        self.read_output(logs);
        let name = &self.unit.name;
        self.lines.finish(|line| logs.push_line(name, line));
    }

    /// How a run ended, in words.
    pub(super) fn describe(&mut self, change: Change) -> Ended {
        let mut how = match change {
            Change::Exited(status) => format!("exited with status {status}"),
            Change::Killed(signal) => format!("killed by {}", aios_unit::signal_name(signal)),
            _ => "ended".to_owned(),
        };
        let kills = self.cgroup.as_ref().map_or(0, Cgroup::oom_kills);
        let killed = kills > self.oom_before;
        self.oom_before = kills;
        let oom = self.oom.take().filter(|_| killed);
        let starved = match &oom {
            Some(oom) => oom.machine,
            None => killed && self.unit.resources.memory_max.is_none(),
        };
        if killed {
            let limit = match self.unit.resources.memory_max {
                Some(bytes) if !starved => format!("its limit is {} MiB", bytes >> 20),
                _ => "the machine ran out of memory".to_owned(),
            };
            let who =
                oom.map_or_else(String::new, |oom| format!(" (the kernel killed {} {})", oom.task, oom.pid));
            how = format!("{how}: out of memory, {limit}{who}");
        }
        Ended { success: change == Change::Exited(0), starved, how }
    }
}

/// What the supervisor needs to know, with names turned into numbers. Names that do not exist are left out.
pub(super) fn specs(services: &[Held], last: &str) -> Vec<Option<Spec>> {
    let present = services.iter().enumerate().filter(|(_, held)| !held.gone);
    let numbers: HashMap<&str, Id> =
        present.map(|(index, held)| (held.unit.name.as_str(), Id(index))).collect();
    let ids =
        |names: &[String]| names.iter().filter_map(|name| numbers.get(name.as_str()).copied()).collect();
    let spec = |unit: &Unit| Spec {
        name: unit.name.clone(),
        kind: unit.kind,
        start: unit.start,
        ready: unit.ready,
        after: ids(&unit.after),
        requires: ids(&unit.requires),
        wants: ids(&unit.wants),
        last: unit.name == last,
        start_timeout: unit.start_timeout,
        stop_timeout: unit.stop_timeout,
        watchdog: unit.watchdog,
        timer: unit.timer.clone(),
        last_run: unit.timer.as_ref().and_then(|_| boot::last_run(&unit.name)),
    };
    services.iter().map(|held| (!held.gone).then(|| spec(&held.unit))).collect()
}
