//! The life of a run: it begins, becomes ready, is killed, ends.

use super::backoff::{DEGRADED_AFTER, IDLE_RUN, IDLE_RUNS, STABLE, delay};
use super::service::{Phase, Service};
use super::types::{Action, Ended, Id, Kind, Now, Run, Severity, Start};
use super::{FROZEN_LIMIT, Supervisor};
use std::time::Duration;

impl Supervisor {
    pub(super) fn ready(&mut self, id: Id, now: Duration, out: &mut Vec<Action>) {
        let Some(s) = self.services.get_mut(id.0) else { return };
        if !matches!(s.phase, Phase::Starting { .. }) {
            return;
        }
        s.settled = true;
        s.unexecutable = false;
        let took = now.saturating_sub(s.since);
        s.go(Phase::Running, now);
        s.silent_at = s.spec.watchdog.map(|limit| now + limit);
        let name = &s.spec.name;
        out.push(Action::Say(Severity::Info, format!("{name} is ready after {} ms", took.as_millis())));
        s.answer_up(id, out);
    }

    pub(super) fn frozen(&mut self, id: Id, run: Run, now: Duration, out: &mut Vec<Action>) {
        let Some(s) = self.of_run(id, run).filter(|s| s.thaw_at.is_none()) else { return };
        if matches!(s.phase, Phase::Ending { .. } | Phase::Cleaning { .. }) {
            return;
        }
        s.thaw_at = Some(now + FROZEN_LIMIT);
        let text = format!(
            "{} was stopped by a signal; it is continued in {} s unless somebody does before",
            s.spec.name,
            FROZEN_LIMIT.as_secs()
        );
        out.push(Action::Say(Severity::Warning, text));
    }

    /// The present run has to end at once, and why.
    pub(super) fn condemn(&mut self, id: Id, why: &str, now: Duration, out: &mut Vec<Action>) {
        let Some(s) = self.services.get_mut(id.0) else { return };
        let (Phase::Starting { .. } | Phase::Running, Some(run)) = (s.phase, s.run) else { return };
        s.verdict = Some(why.to_owned());
        if s.phase == Phase::Running && now.saturating_sub(s.since) >= STABLE {
            s.failures = 0;
        }
        s.go(Phase::Ending { kill_at: None }, now);
        out.push(Action::KillAll(id, run));
    }

    pub(super) fn exited(&mut self, id: Id, run: Run, ended: Ended, now: Duration, out: &mut Vec<Action>) {
        let running = |s: &&mut Service| !matches!(s.phase, Phase::Cleaning { .. });
        let Some(s) = self.of_run(id, run).filter(running) else { return };
        let how = s.verdict.take().unwrap_or(ended.how);
        s.last_exit = Some(if s.halt { format!("{how} (it was to stop)") } else { how });
        if s.phase == Phase::Running && now.saturating_sub(s.since) >= STABLE {
            s.failures = 0;
        }
        s.pid = None;
        s.go(Phase::Cleaning { success: ended.success, starved: ended.starved }, now);
        out.push(Action::KillAll(id, run));
    }

    /// A run is over: nothing of it is left.
    pub(super) fn ended(&mut self, id: Id, success: bool, starved: bool, wall: Now, out: &mut Vec<Action>) {
        let now = wall.boot;
        self.moved = true;
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
                let how = how.trim_end_matches(" (it was to stop)");
                out.push(Action::Say(Severity::Info, format!("{name} has stopped: {how}")));
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
            self.rest(id, wall, out);
            return;
        }
        let idle = now.saturating_sub(s.began) < IDLE_RUN;
        s.idle_runs = if idle { s.idle_runs.saturating_add(1) } else { 0 };
        if success && s.spec.start == Start::Socket && s.idle_runs < IDLE_RUNS {
            s.go(Phase::Idle, now);
            out.push(Action::Say(
                Severity::Note,
                format!("{name} has nothing to do and waits for a connection"),
            ));
            s.give_up_waiting(id, &how, out);
            self.rest(id, wall, out);
            return;
        }
        s.died = true;
        s.failures = s.failures.saturating_add(1);
        let pause = delay(s.failures, starved, &mut self.random);
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
    pub(super) fn expire(&mut self, wall: Now, out: &mut Vec<Action>) {
        let now = wall.boot;
        for index in self.services.overdue(now) {
            let Some(s) = self.services.get_mut(index) else { continue };
            self.moved = true;
            let id = Id(index);
            if s.thaw_at.is_some_and(|at| at <= now) {
                s.thaw_at = None;
                if let Some(run) = s.run {
                    out.push(Action::Thaw(id, run));
                }
            }
            match (s.phase, s.run) {
                (Phase::Idle, _) if s.resting && s.due.is_some_and(|at| at <= now) => {
                    s.due = None;
                    s.resting = false;
                    s.done = false;
                    s.failed = false;
                }
                (Phase::Backoff { until }, _) if until <= now => s.go(Phase::Idle, now),
                (Phase::Starting { deadline }, _) if s.pid.is_some() && deadline <= now => {
                    let limit = s.spec.start_timeout.as_secs_f32();
                    let what = if s.spec.kind == Kind::Oneshot { "done" } else { "ready" };
                    self.condemn(id, &format!("was not {what} within {limit} s and was killed"), now, out);
                }
                (Phase::Running, _) if s.silent_at.is_some_and(|at| at <= now) => {
                    let limit = s.spec.watchdog.unwrap_or_default().as_secs_f32();
                    self.condemn(
                        id,
                        &format!("said nothing for {limit} s and was killed (watchdog)"),
                        now,
                        out,
                    );
                }
                (Phase::Ending { kill_at: Some(at) }, Some(run)) if at <= now => {
                    let limit = s.spec.stop_timeout.as_secs_f32();
                    let why = format!("did not end within {limit} s of its stop signal and was killed");
                    out.push(Action::Say(Severity::Warning, format!("{} {why}", s.spec.name)));
                    s.verdict = Some(why);
                    s.go(Phase::Ending { kill_at: None }, now);
                    out.push(Action::KillAll(id, run));
                }
                _ => {}
            }
        }
    }

    /// Begin the runs that may begin, in an order in which each comes after those that it needs.
    pub(super) fn start_those_that_may(&mut self, wall: Now, out: &mut Vec<Action>) {
        let now = wall.boot;
        let mut blocked = std::mem::take(&mut self.blocked);
        blocked.clear();
        blocked.resize(self.services.len(), false);
        for place in 0..self.graph.order.len() {
            let Some(index) = self.graph.order.get(place).copied() else { break };
            let Some(s) = self.services.get(index) else { continue };
            let hopeless = s.spec.requires.iter().any(|needed| {
                blocked.get(needed.0) == Some(&true)
                    || self.services.get(needed.0).is_none_or(Service::at_rest)
            });
            if let Some(entry) = blocked.get_mut(index) {
                *entry = hopeless;
            }
            if !self.may_start(s, &blocked) {
                continue;
            }
            let id = Id(index);
            self.runs += 1;
            let run = Run(self.runs);
            let Some(s) = self.services.get_mut(index) else { continue };
            let died = std::mem::take(&mut s.died);
            s.restarts = s.restarts.saturating_add(u32::from(died));
            s.run = Some(run);
            s.began = now;
            s.verdict = None;
            if s.spec.kind == Kind::Milestone {
                s.go(Phase::Running, now);
                s.settled = true;
                out.push(Action::Say(Severity::Info, format!("{} is reached", s.spec.name)));
                s.answer_up(id, out);
                continue;
            }
            let deadline = now + s.spec.start_timeout;
            s.go(Phase::Starting { deadline }, now);
            out.push(Action::Spawn(id, run));
        }
        self.blocked = blocked;
    }

    fn may_start(&self, s: &Service, blocked: &[bool]) -> bool {
        let settles = |id: &Id| {
            let other = self.services.get(id.0);
            other.is_some_and(|o| !o.settled && o.wanted && !o.resting) && blocked.get(id.0) != Some(&true)
        };
        s.waits()
            && self.shutdown.is_none()
            && s.spec.requires.iter().all(|id| self.services.get(id.0).is_some_and(Service::is_up))
            && !s.spec.after.iter().any(settles)
    }

    /// End the runs that are to end, those first that need others.
    pub(super) fn end_those_that_may(&mut self, wall: Now, out: &mut Vec<Action>) {
        let now = wall.boot;
        for place in (0..self.graph.order.len()).rev() {
            let Some(index) = self.graph.order.get(place).copied() else { continue };
            if !self.may_end(index) {
                continue;
            }
            let Some(s) = self.services.get_mut(index) else { continue };
            let Some(run) = s.run else { continue };
            if s.spec.kind == Kind::Milestone {
                s.last_exit = None;
                self.ended(Id(index), true, false, wall, out);
                continue;
            }
            let kill_at = Some(now + s.spec.stop_timeout);
            s.go(Phase::Ending { kill_at }, now);
            out.push(Action::Terminate(Id(index), run));
        }
    }

    fn may_end(&self, index: usize) -> bool {
        let Some(s) = self.services.get(index) else { return false };
        if !s.halt || !matches!(s.phase, Phase::Starting { .. } | Phase::Running) {
            return false;
        }
        let active = |id: &Id| self.services.get(id.0).is_some_and(|o| o.phase.active());
        let halting = |id: &Id| self.services.get(id.0).is_some_and(|o| o.halt && o.phase.active());
        let edges = |list: &[Vec<Id>], holds: &dyn Fn(&Id) -> bool| {
            list.get(index).is_some_and(|l| l.iter().any(holds))
        };
        let held = edges(&self.graph.dependents, &halting)
            || (self.shutdown.is_some() && edges(&self.graph.followers, &active))
            || (self.shutdown.is_some()
                && s.spec.last
                && self.services.iter().any(|o| !o.spec.last && o.phase.active()));
        !held
    }
}
