//! What the supervisor remembers when init executes itself anew, and service files that change.

use super::service::{Memory, Phase, Service};
use super::types::{Id, Now, Power, Run, Spec, Start};
use super::{Action, Graph, Supervisor};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is not of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Common {
    runs: u64,
    shutdown: Option<(Power, Duration)>,
}

impl Supervisor {
    /// Services whose memory changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Vec<Id> {
        self.services.take_changed().into_iter().map(Id).collect()
    }

    /// What has to be remembered of a service.
    pub(crate) fn memory(&self, id: Id) -> Option<&Memory> {
        self.services.get(id.0).map(|s| &s.memory)
    }

    /// What has to be remembered besides.
    pub(crate) fn common(&self) -> Common {
        Common { runs: self.runs, shutdown: self.shutdown }
    }

    /// Go on where an earlier init left off. Services that are not mentioned are new to it.
    pub(crate) fn recall(&mut self, common: Common, memories: Vec<(Id, Memory)>) {
        self.runs = common.runs;
        self.shutdown = common.shutdown;
        self.moved = true;
        for (id, memory) in memories {
            self.runs = self.runs.max(memory.run.map_or(0, |run| run.0));
            if let Some(s) = self.services.get_mut(id.0) {
                s.memory = memory;
            }
        }
        self.services.settle();
    }

    /// Sockets that have to be watched for somebody who knocks.
    pub(crate) fn listening(&self) -> Vec<Id> {
        let listens = |(index, s): (usize, &Service)| s.listens().then_some(Id(index));
        self.services.iter().enumerate().filter_map(listens).collect()
    }

    /// The service files were read again: the specification of each place; `None` where a service is gone.
    /// A run goes on as it was begun; what changed counts from the next one.
    pub(crate) fn replace(&mut self, specs: Vec<Option<Spec>>, now: Now) -> Vec<Action> {
        let mut out = Vec::new();
        let old = self.services.len();
        let mut stopped = Vec::new();
        for (index, spec) in specs.into_iter().enumerate() {
            match (self.services.get_mut(index), spec) {
                (Some(s), Some(spec)) => {
                    if std::mem::take(&mut s.gone)
                        || s.memory.phase == Phase::Idle && s.spec.name != spec.name
                    {
                        *s = Service::new(spec);
                        self.boot_one(index, now);
                    } else {
                        s.spec = spec;
                    }
                }
                (Some(s), None) => {
                    if !std::mem::replace(&mut s.gone, true) {
                        s.spec.requires.clear();
                        s.spec.after.clear();
                        s.spec.wants.clear();
                        s.wanted = false;
                        stopped.push(Id(index));
                    }
                }
                (None, Some(spec)) => {
                    self.services.push(Service::new(spec));
                }
                (None, None) => {}
            }
        }
        self.graph = Graph::new(self.services.iter().map(|s| &s.spec));
        for index in old..self.services.len() {
            self.boot_one(index, now);
        }
        for id in stopped {
            if let Some(s) = self.services.get_mut(id.0) {
                s.give_up_waiting(id, "its service file was removed", &mut out);
            }
            self.halt_with_dependents(id);
            self.settle_idle(id, now.boot, &mut out);
        }
        self.services.settle();
        self.moved = true;
        out
    }

    /// A service that is new while the machine runs.
    fn boot_one(&mut self, index: usize, now: Now) {
        let Some(s) = self.services.get_mut(index).filter(|_| self.shutdown.is_none()) else { return };
        match (s.spec.start, s.spec.timer.is_some()) {
            (Start::Boot, false) => self.want(Id(index), now.boot),
            (Start::Boot, true) => {
                s.wanted = true;
                s.resting = true;
                self.schedule_first(index, now);
            }
            (Start::Socket, _) => {
                s.wanted = true;
                s.resting = true;
            }
            (Start::Manual, _) => {}
        }
    }

    /// Whether this place can be given to another service.
    pub(crate) fn is_free(&self, id: Id) -> bool {
        self.services.get(id.0).is_some_and(|s| s.gone && !s.memory.phase.active())
    }
}

impl Memory {
    /// The same with its texts cut to so many characters.
    pub(crate) fn short(&self, most: usize) -> Self {
        let cut = |text: &Option<String>| text.as_ref().map(|text| text.chars().take(most).collect());
        Self { verdict: cut(&self.verdict), last_exit: cut(&self.last_exit), ..self.clone() }
    }

    /// The process that existed when this was written, and its run.
    pub(crate) fn process(&self) -> Option<(Run, u32)> {
        self.run.filter(|_| self.phase.active()).zip(self.pid)
    }

    /// The run that existed when this was written.
    pub(crate) fn active_run(&self) -> Option<Run> {
        self.run.filter(|_| self.phase.active())
    }
}
