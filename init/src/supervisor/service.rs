//! One service: its phase, what is wanted of it, and who waits for it.

use super::types::{Action, Id, Run, Spec, Start, Ticket};
use aios_abi::service::ServiceState;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// No process.
    Idle,
    /// No process; a new run not before this time.
    Backoff { until: Duration },
    /// The process exists, or is about to, and is not ready.
    Starting { deadline: Duration },
    /// Ready.
    Running,
    /// Was asked or forced to end.
    Ending { kill_at: Option<Duration> },
    /// The main process is gone, the rest of its cgroup is being killed.
    Cleaning { success: bool, starved: bool },
}

impl Phase {
    /// Whether a run exists.
    pub(super) fn active(self) -> bool {
        !matches!(self, Self::Idle | Self::Backoff { .. })
    }
}

#[derive(Debug)]
pub(super) enum Goal {
    /// Ready in a run later than this one.
    Up {
        after: Option<Run>,
    },
    Down,
}

/// All that init has to remember of a service when it executes itself anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(super) phase: Phase,
    /// Newest run.
    pub(super) run: Option<Run>,
    /// Time of the last change of phase.
    pub(super) since: Duration,
    pub(super) pid: Option<u32>,
    /// People (or the boot) want it up.
    pub(super) wanted: bool,
    /// It is up only when its timer or its sockets call it.
    pub(super) resting: bool,
    /// When its timer runs it.
    pub(super) due: Option<Duration>,
    /// The present run is to end without that being a failure.
    pub(super) halt: bool,
    /// A oneshot that succeeded.
    pub(super) done: bool,
    /// A oneshot that failed.
    pub(super) failed: bool,
    /// Was ready, has failed or was stopped at least once: those `after` it need not wait any longer.
    pub(super) settled: bool,
    /// The program could not be executed.
    pub(super) unexecutable: bool,
    /// The next run replaces one that died.
    pub(super) died: bool,
    /// When it is killed for having said nothing.
    pub(super) silent_at: Option<Duration>,
    /// When it goes on after having been stopped by a signal.
    pub(super) thaw_at: Option<Duration>,
    /// When the present run began.
    pub(super) began: Duration,
    /// Runs in a row that a socket called and that had nothing to do.
    pub(super) idle_runs: u32,
    /// Deaths in a row, without a stable run in between.
    pub(super) failures: u32,
    pub(super) restarts: u32,
    /// What [`super::Event::ExecFailed`] or a passed deadline said about the present run.
    pub(super) verdict: Option<String>,
    pub(super) last_exit: Option<String>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) spec: Spec,
    pub(super) memory: Memory,
    /// The service was removed; its place is free when nothing of it runs.
    pub(super) gone: bool,
    pub(super) waiting: Vec<(Ticket, Goal)>,
}

impl std::ops::Deref for Service {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

impl std::ops::DerefMut for Service {
    fn deref_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }
}

impl Service {
    pub(super) fn new(spec: Spec) -> Self {
        let memory = Memory {
            phase: Phase::Idle,
            run: None,
            since: Duration::ZERO,
            pid: None,
            wanted: false,
            resting: false,
            due: None,
            halt: false,
            done: false,
            failed: false,
            settled: false,
            unexecutable: false,
            died: false,
            silent_at: None,
            thaw_at: None,
            began: Duration::ZERO,
            idle_runs: 0,
            failures: 0,
            restarts: 0,
            verdict: None,
            last_exit: None,
        };
        Self { spec, memory, gone: false, waiting: Vec::new() }
    }

    pub(super) fn go(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.since = now;
        if phase != Phase::Running {
            self.silent_at = None;
        }
        if !matches!(phase, Phase::Starting { .. } | Phase::Running) {
            self.thaw_at = None;
        }
    }

    /// Those who require it may run.
    pub(super) fn is_up(&self) -> bool {
        !self.halt && (self.phase == Phase::Running || self.done)
    }

    /// It has no run and is to have one.
    pub(super) fn waits(&self) -> bool {
        self.phase == Phase::Idle && self.wanted && !self.resting && !self.done && !self.failed && !self.gone
    }

    /// Nobody is going to start it.
    pub(super) fn at_rest(&self) -> bool {
        !self.is_up() && !self.phase.active() && (!self.wanted || self.failed || self.resting)
    }

    /// Whether its sockets are to be watched for somebody who knocks.
    pub(super) fn listens(&self) -> bool {
        self.phase == Phase::Idle && self.wanted && self.resting && self.spec.start == Start::Socket
    }

    /// The next moment at which something has to be done about it.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Backoff { until } if self.wanted => Some(until),
            // One whose process is still to be made has all its time before it.
            Phase::Starting { deadline } => self.pid.map(|_| deadline),
            Phase::Ending { kill_at } => kill_at,
            Phase::Idle if self.wanted && self.resting => self.due,
            _ => None,
        };
        [phase, self.silent_at, self.thaw_at].into_iter().flatten().min()
    }

    pub(super) fn state(&self) -> ServiceState {
        match self.phase {
            _ if self.halt => ServiceState::Stopping,
            Phase::Idle if self.failed => ServiceState::Failed,
            Phase::Idle if self.listens() => ServiceState::Listening,
            Phase::Idle if self.wanted && self.resting => ServiceState::Scheduled,
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

    pub(super) fn answer_up(&mut self, id: Id, out: &mut Vec<Action>) {
        let run = self.run;
        let answers = self.answer(|goal| match goal {
            Goal::Up { after } if run > *after => Some(Ok(())),
            _ => None,
        });
        out.extend(answers.into_iter().map(|(ticket, result)| Action::Answer(ticket, id, result)));
    }

    pub(super) fn answer_down(&mut self, id: Id, out: &mut Vec<Action>) {
        let answers = self.answer(|goal| matches!(goal, Goal::Down).then_some(Ok(())));
        out.extend(answers.into_iter().map(|(ticket, result)| Action::Answer(ticket, id, result)));
    }

    /// Those who waited for it to come up wait no longer, if the run that they wait for has begun.
    pub(super) fn give_up_waiting(&mut self, id: Id, why: &str, out: &mut Vec<Action>) {
        let (run, wanted) = (self.run, self.wanted);
        let answers = self.answer(|goal| match goal {
            Goal::Up { after } if run > *after || !wanted => Some(Err(why.to_owned())),
            _ => None,
        });
        out.extend(answers.into_iter().map(|(ticket, result)| Action::Answer(ticket, id, result)));
    }
}
