//! A machine that does what the supervisor says, and whose processes do what a story says. Whatever must
//! hold at every moment is asserted here.

use super::*;
use aios_abi::service::ServiceState;
use std::collections::{BTreeMap, VecDeque};

pub(super) fn daemon(name: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        kind: Kind::Daemon,
        start: Start::Boot,
        ready: Readiness::Notify,
        after: Vec::new(),
        requires: Vec::new(),
        wants: Vec::new(),
        last: false,
        start_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(5),
        watchdog: None,
        timer: None,
        last_run: None,
    }
}

pub(super) struct World {
    pub(super) supervisor: Supervisor,
    pub(super) specs: Vec<Spec>,
    pub(super) now: Now,
    /// Main processes that exist.
    pub(super) alive: BTreeMap<Id, Run>,
    /// Those that were asked to end.
    pub(super) asked: Vec<Id>,
    /// Runs that are being killed.
    pub(super) killed: Vec<(Id, Run)>,
    /// Runs whose main process has gone and whose children have not.
    pub(super) leftovers: Vec<(Id, Run)>,
    /// Processes that were stopped by a signal.
    pub(super) frozen: Vec<Id>,
    /// Sockets that are watched.
    pub(super) listening: Vec<Id>,
    /// What people want.
    pub(super) wanted: Vec<bool>,
    pub(super) ready: Vec<bool>,
    pub(super) answers: BTreeMap<u64, Result<(), String>>,
    pub(super) said: Vec<String>,
    pub(super) down: Option<Vec<Id>>,
    pub(super) spawns: Vec<usize>,
    /// The next process cannot be made.
    pub(super) refuse_spawn: bool,
    /// Main processes leave children behind that take their time.
    pub(super) messy: bool,
    pub(super) tickets: u64,
}

impl Supervisor {
    pub(super) fn service(&self, id: Id) -> &Service {
        self.services.get(id.0).expect("exists")
    }
}

impl World {
    pub(super) fn new(specs: Vec<Spec>) -> Self {
        let count = specs.len();
        Self {
            supervisor: Supervisor::new(specs.clone(), 42),
            specs,
            now: Now { boot: Duration::from_secs(1), wall: Duration::from_secs(1_795_258_080) },
            alive: BTreeMap::new(),
            asked: Vec::new(),
            killed: Vec::new(),
            leftovers: Vec::new(),
            frozen: Vec::new(),
            listening: Vec::new(),
            wanted: vec![false; count],
            ready: vec![false; count],
            answers: BTreeMap::new(),
            said: Vec::new(),
            down: None,
            spawns: vec![0; count],
            refuse_spawn: false,
            messy: false,
            tickets: 0,
        }
    }

    pub(super) fn booted(specs: Vec<Spec>) -> Self {
        let mut world = Self::new(specs);
        for index in 0..world.specs.len() {
            match world.specs[index].start {
                Start::Boot if world.specs[index].timer.is_none() => world.want(Id(index)),
                Start::Boot | Start::Socket => world.wanted[index] = true,
                Start::Manual => {}
            }
        }
        world.tell(Event::Boot);
        world
    }

    fn want(&mut self, id: Id) {
        let mut pending = vec![id];
        let mut seen = vec![];
        while let Some(id) = pending.pop() {
            if !seen.contains(&id) {
                seen.push(id);
                self.wanted[id.0] = true;
                pending.extend(self.specs[id.0].requires.iter().chain(&self.specs[id.0].wants).copied());
            }
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.step(self.now, event) {
                events.extend(self.perform(action));
            }
        }
        self.check();
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn(id, run) => {
                assert!(!self.alive.contains_key(&id), "two main processes of one service");
                assert!(
                    self.leftovers.iter().all(|(of, _)| *of != id),
                    "started before its cgroup was empty"
                );
                assert!(self.wanted[id.0], "a stopped service is started");
                assert!(self.down.is_none() && !self.supervisor.shutting_down(), "started on the way down");
                for needed in &self.specs[id.0].requires {
                    assert!(self.is_up(*needed), "started without what it requires");
                }
                self.spawns[id.0] += 1;
                if std::mem::take(&mut self.refuse_spawn) {
                    return Some(Event::SpawnFailed(id, run, "no memory".into()));
                }
                self.alive.insert(id, run);
                Some(Event::Spawned(id, run, 100))
            }
            Action::Terminate(id, run) => {
                assert_eq!(self.alive.get(&id), Some(&run), "asked a process to end that does not exist");
                for (other, spec) in self.specs.iter().enumerate() {
                    let held = spec.requires.contains(&id) && self.supervisor.service(Id(other)).halt;
                    assert!(!(held && self.alive.contains_key(&Id(other))), "stopped before its dependents");
                }
                self.frozen.retain(|other| *other != id);
                self.asked.push(id);
                None
            }
            Action::Thaw(id, run) => {
                assert_eq!(self.alive.get(&id), Some(&run), "continued a process that does not exist");
                self.frozen.retain(|other| *other != id);
                Some(Event::Thawed(id, run))
            }
            Action::KillAll(id, run) => {
                if self.alive.get(&id) == Some(&run) {
                    self.killed.push((id, run));
                    None
                } else if self.leftovers.contains(&(id, run)) {
                    None
                } else {
                    Some(Event::Empty(id, run))
                }
            }
            Action::Listen(id, on) => {
                self.listening.retain(|other| *other != id);
                if on {
                    self.listening.push(id);
                }
                None
            }
            Action::Answer(ticket, _, result) => {
                assert!(self.answers.insert(ticket.0, result).is_none(), "two answers to one request");
                None
            }
            Action::Say(_, text) => {
                self.said.push(text);
                None
            }
            Action::Down(_, left) => {
                assert!(self.down.replace(left).is_none(), "down twice");
                None
            }
        }
    }

    fn is_up(&self, id: Id) -> bool {
        match self.specs[id.0].kind {
            Kind::Milestone => self.supervisor.service(id).is_up(),
            _ => self.ready[id.0],
        }
    }

    /// What holds after each step.
    fn check(&self) {
        for (index, s) in self.supervisor.services.iter().enumerate() {
            let (id, name) = (Id(index), &s.spec.name);
            let exists = self.alive.contains_key(&id) || self.leftovers.iter().any(|(of, _)| *of == id);
            if s.spec.kind != Kind::Milestone {
                assert_eq!(s.phase.active(), exists, "{name}: {:?} and a process: {exists}", s.phase);
            }
            assert!(!s.halt || s.phase.active(), "{name} is to end and has no run");
            if s.listens() && self.down.is_none() {
                assert!(!self.alive.contains_key(&id), "{name} runs and is waited for at its sockets");
            }
        }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub(super) fn start(&mut self, id: Id) -> u64 {
        let ticket = self.ticket();
        self.want(id);
        self.tell(Event::Start(id, ticket));
        ticket.0
    }

    pub(super) fn restart(&mut self, id: Id) -> u64 {
        self.want(id);
        let ticket = self.ticket();
        // A oneshot that runs again is not done any more.
        if self.specs[id.0].kind == Kind::Oneshot {
            self.ready[id.0] = false;
        }
        self.tell(Event::Restart(id, ticket));
        ticket.0
    }

    pub(super) fn stop(&mut self, id: Id) -> u64 {
        let ticket = self.ticket();
        self.wanted[id.0] = false;
        self.tell(Event::Stop(id, ticket));
        if !self.alive.contains_key(&id) {
            self.ready[id.0] = false;
        }
        ticket.0
    }

    pub(super) fn say_ready(&mut self, id: Id) {
        if self.frozen.contains(&id) {
            return;
        }
        if let Some(run) = self.alive.get(&id).copied() {
            let s = self.supervisor.service(id);
            if !s.halt && matches!(s.phase, Phase::Starting { .. } | Phase::Running) {
                self.ready[id.0] = true;
            }
            self.tell(Event::Ready(id, run));
        }
    }

    pub(super) fn die(&mut self, id: Id, success: bool) {
        let Some(run) = self.alive.remove(&id) else { return };
        self.ready[id.0] = self.specs[id.0].kind == Kind::Oneshot && success;
        self.asked.retain(|other| *other != id);
        self.killed.retain(|other| *other != (id, run));
        self.frozen.retain(|other| *other != id);
        if self.messy {
            self.leftovers.push((id, run));
        }
        self.tell(Event::Exited(id, run, Ended { success, starved: false, how: "died".into() }));
    }

    /// The last process of a cgroup that is being killed has gone.
    pub(super) fn clean(&mut self, id: Id) {
        if let Some(at) = self.leftovers.iter().position(|(of, _)| *of == id) {
            let (id, run) = self.leftovers.remove(at);
            self.tell(Event::Empty(id, run));
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.boot += time;
        self.now.wall += time;
        self.tell(Event::Tick);
        let next = self.supervisor.next_deadline();
        assert!(
            next.is_none_or(|at| at > self.now.boot),
            "a deadline that has passed would keep the loop spinning"
        );
    }

    pub(super) fn state(&self, id: Id) -> ServiceState {
        self.supervisor.view(id, self.now.boot).expect("exists").state
    }

    /// Who has a watchdog says in time that it is alive.
    fn patience(&self) -> Duration {
        let limits = self.alive.keys().filter_map(|id| self.specs[id.0].watchdog);
        limits.min().map_or(Duration::from_secs(30), |limit| limit / 2)
    }

    /// Everybody behaves until nothing more happens.
    pub(super) fn settle(&mut self) {
        self.refuse_spawn = false;
        self.messy = false;
        self.frozen.clear();
        for _ in 0..300 {
            for (id, _) in self.leftovers.clone() {
                self.clean(id);
            }
            for (id, _) in self.killed.clone() {
                self.die(id, false);
            }
            for id in self.asked.clone() {
                self.die(id, true);
            }
            for index in 0..self.specs.len() {
                match self.specs[index].kind {
                    Kind::Daemon => self.say_ready(Id(index)),
                    Kind::Oneshot => self.die(Id(index), true),
                    Kind::Milestone => {}
                }
            }
            for (id, run) in self.alive.clone() {
                self.tell(Event::Alive(id, run));
            }
            let busy = !self.killed.is_empty() || !self.asked.is_empty();
            let step = match self.supervisor.next_deadline().filter(|_| !busy) {
                Some(at) => at.saturating_sub(self.now.boot).min(self.patience()),
                None => Duration::ZERO,
            };
            self.pass(step.max(Duration::from_millis(1)));
        }
    }
}
