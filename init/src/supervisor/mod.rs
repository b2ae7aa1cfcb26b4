//! The supervisor's mind: what to do next, decided without touching anything.
//!
//! [`Supervisor::step`] takes what happened and answers with what is to be done; it has no clock, no
//! file and no process. A service has at most one *run* at a time. A run begins with
//! [`Action::Spawn`] and ends only when its main process was reaped ([`Event::Exited`]) and its cgroup
//! is empty ([`Event::Empty`]); the next run is not begun before. Events of an older run are ignored,
//! so it does not matter how late the shell delivers them.

mod backoff;
#[cfg(test)]
mod tests;

use aios_abi::service::ServiceState;
use backoff::{DEGRADED_AFTER, Random, STABLE, delay};
use std::time::Duration;

/// How long all services together may take to stop before the machine goes down without them.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);

/// Index of a service; services are never removed while the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) usize);

/// One life of a service's main process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run(pub(crate) u64);

/// Somebody who waits for the outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// Whether a service runs for ever or does one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Is started again whenever it ends.
    #[default]
    Daemon,
    /// Has done its work when it exits with status 0.
    Oneshot,
}

/// When a daemon counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Readiness {
    /// When it sends `READY=1` (sd_notify(3)).
    Notify,
    /// As soon as its program runs.
    #[default]
    Started,
}

/// What the machine does when all services have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    /// Switch off.
    Off,
    /// Start anew.
    Reboot,
}

/// What the supervisor needs to know of a service.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) ready: Readiness,
    /// Start after these have become ready or have failed; stop before them when the machine goes down.
    pub(crate) after: Vec<Id>,
    /// Start only while these are ready; stop before them.
    pub(crate) requires: Vec<Id>,
    /// When the machine goes down it goes on until all others have ended.
    pub(crate) last: bool,
    pub(crate) start_timeout: Duration,
    pub(crate) stop_timeout: Duration,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Start all services.
    Boot,
    /// Somebody wants it up.
    Start(Id, Ticket),
    /// Somebody wants it down.
    Stop(Id, Ticket),
    /// Somebody wants a new run of it.
    Restart(Id, Ticket),
    /// The process of a run exists.
    Spawned(Id, Run, u32),
    /// The process of a run could not be made, and none exists.
    SpawnFailed(Id, Run, String),
    /// The process executes its program.
    Executed(Id, Run),
    /// The process could not execute its program; its exit follows.
    ExecFailed(Id, Run, String),
    /// It said that it is ready.
    Ready(Id, Run),
    /// Its main process was reaped: whether it ended well, and how in words.
    Exited(Id, Run, Ended),
    /// No process of the run is left.
    Empty(Id, Run),
    /// The machine is to go down.
    Shutdown(Power),
    /// Nothing but time.
    Tick,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// It exited with status 0.
    pub(crate) success: bool,
    /// `exited with status 1`, `killed by SIGKILL`.
    pub(crate) how: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the process of a new run.
    Spawn(Id, Run),
    /// Ask the main process to end (SIGTERM).
    Terminate(Id, Run),
    /// Kill whatever is left in its cgroup, and report [`Event::Empty`] when nothing is.
    KillAll(Id, Run),
    /// The service has what it was asked for, or it will not have it.
    Answer(Ticket, Id, Result<(), String>),
    /// Worth telling people.
    Say(Severity, String),
    /// Everything has stopped; these are the services that did not.
    Down(Power, Vec<Id>),
}

/// How a message to people is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// A milestone.
    Info,
    /// Something went wrong and is being dealt with.
    Warning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No process.
    Idle,
    /// No process; a new run not before this time.
    Backoff { until: Duration },
    /// The process exists and is not ready.
    Starting { deadline: Duration },
    /// Ready.
    Running,
    /// Was asked or forced to end.
    Ending { kill_at: Option<Duration> },
    /// The main process is gone, the rest of its cgroup is being killed.
    Cleaning { success: bool },
}

impl Phase {
    /// Whether a run exists.
    fn active(self) -> bool {
        !matches!(self, Self::Idle | Self::Backoff { .. })
    }
}

#[derive(Debug)]
enum Goal {
    /// Ready in a run later than this one.
    Up {
        after: Option<Run>,
    },
    Down,
}

#[derive(Debug)]
struct Service {
    spec: Spec,
    phase: Phase,
    /// Newest run.
    run: Option<Run>,
    /// Time of the last change of phase.
    since: Duration,
    pid: Option<u32>,
    /// People (or the boot) want it up.
    wanted: bool,
    /// The present run is to end without that being a failure.
    halt: bool,
    /// A oneshot that succeeded.
    done: bool,
    /// A oneshot that failed.
    failed: bool,
    /// Was ready, has failed or was stopped at least once: those `after` it need not wait any longer.
    settled: bool,
    /// The program could not be executed.
    unexecutable: bool,
    /// The next run replaces one that died.
    died: bool,
    /// Deaths in a row, without a stable run in between.
    failures: u32,
    restarts: u32,
    /// What [`Event::ExecFailed`] or a passed deadline said about the present run.
    verdict: Option<String>,
    last_exit: Option<String>,
    waiting: Vec<(Ticket, Goal)>,
}

/// A service as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) state: ServiceState,
    pub(crate) pid: Option<u32>,
    pub(crate) since: Duration,
    pub(crate) restarts: u32,
    pub(crate) degraded: bool,
    pub(crate) last_exit: Option<String>,
}

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

impl Service {
    fn new(spec: Spec) -> Self {
        Self {
            spec,
            phase: Phase::Idle,
            run: None,
            since: Duration::ZERO,
            pid: None,
            wanted: false,
            halt: false,
            done: false,
            failed: false,
            settled: false,
            unexecutable: false,
            died: false,
            failures: 0,
            restarts: 0,
            verdict: None,
            last_exit: None,
            waiting: Vec::new(),
        }
    }

    fn go(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.since = now;
    }

    /// Those who require it may run.
    fn is_up(&self) -> bool {
        !self.halt && (self.phase == Phase::Running || self.done)
    }

    fn state(&self) -> ServiceState {
        match self.phase {
            _ if self.halt => ServiceState::Stopping,
            Phase::Idle if self.failed => ServiceState::Failed,
            Phase::Idle if self.wanted && !self.done => ServiceState::Waiting,
            Phase::Idle => ServiceState::Stopped,
            Phase::Backoff { .. } if self.unexecutable => ServiceState::Failed,
            Phase::Starting { .. } => ServiceState::Starting,
            Phase::Running => ServiceState::Running,
            Phase::Backoff { .. } | Phase::Ending { .. } | Phase::Cleaning { .. } => ServiceState::Backoff,
        }
    }

    fn answer(
        &mut self,
        mut met: impl FnMut(&Goal) -> Option<Result<(), String>>,
    ) -> Vec<(Ticket, Result<(), String>)> {
        let mut answers = Vec::new();
        self.waiting.retain(|(ticket, goal)| match met(goal) {
            Some(result) => {
                answers.push((*ticket, result));
                false
            }
            None => true,
        });
        answers
    }

    fn answer_up(&mut self, id: Id, out: &mut Vec<Action>) {
        let run = self.run;
        let answers = self.answer(|goal| match goal {
            Goal::Up { after } if run > *after => Some(Ok(())),
            _ => None,
        });
        out.extend(answers.into_iter().map(|(ticket, result)| Action::Answer(ticket, id, result)));
    }

    fn answer_down(&mut self, id: Id, out: &mut Vec<Action>) {
        let answers = self.answer(|goal| matches!(goal, Goal::Down).then_some(Ok(())));
        out.extend(answers.into_iter().map(|(ticket, result)| Action::Answer(ticket, id, result)));
    }

    /// Those who waited for it to come up wait no longer, if the run that they wait for has begun.
    fn give_up_waiting(&mut self, id: Id, why: &str, out: &mut Vec<Action>) {
        let (run, wanted) = (self.run, self.wanted);
        let answers = self.answer(|goal| match goal {
            Goal::Up { after } if run > *after || !wanted => Some(Err(why.to_owned())),
            _ => None,
        });
        out.extend(answers.into_iter().map(|(ticket, result)| Action::Answer(ticket, id, result)));
    }
}
