//! Doing what the supervisor says, and telling it what became of that.

use super::{Held, Machine};
use crate::logs::{INIT, Logs};
use crate::poll::Token;
use crate::supervisor::{Action, Ended, Event, Id, Run, Severity};
use crate::sys::{self, REPORT_BYTES};
use crate::{clock, notify, spawn};
use rustix::process::{Signal, WaitOptions, WaitStatus, pidfd_send_signal};
use std::collections::VecDeque;

/// Bytes that are read from one service's output before the others have their turn.
const TURN: usize = 64 * 1024;

impl Machine {
    /// Tell the supervisor, and do what it says until it says nothing more.
    pub(super) fn happened(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.step(clock::now(), event) {
                events.extend(self.perform(action));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn(id, run) => return Some(self.spawn(id, run)),
            Action::Terminate(id, run) => {
                let process = self.services.get(id.0).and_then(|held| held.process.as_ref());
                if let Some((_, _, pidfd)) = process.filter(|(of, ..)| *of == run) {
                    // One that has ended in the meantime is reported by its exit.
                    let _ = pidfd_send_signal(pidfd, Signal::TERM);
                }
            }
            Action::KillAll(id, run) => return self.kill_all(id, run),
            Action::Answer(ticket, id, result) => self.answer(ticket, id, result),
            Action::Say(severity, text) => match severity {
                Severity::Info => self.logs.info(&text),
                Severity::Warning => self.logs.warn(&text),
            },
            Action::Down(power, left) => self.go_down(power, &left),
        }
        None
    }

    fn spawn(&mut self, id: Id, run: Run) -> Event {
        let Some(held) = self.services.get_mut(id.0) else {
            return Event::SpawnFailed(id, run, "there is no such service".to_owned());
        };
        held.drain(&mut self.logs);
        held.status = None;
        let Some(cgroup) = &held.cgroup else {
            return Event::SpawnFailed(id, run, "could not be started: it has no cgroup".to_owned());
        };
        held.oom_before = cgroup.oom_kills();
        let spawned = match spawn::spawn(&held.unit, cgroup, &mut held.sockets, notify::SOCKET) {
            Ok(spawned) => spawned,
            Err(why) => return Event::SpawnFailed(id, run, format!("could not be started: {why}")),
        };
        for fault in &spawned.faults {
            self.logs.push(INIT, 4, &format!("{}: {fault}", held.unit.name));
        }
        let index = u32::try_from(id.0).unwrap_or(u32::MAX);
        let watched = self
            .poller
            .readable(&spawned.output, Token::Output(index))
            .and_then(|()| self.poller.readable(&spawned.report, Token::Report(index)));
        if let Err(e) = watched {
            self.logs.warn(&format!("{}: its output cannot be read: {e}", held.unit.name));
        }
        held.output = Some(spawned.output);
        held.report = Some(spawned.report);
        let pid = spawned.pid.as_raw_nonzero().get().unsigned_abs();
        held.process = Some((run, spawned.pid, spawned.pidfd));
        Event::Spawned(id, run, pid)
    }

    fn kill_all(&mut self, id: Id, run: Run) -> Option<Event> {
        let cgroup = self.services.get_mut(id.0)?.cgroup.as_mut()?;
        if !cgroup.populated() {
            return Some(Event::Empty(id, run));
        }
        if let Err(e) = cgroup.kill() {
            self.logs.warn(&format!("a cgroup cannot be killed: {e}"));
        }
        None
    }

    /// Collect every process that has ended: ours and those whose parents did not wait for them.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let main = |held: &Held| held.process.as_ref().is_some_and(|(_, p, _)| *p == pid);
            let Some(index) = self.services.iter().position(main) else { continue };
            // What it said last, and why it could not be executed, comes before its end.
            self.report(u32::try_from(index).unwrap_or(u32::MAX));
            let Some(held) = self.services.get_mut(index) else { continue };
            held.drain(&mut self.logs);
            let Some((run, ..)) = held.process.take() else { continue };
            let ended = held.describe(status);
            self.happened(Event::Exited(Id(index), run, ended));
        }
    }

    /// The start of a process went well or not.
    pub(super) fn report(&mut self, index: u32) {
        let id = Id(index as usize);
        let Some(held) = self.services.get_mut(id.0) else { return };
        let (Some(report), Some((run, ..))) = (&held.report, &held.process) else { return };
        let run = *run;
        let mut bytes = [0; REPORT_BYTES];
        let event = match rustix::io::read(report, &mut bytes[..]) {
            Ok(0) => Event::Executed(id, run),
            Ok(_) => {
                let program = held.unit.exec.first().map_or("", String::as_str);
                Event::ExecFailed(id, run, format!("{program} {}", sys::read_report(bytes)))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Err(_) => Event::Executed(id, run),
        };
        held.report = None;
        self.happened(event);
    }

    /// A service wrote something.
    pub(super) fn output(&mut self, index: u32) {
        if let Some(held) = self.services.get_mut(index as usize) {
            held.read_output(&mut self.logs);
        }
    }

    /// The last process of a service has gone, or the first one has come.
    pub(super) fn cgroup_changed(&mut self, index: u32) {
        let id = Id(index as usize);
        let Some(cgroup) = self.services.get_mut(id.0).and_then(|held| held.cgroup.as_mut()) else { return };
        if cgroup.populated() {
            return;
        }
        if let Some(run) = self.supervisor.active_run(id) {
            self.happened(Event::Empty(id, run));
        }
    }
}

impl Held {
    fn read_output(&mut self, logs: &mut Logs) {
        let mut buffer = [0; 8192];
        let mut total = 0;
        while let Some(output) = &self.output
            && total < TURN
        {
            match rustix::io::read(output, &mut buffer[..]) {
                Ok(0) => self.output = None,
                Ok(length) => {
                    total += length;
                    let name = &self.unit.name;
                    let piece = buffer.get(..length).unwrap_or_default();
                    self.lines.feed(piece, |line| logs.push_line(name, line));
                }
                Err(_) => break,
            }
        }
    }

    /// Read what is left of a run that has ended.
    fn drain(&mut self, logs: &mut Logs) {
        self.read_output(logs);
        let name = &self.unit.name;
        self.lines.finish(|line| logs.push_line(name, line));
    }

    fn describe(&self, status: WaitStatus) -> Ended {
        let mut how = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(number)) => format!("killed by {}", aios_unit::signal_name(number)),
            (None, None) => "ended".to_owned(),
        };
        let killed = self.cgroup.as_ref().map_or(0, |c| c.oom_kills()) > self.oom_before;
        if killed {
            let limit = match self.unit.resources.memory_max {
                Some(bytes) => format!("its limit is {} MiB", bytes >> 20),
                None => "the machine ran out of memory".to_owned(),
            };
            how = format!("{how}: out of memory, {limit}");
        }
        Ended { success: status.exit_status() == Some(0), how }
    }
}
