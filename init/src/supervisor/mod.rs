//! The supervisor's mind: what to do next, decided without touching anything.
//!
//! [`Supervisor::step`] takes what happened and answers with what is to be done; it has no clock, no
//! file and no process. A service has at most one *run* at a time. A run begins with
//! [`Action::Spawn`] and ends only when its main process was reaped ([`Event::Exited`]) and its cgroup
//! is empty ([`Event::Empty`]); the next run is not begun before. Events of an older run are ignored,
//! so it does not matter how late the shell delivers them.

mod backoff;
mod graph;
mod life;
mod memory;
mod service;
#[cfg(test)]
mod simulation;
mod table;
#[cfg(test)]
mod tests;
mod timer;
mod types;
#[cfg(test)]
mod world;

use backoff::{DEGRADED_AFTER, Random, STABLE};
use graph::Graph;
pub(crate) use memory::Common;
pub(crate) use service::Memory;
use service::{Goal, Phase, Service};
use std::time::Duration;
use table::Table;
pub(crate) use types::{
    Action, Ended, Event, Id, Kind, Now, Power, Readiness, Run, Severity, Spec, Start, Ticket, View,
};

/// How long all services together may take to stop before the machine goes down without them; more if one
/// of them is allowed more.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);
/// How long a main process that was stopped by a signal stays so: nobody on this machine does that for a
/// reason, and its clients wait.
const FROZEN_LIMIT: Duration = Duration::from_secs(10);

/// All services and what is to become of them.
#[derive(Debug)]
pub(crate) struct Supervisor {
    services: Table,
    graph: Graph,
    runs: u64,
    random: Random,
    shutdown: Option<(Power, Duration)>,
    down: bool,
    /// Something happened that may let a service start or end.
    moved: bool,
    /// Of each service, whether it waits for one that nobody is going to start; kept for its memory.
    blocked: Vec<bool>,
}

impl Supervisor {
    /// Services that are all down. The seed makes the jitter of pauses differ between machines.
    pub(crate) fn new(specs: Vec<Spec>, seed: u64) -> Self {
        let graph = Graph::new(specs.iter());
        Self {
            services: specs.into_iter().map(Service::new).collect(),
            graph,
            runs: 0,
            random: Random::new(seed),
            shutdown: None,
            down: false,
            moved: false,
            blocked: Vec::new(),
        }
    }

    /// Take in what happened.
    pub(crate) fn step(&mut self, now: Now, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        let clock_set = event == Event::ClockSet;
        self.take(now, event, &mut out);
        if clock_set {
            self.reschedule(now);
        }
        self.services.settle();
        self.expire(now, &mut out);
        self.services.settle();
        // Ending one service may let another one start, and the other way round.
        while std::mem::take(&mut self.moved) {
            if self.services.counts().halting > 0 {
                self.end_those_that_may(now, &mut out);
                self.services.settle();
            }
            if self.services.counts().waiting > 0 {
                self.start_those_that_may(now, &mut out);
                self.services.settle();
            }
        }
        self.go_down_if_all_have_ended(now.boot, &mut out);
        out
    }

    /// When [`Event::Tick`] is due at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let give_up = self.shutdown.filter(|_| !self.down).map(|(_, at)| at);
        self.services.deadline().into_iter().chain(give_up).min()
    }

    /// The service as people see it.
    pub(crate) fn view(&self, id: Id, now: Duration) -> Option<View> {
        let s = self.services.get(id.0).filter(|s| !s.gone || s.phase.active())?;
        let stable = s.phase == Phase::Running && now.saturating_sub(s.since) >= STABLE;
        Some(View {
            state: s.state(),
            pid: s.pid,
            since: now.saturating_sub(s.since),
            restarts: s.restarts,
            degraded: s.failures >= DEGRADED_AFTER && !stable,
            last_exit: s.last_exit.clone(),
            next_run: s.due.filter(|_| s.wanted && s.resting).map(|at| at.saturating_sub(now)),
        })
    }

    /// The run that exists now.
    pub(crate) fn active_run(&self, id: Id) -> Option<Run> {
        self.services.get(id.0).filter(|s| s.phase.active()).and_then(|s| s.run)
    }

    /// Whether it is ready, and not to stop.
    pub(crate) fn runs(&self, id: Id) -> bool {
        self.services.get(id.0).is_some_and(|s| s.phase == Phase::Running && !s.halt)
    }

    /// Whether a service is being started that is not ready yet.
    pub(crate) fn starting(&self) -> bool {
        let starts =
            |index| self.services.get(index).is_some_and(|s| matches!(s.phase, Phase::Starting { .. }));
        (0..self.services.len()).any(starts)
    }

    /// Whether the machine is on its way down.
    pub(crate) fn shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    fn take(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        let (wall, now) = (now, now.boot);
        self.moved |= !matches!(
            event,
            Event::Spawned(..) | Event::Alive(..) | Event::Extend(..) | Event::Frozen(..) | Event::Tick
        );
        match event {
            Event::Boot => self.boot(wall),
            Event::Start(id, ticket) => self.start(id, ticket, now, out),
            Event::Stop(id, ticket) => self.stop(id, ticket, now, out),
            Event::Restart(id, ticket) => self.restart(id, ticket, now, out),
            Event::Shutdown(power) => self.begin_shutdown(power, now, out),
            Event::Tick | Event::ClockSet => {}
            Event::Knock(id) => {
                if let Some(s) = self.services.get_mut(id.0).filter(|s| s.listens()) {
                    s.resting = false;
                    s.done = false;
                    s.failed = false;
                    out.push(Action::Listen(id, false));
                }
            }
            Event::Spawned(id, run, pid) => {
                if let Some(s) = self.of_run(id, run) {
                    s.pid = Some(pid);
                    // Many services that start together have their processes made one after the other.
                    if matches!(s.phase, Phase::Starting { .. }) {
                        s.go(Phase::Starting { deadline: now + s.spec.start_timeout }, now);
                    }
                }
            }
            Event::SpawnFailed(id, run, why) => {
                if let Some(s) = self.of_run(id, run) {
                    s.verdict = Some(why);
                    self.ended(id, false, false, wall, out);
                }
            }
            Event::Executed(id, run) => {
                let s = self.of_run(id, run);
                if s.is_some_and(|s| s.spec.ready == Readiness::Started && s.spec.kind == Kind::Daemon) {
                    self.ready(id, now, out);
                }
            }
            Event::Ready(id, run) => {
                if self.of_run(id, run).is_some_and(|s| s.spec.kind == Kind::Daemon) {
                    self.ready(id, now, out);
                }
            }
            Event::Alive(id, run) => {
                if let Some(s) = self.of_run(id, run).filter(|s| s.phase == Phase::Running) {
                    s.silent_at = s.spec.watchdog.map(|limit| now + limit);
                }
            }
            Event::Unwell(id, run) => {
                if self.of_run(id, run).is_some() {
                    self.condemn(id, "said that it is not well and was killed (watchdog)", now, out);
                }
            }
            Event::Extend(id, run, time) => {
                if let Some(s) = self.of_run(id, run)
                    && let Phase::Starting { deadline } = s.phase
                {
                    s.phase = Phase::Starting { deadline: deadline.max(now + time) };
                }
            }
            Event::Frozen(id, run) => self.frozen(id, run, now, out),
            Event::Thawed(id, run) => {
                if let Some(s) = self.of_run(id, run).filter(|s| s.thaw_at.is_some()) {
                    s.thaw_at = None;
                    // What it could not say in the meantime is not held against it.
                    s.silent_at = s.silent_at.and(s.spec.watchdog).map(|limit| now + limit);
                    let text = format!("{} goes on", s.spec.name);
                    out.push(Action::Say(Severity::Note, text));
                }
            }
            Event::ExecFailed(id, run, why) => {
                if let Some(s) = self.of_run(id, run) {
                    s.verdict = Some(why);
                    s.unexecutable = true;
                }
            }
            Event::Exited(id, run, ended) => self.exited(id, run, ended, now, out),
            Event::Empty(id, run) => {
                // An empty cgroup before the main process was reaped says nothing that its exit will not.
                if let Some(Phase::Cleaning { success, starved }) = self.of_run(id, run).map(|s| s.phase) {
                    self.ended(id, success, starved, wall, out);
                }
            }
        }
    }

    /// The service, if this is the run that exists now.
    fn of_run(&mut self, id: Id, run: Run) -> Option<&mut Service> {
        self.services.get_mut(id.0).filter(|s| s.run == Some(run) && s.phase.active())
    }

    /// All that the boot starts, and what those require and want; timers and sockets wait for their turn.
    fn boot(&mut self, now: Now) {
        for index in 0..self.services.len() {
            let Some(s) = self.services.get_mut(index) else { continue };
            if s.spec.timer.is_some() && s.spec.start == Start::Boot {
                s.wanted = true;
                s.resting = true;
                self.schedule_first(index, now);
            } else if s.spec.start == Start::Boot {
                self.want(Id(index), now.boot);
            }
        }
        let waits = |s: &Service| s.spec.start == Start::Socket && !s.wanted;
        for index in 0..self.services.len() {
            if self.services.get(index).is_some_and(waits)
                && let Some(s) = self.services.get_mut(index)
            {
                s.wanted = true;
                s.resting = true;
            }
        }
    }

    fn start(&mut self, id: Id, ticket: Ticket, now: Duration, out: &mut Vec<Action>) {
        if self.refuse(id, ticket, out) {
            return;
        }
        self.want(id, now);
        let Some(s) = self.services.get_mut(id.0) else { return };
        if (s.phase == Phase::Running && !s.halt) || (s.done && s.spec.timer.is_none()) {
            out.push(Action::Answer(ticket, id, Ok(())));
        } else {
            s.done = false;
            let after = if s.halt { s.run } else { None };
            s.waiting.push((ticket, Goal::Up { after }));
        }
    }

    /// Want a service and all that it requires and wants.
    fn want(&mut self, id: Id, now: Duration) {
        let mut pending = vec![id];
        let mut seen = vec![false; self.services.len()];
        while let Some(id) = pending.pop() {
            let known = seen.get_mut(id.0).map(|seen| std::mem::replace(seen, true)).unwrap_or(true);
            let Some(s) = self.services.get_mut(id.0).filter(|s| !known && !s.gone) else { continue };
            let sleeping = matches!(s.phase, Phase::Backoff { .. });
            s.wanted = true;
            s.resting = false;
            s.failed = false;
            s.failures = 0;
            if sleeping {
                s.go(Phase::Idle, now);
            }
            pending.extend(s.spec.requires.iter().chain(&s.spec.wants).copied());
        }
    }

    fn stop(&mut self, id: Id, ticket: Ticket, now: Duration, out: &mut Vec<Action>) {
        let Some(s) = self.services.get_mut(id.0) else { return };
        s.wanted = false;
        s.waiting.push((ticket, Goal::Down));
        s.give_up_waiting(id, "it was stopped on request", out);
        self.halt_with_dependents(id);
        self.settle_idle(id, now, out);
    }

    /// End the present run of a service and of all that require it.
    fn halt_with_dependents(&mut self, id: Id) {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let Some(s) = self.services.get_mut(id.0).filter(|s| !s.halt) else { continue };
            s.halt = s.phase.active();
            let dependents = self.graph.dependents.get(id.0).into_iter().flatten();
            let active =
                |other: &&Id| self.services.get(other.0).is_some_and(|o| o.phase.active() && !o.halt);
            pending.extend(dependents.filter(active));
        }
    }

    /// A service without a run that is not wanted rests, and those who waited for that hear of it.
    fn settle_idle(&mut self, id: Id, now: Duration, out: &mut Vec<Action>) {
        let Some(s) = self.services.get_mut(id.0) else { return };
        if s.phase.active() {
            return;
        }
        s.halt = false;
        if !s.wanted {
            if s.resting && s.spec.start == Start::Socket {
                out.push(Action::Listen(id, false));
            }
            s.resting = false;
            s.due = None;
            s.settled = true;
            s.failed = false;
            s.done = false;
            s.unexecutable = false;
            s.died = false;
            if s.phase != Phase::Idle {
                s.go(Phase::Idle, now);
            }
        }
        s.answer_down(id, out);
    }

    fn restart(&mut self, id: Id, ticket: Ticket, now: Duration, out: &mut Vec<Action>) {
        if self.refuse(id, ticket, out) {
            return;
        }
        self.want(id, now);
        let Some(s) = self.services.get_mut(id.0) else { return };
        s.done = false;
        s.halt = s.phase.active();
        s.failures = 0;
        let after = if s.halt { s.run } else { None };
        s.waiting.push((ticket, Goal::Up { after }));
    }

    fn refuse(&self, id: Id, ticket: Ticket, out: &mut Vec<Action>) -> bool {
        let why = match self.services.get(id.0) {
            _ if self.shutdown.is_some() => "the machine is going down",
            Some(s) if s.gone => "its service file was removed",
            _ => return false,
        };
        out.push(Action::Answer(ticket, id, Err(why.to_owned())));
        true
    }

    fn begin_shutdown(&mut self, power: Power, now: Duration, out: &mut Vec<Action>) {
        if self.shutdown.is_some() {
            return;
        }
        let longest = self.services.iter().map(|s| s.spec.stop_timeout).max().unwrap_or_default();
        self.shutdown = Some((power, now + SHUTDOWN_LIMIT.max(longest + Duration::from_secs(5))));
        for index in 0..self.services.len() {
            let id = Id(index);
            if let Some(s) = self.services.get_mut(index) {
                s.wanted = false;
                s.halt = s.phase.active();
                s.give_up_waiting(id, "the machine is going down", out);
            }
            self.settle_idle(id, now, out);
        }
    }

    fn go_down_if_all_have_ended(&mut self, now: Duration, out: &mut Vec<Action>) {
        let Some((power, give_up)) = self.shutdown.filter(|_| !self.down) else { return };
        let none_left = self.services.counts().active == 0;
        if none_left || give_up <= now {
            self.down = true;
            let left = (0..self.services.len()).map(Id).filter(|id| self.active_run(*id).is_some()).collect();
            out.push(Action::Down(power, left));
        }
    }
}
