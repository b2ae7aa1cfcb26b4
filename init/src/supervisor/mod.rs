//! The supervisor's mind: what to do next, decided without touching anything.
//!
//! [`Supervisor::step`] takes what happened and answers with what is to be done; it has no clock, no
//! file and no process. A service has at most one *run* at a time. A run begins with
//! [`Action::Spawn`] and ends only when its main process was reaped ([`Event::Exited`]) and its cgroup
//! is empty ([`Event::Empty`]); the next run is not begun before. Events of an older run are ignored,
//! so it does not matter how late the shell delivers them.

mod backoff;
mod service;
#[cfg(test)]
mod tests;
mod types;

use backoff::{DEGRADED_AFTER, Random, STABLE, delay};
use service::{Goal, Phase, Service};
use std::time::Duration;
pub(crate) use types::{Action, Ended, Event, Id, Kind, Power, Readiness, Run, Severity, Spec, Ticket, View};

/// How long all services together may take to stop before the machine goes down without them.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);

/// All services and what is to become of them.
#[derive(Debug)]
pub(crate) struct Supervisor {
    services: Vec<Service>,
    runs: u64,
    random: Random,
    shutdown: Option<(Power, Duration)>,
    down: bool,
}

impl Supervisor {
    /// Services that are all down. The seed makes the jitter of pauses differ between machines.
    pub(crate) fn new(specs: Vec<Spec>, seed: u64) -> Self {
        let services = specs.into_iter().map(Service::new).collect();
        Self { services, runs: 0, random: Random::new(seed), shutdown: None, down: false }
    }

    /// Take in what happened at `now` (since the kernel's start).
    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.take(now, event, &mut out);
        self.expire(now, &mut out);
        self.advance(now, &mut out);
        out
    }

    /// When [`Event::Tick`] is due at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let give_up = self.shutdown.filter(|_| !self.down).map(|(_, at)| at);
        let timers = self.services.iter().filter_map(|s| match s.phase {
            Phase::Backoff { until } if s.wanted => Some(until),
            Phase::Starting { deadline } => Some(deadline),
            Phase::Ending { kill_at } => kill_at,
            _ => None,
        });
        timers.chain(give_up).min()
    }

    /// The service as people see it.
    pub(crate) fn view(&self, id: Id, now: Duration) -> Option<View> {
        let s = self.services.get(id.0)?;
        let stable = s.phase == Phase::Running && now.saturating_sub(s.since) >= STABLE;
        Some(View {
            state: s.state(),
            pid: s.pid,
            since: now.saturating_sub(s.since),
            restarts: s.restarts,
            degraded: s.failures >= DEGRADED_AFTER && !stable,
            last_exit: s.last_exit.clone(),
        })
    }

    /// The run that exists now.
    pub(crate) fn active_run(&self, id: Id) -> Option<Run> {
        self.services.get(id.0).filter(|s| s.phase.active()).and_then(|s| s.run)
    }

    /// Whether the machine is on its way down.
    pub(crate) fn shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    fn take(&mut self, now: Duration, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Boot => self.services.iter_mut().for_each(|s| s.wanted = true),
            Event::Start(id, ticket) => self.start(id, ticket, now, out),
            Event::Stop(id, ticket) => self.stop(id, ticket, now, out),
            Event::Restart(id, ticket) => self.restart(id, ticket, now, out),
            Event::Shutdown(power) => self.begin_shutdown(power, now, out),
            Event::Tick => {}
            Event::Spawned(id, run, pid) => {
                if let Some(s) = self.of_run(id, run) {
                    s.pid = Some(pid);
                }
            }
            Event::SpawnFailed(id, run, why) => {
                if let Some(s) = self.of_run(id, run) {
                    s.verdict = Some(why);
                    self.ended(id, false, now, out);
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
            Event::ExecFailed(id, run, why) => {
                if let Some(s) = self.of_run(id, run) {
                    s.verdict = Some(why);
                    s.unexecutable = true;
                }
            }
            Event::Exited(id, run, ended) => {
                if let Some(s) = self.of_run(id, run).filter(|s| !matches!(s.phase, Phase::Cleaning { .. })) {
                    s.last_exit = Some(match &s.verdict {
                        Some(why) => why.clone(),
                        None => ended.how,
                    });
                    if s.phase == Phase::Running && now.saturating_sub(s.since) >= STABLE {
                        s.failures = 0;
                    }
                    s.pid = None;
                    s.go(Phase::Cleaning { success: ended.success }, now);
                    out.push(Action::KillAll(id, run));
                }
            }
            Event::Empty(id, run) => {
                // An empty cgroup before the main process was reaped says nothing that its exit will not.
                if let Some(Phase::Cleaning { success }) = self.of_run(id, run).map(|s| s.phase) {
                    self.ended(id, success, now, out);
                }
            }
        }
    }

    /// The service, if this is the run that exists now.
    fn of_run(&mut self, id: Id, run: Run) -> Option<&mut Service> {
        self.services.get_mut(id.0).filter(|s| s.run == Some(run) && s.phase.active())
    }

    fn start(&mut self, id: Id, ticket: Ticket, now: Duration, out: &mut Vec<Action>) {
        if self.refuse_while_going_down(id, ticket, out) {
            return;
        }
        self.want(id, now);
        let Some(s) = self.services.get_mut(id.0) else { return };
        if (s.phase == Phase::Running && !s.halt) || s.done {
            out.push(Action::Answer(ticket, id, Ok(())));
        } else {
            let after = if s.halt { s.run } else { None };
            s.waiting.push((ticket, Goal::Up { after }));
        }
    }

    /// Want a service and all that it requires.
    fn want(&mut self, id: Id, now: Duration) {
        let mut pending = vec![id];
        let mut seen = Vec::new();
        while let Some(id) = pending.pop() {
            let Some(s) = self.services.get_mut(id.0).filter(|_| !seen.contains(&id)) else { continue };
            seen.push(id);
            let sleeping = matches!(s.phase, Phase::Backoff { .. });
            s.wanted = true;
            s.failed = false;
            s.failures = 0;
            if sleeping {
                s.go(Phase::Idle, now);
            }
            pending.extend(s.spec.requires.iter().copied());
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
            let Some(s) = self.services.get_mut(id.0) else { continue };
            if s.halt {
                continue;
            }
            s.halt = s.phase.active();
            for (index, other) in self.services.iter().enumerate() {
                if other.spec.requires.contains(&id) && other.phase.active() && !other.halt {
                    pending.push(Id(index));
                }
            }
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
        if self.refuse_while_going_down(id, ticket, out) {
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

    fn refuse_while_going_down(&self, id: Id, ticket: Ticket, out: &mut Vec<Action>) -> bool {
        let down = self.shutdown.is_some();
        if down {
            out.push(Action::Answer(ticket, id, Err("the machine is going down".to_owned())));
        }
        down
    }

    fn begin_shutdown(&mut self, power: Power, now: Duration, out: &mut Vec<Action>) {
        if self.shutdown.is_some() {
            return;
        }
        self.shutdown = Some((power, now + SHUTDOWN_LIMIT));
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

    fn ready(&mut self, id: Id, now: Duration, out: &mut Vec<Action>) {
        let Some(s) = self.services.get_mut(id.0) else { return };
        if !matches!(s.phase, Phase::Starting { .. }) {
            return;
        }
        s.settled = true;
        s.unexecutable = false;
        let took = now.saturating_sub(s.since);
        s.go(Phase::Running, now);
        let name = &s.spec.name;
        out.push(Action::Say(Severity::Info, format!("{name} is ready after {} ms", took.as_millis())));
        s.answer_up(id, out);
    }

    /// A run is over: nothing of it is left.
    fn ended(&mut self, id: Id, success: bool, now: Duration, out: &mut Vec<Action>) {
        let Some(s) = self.services.get_mut(id.0) else { return };
        s.pid = None;
        s.settled = true;
        if let Some(why) = s.verdict.take() {
            s.last_exit = Some(why);
        }
        let how = s.last_exit.clone().unwrap_or_else(|| "ended".to_owned());
        let name = s.spec.name.clone();
        if s.halt {
            s.halt = false;
            s.died = false;
            s.go(Phase::Idle, now);
            if !s.wanted {
                out.push(Action::Say(Severity::Info, format!("{name} has stopped")));
            }
            self.settle_idle(id, now, out);
            return;
        }
        if s.spec.kind == Kind::Oneshot {
            s.go(Phase::Idle, now);
            s.done = success;
            s.failed = !success;
            if success {
                out.push(Action::Say(Severity::Info, format!("{name} has done its work")));
                s.answer_up(id, out);
            } else {
                out.push(Action::Say(Severity::Warning, format!("{name} failed: {how}")));
                s.give_up_waiting(id, &how, out);
            }
            return;
        }
        s.died = true;
        s.failures = s.failures.saturating_add(1);
        let pause = delay(s.failures, &mut self.random);
        s.go(Phase::Backoff { until: now + pause }, now);
        let again = match pause.as_millis() {
            0 => "it is started again at once".to_owned(),
            ms => format!("it is started again in {ms} ms"),
        };
        let flapping = match s.failures >= DEGRADED_AFTER {
            true => format!(" ({} deaths in a row)", s.failures),
            false => String::new(),
        };
        out.push(Action::Say(Severity::Warning, format!("{name}: {how}{flapping}; {again}")));
        s.give_up_waiting(id, &format!("{how}; {again}"), out);
    }

    /// Deadlines that have passed.
    fn expire(&mut self, now: Duration, out: &mut Vec<Action>) {
        for (index, s) in self.services.iter_mut().enumerate() {
            let Some(run) = s.run else { continue };
            match s.phase {
                Phase::Backoff { until } if until <= now => s.go(Phase::Idle, now),
                Phase::Starting { deadline } if deadline <= now => {
                    let limit = s.spec.start_timeout.as_secs_f32();
                    s.verdict = Some(format!("was not ready within {limit} s and was killed"));
                    s.go(Phase::Ending { kill_at: None }, now);
                    out.push(Action::KillAll(Id(index), run));
                }
                Phase::Ending { kill_at: Some(at) } if at <= now => {
                    let limit = s.spec.stop_timeout.as_secs_f32();
                    let name = &s.spec.name;
                    let text = format!("{name} did not end within {limit} s of SIGTERM and is killed");
                    out.push(Action::Say(Severity::Warning, text));
                    s.go(Phase::Ending { kill_at: None }, now);
                    out.push(Action::KillAll(Id(index), run));
                }
                _ => {}
            }
        }
    }

    /// Begin the runs that may begin and end those that may end.
    fn advance(&mut self, now: Duration, out: &mut Vec<Action>) {
        for index in 0..self.services.len() {
            if self.may_start(index) {
                self.runs += 1;
                let run = Run(self.runs);
                let Some(s) = self.services.get_mut(index) else { continue };
                s.restarts = s.restarts.saturating_add(u32::from(std::mem::take(&mut s.died)));
                s.run = Some(run);
                s.verdict = None;
                s.go(Phase::Starting { deadline: now + s.spec.start_timeout }, now);
                out.push(Action::Spawn(Id(index), run));
            } else if self.may_end(index) {
                let Some(s) = self.services.get_mut(index) else { continue };
                let Some(run) = s.run else { continue };
                s.go(Phase::Ending { kill_at: Some(now + s.spec.stop_timeout) }, now);
                out.push(Action::Terminate(Id(index), run));
            }
        }
        if let Some((power, give_up)) = self.shutdown
            && !self.down
        {
            let left: Vec<Id> =
                (0..self.services.len()).map(Id).filter(|id| self.active_run(*id).is_some()).collect();
            if left.is_empty() || give_up <= now {
                self.down = true;
                out.push(Action::Down(power, left));
            }
        }
    }

    fn may_start(&self, index: usize) -> bool {
        let Some(s) = self.services.get(index) else { return false };
        s.phase == Phase::Idle
            && s.wanted
            && !s.done
            && !s.failed
            && self.shutdown.is_none()
            && s.spec.requires.iter().all(|id| self.services.get(id.0).is_some_and(Service::is_up))
            && s.spec.after.iter().all(|id| !self.may_settle(*id))
    }

    /// Whether this service has not been ready, failed or been stopped yet, and will.
    fn may_settle(&self, id: Id) -> bool {
        self.services.get(id.0).is_some_and(|s| !s.settled && s.wanted) && !self.blocked(id)
    }

    /// Whether a service waits for another one that nobody is going to start. Requirements form no circle.
    fn blocked(&self, id: Id) -> bool {
        let Some(s) = self.services.get(id.0) else { return false };
        s.spec.requires.iter().any(|needed| {
            let resting = |o: &Service| !o.is_up() && !o.phase.active() && (!o.wanted || o.failed);
            self.services.get(needed.0).is_some_and(resting) || self.blocked(*needed)
        })
    }

    fn may_end(&self, index: usize) -> bool {
        let Some(s) = self.services.get(index) else { return false };
        let id = Id(index);
        s.halt
            && matches!(s.phase, Phase::Starting { .. } | Phase::Running)
            && self.services.iter().all(|other| {
                let earlier = other.spec.after.contains(&id) || (s.spec.last && !other.spec.last);
                let holds =
                    (other.spec.requires.contains(&id) && other.halt) || (self.shutdown.is_some() && earlier);
                !(holds && other.phase.active())
            })
    }
}
