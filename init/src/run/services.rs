//! Doing what the supervisor says, and telling it what became of that.

use super::Machine;
use super::held::{Held, Process};
use crate::cgroup::{self, Changed};
use crate::logs::INIT;
use crate::poll::Token;
use crate::supervisor::{Action, Event, Id, Run, Severity};
use crate::sys::{self, Change, REPORT_BYTES};
use crate::{clock, socket};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::collections::VecDeque;

/// Processes that are made before others have their turn: a thousand services at once are not one turn.
const MAX_SPAWNED: usize = 16;
/// Processes that may prepare themselves at once, up to the execution of their programs. A thousand of them together would all
/// be ready late, and the slower the machine, the more of them too late; so each waits for its turn, and its time begins then.
const MAX_PREPARING: usize = 32;
/// Processes that are collected before others have their turn.
const MAX_REAPED: usize = 512;

impl Machine {
    /// Tell the supervisor, and do what it says until it says nothing more.
    pub(super) fn happened(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.step(clock::both(), event) {
                events.extend(self.perform(action));
            }
        }
    }

    /// Begin the runs that an earlier turn had no time for.
    pub(super) fn spawn_those_that_wait(&mut self) {
        self.spawned = 0;
        while self.spawned < MAX_SPAWNED
            && self.may_prepare_more()
            && let Some((id, run)) = self.to_spawn.pop_front()
        {
            self.spawned += 1;
            let event = self.spawn(id, run);
            self.happened(event);
        }
    }

    pub(super) fn may_prepare_more(&self) -> bool {
        let preparing = |held: &&Held| held.process.is_some() && held.report.is_some();
        self.services.iter().filter(preparing).count() < MAX_PREPARING
    }

    /// Whether its process is made before those that wait: without it nobody could do anything about them.
    fn goes_first(&self, id: Id) -> bool {
        self.services
            .get(id.0)
            .is_some_and(|held| aios_unit::INDISPENSABLE.contains(&held.unit.name.as_str()))
    }

    /// Do what the supervisor says, and tell it what became of that.
    pub(super) fn perform_all(&mut self, actions: Vec<Action>) {
        for action in actions {
            if let Some(event) = self.perform(action) {
                self.happened(event);
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn(id, run)
                if self.goes_first(id) || self.spawned < MAX_SPAWNED && self.may_prepare_more() =>
            {
                self.spawned += 1;
                return Some(self.spawn(id, run));
            }
            Action::Spawn(id, run) => self.to_spawn.push_back((id, run)),
            Action::Terminate(id, run) | Action::KillAll(id, run) if self.to_spawn.contains(&(id, run)) => {
                self.to_spawn.retain(|waiting| *waiting != (id, run));
                return Some(Event::SpawnFailed(id, run, "was ended before it began".to_owned()));
            }
            Action::Terminate(id, run) => {
                // Gone before the main process is, so that the cgroup is empty when that ends.
                self.services.get_mut(id.0).into_iter().for_each(Held::drop_standby);
                let signal = self.services.get(id.0).map_or(libc::SIGTERM, |held| held.unit.stop_signal);
                let _ = self.signal(id, run, signal);
                // One that was stopped could not take notice.
                let _ = self.signal(id, run, libc::SIGCONT);
            }
            Action::Thaw(id, run) => {
                let _ = self.signal(id, run, libc::SIGCONT);
            }
            Action::Listen(id, on) => self.listen_for(id, on),
            Action::KillAll(id, run) => return self.kill_all(id, run),
            Action::Answer(ticket, id, result) => self.answer(ticket, id, result),
            Action::Say(severity, text) => match severity {
                Severity::Note => self.logs.push(INIT, 6, &text),
                Severity::Info => self.logs.info(&text),
                Severity::Warning => self.logs.warn(&text),
            },
            Action::Down(power, left) => self.go_down(power, &left),
        }
        None
    }

    /// One that has ended in the meantime is reported by its exit.
    fn signal(&self, id: Id, run: Run, number: i32) -> bool {
        let process = self.services.get(id.0).and_then(|held| held.process.as_ref());
        let signal = Signal::from_named_raw(number);
        let of_run = process.filter(|p| p.run == run).zip(signal);
        of_run.is_some_and(|(process, signal)| kill_process(process.pid, signal).is_ok())
    }

    /// Send a ready service the signal on which it reads its configuration again.
    pub(super) fn reload(&self, id: Id) -> Result<(), String> {
        let number = self.services.get(id.0).and_then(|held| held.unit.reload_signal);
        let number = number.ok_or("its service file has no reload_signal; restart it instead")?;
        let run = self.supervisor.active_run(id).ok_or("it does not run")?;
        match self.signal(id, run, number) {
            true => Ok(()),
            false => Err("its main process does not run".to_owned()),
        }
    }

    /// Watch the sockets of a service that somebody may knock at, or no longer.
    pub(super) fn listen_for(&mut self, id: Id, on: bool) {
        let (Some(held), Ok(index)) = (self.services.get_mut(id.0), u32::try_from(id.0)) else { return };
        if on && let Err(why) = held.make_sockets() {
            self.logs.warn(&format!("{}: {why}; it cannot be started by a connection", held.unit.name));
        }
        for (_, socket) in &held.sockets {
            let done = match on {
                true => self.poller.readable(socket, Token::Knock(index)),
                false => self.poller.forget(socket),
            };
            // One that was not watched cannot be forgotten, which is as well.
            if let Err(e) = done
                && on
            {
                self.logs.warn(&format!("{}: a socket cannot be watched: {e}", held.unit.name));
            }
        }
    }

    fn spawn(&mut self, id: Id, run: Run) -> Event {
        let Some(held) = self.services.get_mut(id.0) else {
            return Event::SpawnFailed(id, run, "there is no such service".to_owned());
        };
        held.drain(&mut self.logs);
        held.status = None;
        let spawned = match held.begin(&mut self.spawner) {
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
            .and_then(|()| self.poller.readable(&spawned.report, Token::Report(index)))
            .and_then(|()| match &spawned.ready {
                Some(ready) => self.poller.readable(ready, Token::Ready(index)),
                None => Ok(()),
            });
        if let Err(e) = watched {
            self.logs.warn(&format!("{}: its output cannot be read: {e}", held.unit.name));
        }
        held.output = Some(spawned.output);
        held.report = Some(spawned.report);
        held.ready = spawned.ready;
        let pid = spawned.pid.as_raw_nonzero().get().unsigned_abs();
        held.process = Some(Process { run, pid: spawned.pid });
        Event::Spawned(id, run, pid)
    }

    fn kill_all(&mut self, id: Id, run: Run) -> Option<Event> {
        let held = self.services.get_mut(id.0)?;
        let main_is_gone = held.process.is_none();
        if main_is_gone && held.only_standby() {
            return Some(Event::Empty(id, run));
        }
        held.drop_standby();
        let cgroup = held.cgroup.as_ref()?;
        if !cgroup.populated() {
            return Some(Event::Empty(id, run));
        }
        if main_is_gone && let Some(count) = cgroup.processes().filter(|count| *count > 0) {
            let text = format!("{} left {count} processes behind; they are killed", held.unit.name);
            self.logs.push(INIT, 5, &text);
        }
        if let Err(e) = cgroup.kill() {
            self.logs.warn(&format!("{}: its cgroup cannot be killed: {e}", held.unit.name));
        }
        None
    }

    /// Collect processes that have ended, ours and those whose parents did not wait for them, and hear of
    /// main processes that were stopped or go on.
    pub(super) fn reap(&mut self) {
        for _ in 0..MAX_REAPED {
            let Some((pid, change)) = sys::changed_child() else { return };
            // Collecting takes the kernel longer than a standby needs to begin. A new process has to wait until the
            // old one does not count any more.
            let later = self.services.iter().any(|held| held.is_main(pid) && held.standby.is_some());
            if !later {
                collect(pid, change);
            }
            self.child_changed(pid, change);
            if later {
                collect(pid, change);
            }
        }
        self.unreaped = true;
    }

    fn child_changed(&mut self, pid: Pid, change: Change) {
        let Some(index) = self.services.iter().position(|held| held.is_main(pid)) else {
            if !self.command_changed(pid, change) && !self.spawner.changed(pid, change) {
                self.standby_changed(pid, change);
            }
            return;
        };
        let id = Id(index);
        let Some(run) = self.services.get(index).and_then(|held| held.process).map(|p| p.run) else { return };
        match change {
            Change::Stopped => self.happened(Event::Frozen(id, run)),
            Change::Continued => self.happened(Event::Thawed(id, run)),
            Change::Trapped(_) => {}
            Change::Exited(_) | Change::Killed(_) => {
                // What it said last, why it could not be executed, and what the kernel said come before its end.
                self.report(u32::try_from(index).unwrap_or(u32::MAX));
                self.kernel_spoke();
                let Some(held) = self.services.get_mut(index) else { return };
                held.drain(&mut self.logs);
                held.process = None;
                held.ready = None;
                let ended = held.describe(change);
                self.happened(Event::Exited(id, run, ended));
            }
        }
    }

    /// A service wrote to the descriptor by which it says that it is ready.
    pub(super) fn ready_line(&mut self, index: u32) {
        let id = Id(index as usize);
        let Some(held) = self.services.get_mut(id.0) else { return };
        let Some(ready) = &held.ready else { return };
        let mut bytes = [0; 64];
        match rustix::io::read(ready, &mut bytes[..]) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Ok(length) if length > 0 => {
                let said = bytes.get(..length).is_some_and(|said| said.contains(&b'\n'));
                if said && let Some(run) = self.supervisor.active_run(id) {
                    held.ready = None;
                    self.happened(Event::Ready(id, run));
                    self.note_console(id);
                }
            }
            // It was closed without a word: the start's time limit decides.
            _ => held.ready = None,
        }
    }

    /// The start of a process went well or not.
    pub(super) fn report(&mut self, index: u32) {
        let id = Id(index as usize);
        let Some(held) = self.services.get_mut(id.0) else { return };
        let (Some(report), Some(process)) = (&held.report, &held.process) else { return };
        let run = process.run;
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

    /// The last process of some services has gone, or the first one has come.
    pub(super) fn cgroups_changed(&mut self) {
        match self.cgroups.as_mut().map(cgroup::Events::changed) {
            Some(Changed::These(numbers)) => {
                numbers.into_iter().for_each(|n| self.cgroup_changed(n as usize))
            }
            Some(Changed::Any) => (0..self.services.len()).for_each(|index| self.cgroup_changed(index)),
            None => {}
        }
    }

    pub(super) fn cgroup_changed(&mut self, index: usize) {
        let id = Id(index);
        let Some(cgroup) = self.services.get(index).and_then(|held| held.cgroup.as_ref()) else { return };
        let Some(run) = self.supervisor.active_run(id) else { return };
        if !cgroup.populated() {
            self.happened(Event::Empty(id, run));
        }
    }
}

/// Take this news of a child from the kernel, and no later one; a child that has ended is gone then.
fn collect(pid: Pid, change: Change) {
    let kind = match change {
        Change::Exited(_) | Change::Killed(_) => WaitIdOptions::EXITED,
        Change::Stopped | Change::Trapped(_) => WaitIdOptions::STOPPED,
        Change::Continued => WaitIdOptions::CONTINUED,
    };
    let _ = waitid(WaitId::Pid(pid), kind | WaitIdOptions::NOHANG);
}

impl Held {
    pub(super) fn is_main(&self, pid: Pid) -> bool {
        self.process.is_some_and(|process| process.pid == pid)
    }

    /// Make the sockets that are not there yet.
    fn make_sockets(&mut self) -> Result<(), String> {
        for wanted in &self.unit.sockets {
            if !self.sockets.iter().any(|(name, _)| *name == wanted.name) {
                self.sockets.push((wanted.name.clone(), socket::make(&self.unit, wanted)?));
            }
        }
        Ok(())
    }
}
