//! The supervisor under single stories and under random histories.

use super::*;
use aios_abi::service::ServiceState;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn daemon(name: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        kind: Kind::Daemon,
        ready: Readiness::Notify,
        after: Vec::new(),
        requires: Vec::new(),
        last: false,
        start_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(5),
    }
}

/// A machine that does what the supervisor says; its processes do what the story says.
struct World {
    supervisor: Supervisor,
    specs: Vec<Spec>,
    now: Duration,
    /// Main processes that exist.
    alive: BTreeMap<Id, Run>,
    /// Those that were asked to end.
    asked: Vec<Id>,
    /// Runs that are being killed.
    killed: Vec<(Id, Run)>,
    /// What people want.
    wanted: Vec<bool>,
    ready: Vec<bool>,
    answers: BTreeMap<u64, Result<(), String>>,
    down: Option<Vec<Id>>,
    spawns: usize,
    /// The next process cannot be made.
    refuse_spawn: bool,
    tickets: u64,
}

impl World {
    fn new(specs: Vec<Spec>) -> Self {
        let count = specs.len();
        Self {
            supervisor: Supervisor::new(specs.clone(), 42),
            specs,
            now: Duration::from_secs(1),
            alive: BTreeMap::new(),
            asked: Vec::new(),
            killed: Vec::new(),
            wanted: vec![false; count],
            ready: vec![false; count],
            answers: BTreeMap::new(),
            down: None,
            spawns: 0,
            refuse_spawn: false,
            tickets: 0,
        }
    }

    fn booted(specs: Vec<Spec>) -> Self {
        let mut world = Self::new(specs);
        world.wanted.fill(true);
        world.tell(Event::Boot);
        world
    }

    fn tell(&mut self, event: Event) {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.supervisor.step(self.now, event) {
                events.extend(self.perform(action));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Spawn(id, run) => {
                assert!(!self.alive.contains_key(&id), "two main processes of one service");
                assert!(self.wanted[id.0], "a stopped service is started");
                assert!(self.down.is_none() && !self.supervisor.shutting_down(), "started on the way down");
                for needed in &self.specs[id.0].requires {
                    assert!(self.ready[needed.0], "started without what it requires");
                }
                self.spawns += 1;
                if std::mem::take(&mut self.refuse_spawn) {
                    return Some(Event::SpawnFailed(id, run, "no memory".into()));
                }
                self.alive.insert(id, run);
                Some(Event::Spawned(id, run, 100))
            }
            Action::Terminate(id, run) => {
                assert_eq!(self.alive.get(&id), Some(&run), "asked a process to end that does not exist");
                for (other, spec) in self.specs.iter().enumerate() {
                    let held = spec.requires.contains(&id) && self.supervisor.services[other].halt;
                    assert!(!(held && self.alive.contains_key(&Id(other))), "stopped before its dependents");
                }
                self.asked.push(id);
                None
            }
            Action::KillAll(id, run) => {
                if self.alive.get(&id) == Some(&run) {
                    self.killed.push((id, run));
                    None
                } else {
                    Some(Event::Empty(id, run))
                }
            }
            Action::Answer(ticket, _, result) => {
                assert!(self.answers.insert(ticket.0, result).is_none(), "two answers to one request");
                None
            }
            Action::Say(..) => None,
            Action::Down(_, left) => {
                assert!(self.down.replace(left).is_none(), "down twice");
                None
            }
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn start(&mut self, id: Id) -> u64 {
        let ticket = self.ticket();
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            self.wanted[id.0] = true;
            pending.extend(self.specs[id.0].requires.iter().copied());
        }
        self.tell(Event::Start(id, ticket));
        ticket.0
    }

    fn restart(&mut self, id: Id) -> u64 {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            self.wanted[id.0] = true;
            pending.extend(self.specs[id.0].requires.iter().copied());
        }
        let ticket = self.ticket();
        self.tell(Event::Restart(id, ticket));
        ticket.0
    }

    fn stop(&mut self, id: Id) -> u64 {
        let ticket = self.ticket();
        self.wanted[id.0] = false;
        self.tell(Event::Stop(id, ticket));
        ticket.0
    }

    fn say_ready(&mut self, id: Id) {
        if let Some(run) = self.alive.get(&id).copied() {
            let halted = self.supervisor.services[id.0].halt;
            self.ready[id.0] = !halted;
            self.tell(Event::Ready(id, run));
        }
    }

    fn die(&mut self, id: Id, success: bool) {
        let Some(run) = self.alive.remove(&id) else { return };
        self.ready[id.0] = self.specs[id.0].kind == Kind::Oneshot && success;
        self.asked.retain(|other| *other != id);
        self.killed.retain(|other| *other != (id, run));
        self.tell(Event::Exited(id, run, Ended { success, how: "died".into() }));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tell(Event::Tick);
        let next = self.supervisor.next_deadline();
        assert!(
            next.is_none_or(|at| at > self.now),
            "a deadline that has passed would keep the loop spinning"
        );
    }

    fn state(&self, id: Id) -> ServiceState {
        self.supervisor.view(id, self.now).expect("exists").state
    }

    /// Everybody behaves until nothing more happens.
    fn settle(&mut self) {
        for _ in 0..200 {
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
            let busy = !self.killed.is_empty() || !self.asked.is_empty();
            let step = match self.supervisor.next_deadline().filter(|_| !busy) {
                Some(at) => at.saturating_sub(self.now),
                None => Duration::ZERO,
            };
            self.pass(step.max(Duration::from_millis(1)));
        }
    }
}

#[test]
fn a_dead_daemon_is_started_again_at_once() {
    let mut world = World::booted(vec![daemon("a")]);
    world.say_ready(Id(0));
    world.die(Id(0), true);
    assert!(world.alive.contains_key(&Id(0)));
    assert_eq!(world.state(Id(0)), ServiceState::Starting);
}

#[test]
fn a_flapping_service_is_retried_slowly_not_dropped() {
    let mut world = World::booted(vec![daemon("a")]);
    for _ in 0..30 {
        world.die(Id(0), false);
        world.pass(Duration::from_secs(60));
        assert!(world.alive.contains_key(&Id(0)), "is tried again within a minute");
    }
    assert!(world.supervisor.view(Id(0), world.now).is_some_and(|v| v.degraded && v.restarts == 30));
    world.say_ready(Id(0));
    world.pass(Duration::from_secs(60));
    assert!(world.supervisor.view(Id(0), world.now).is_some_and(|v| !v.degraded), "a stable run heals");
    world.die(Id(0), false);
    assert!(world.alive.contains_key(&Id(0)), "and its death is the first one again");
}

#[test]
fn a_stopped_service_stays_stopped_and_the_answer_comes_when_nothing_is_left() {
    let mut world = World::booted(vec![daemon("a")]);
    world.say_ready(Id(0));
    let ticket = world.stop(Id(0));
    assert_eq!((world.state(Id(0)), world.answers.get(&ticket)), (ServiceState::Stopping, None));
    world.pass(Duration::from_secs(4));
    assert!(world.killed.is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.killed.len(), 1, "SIGKILL after the time to stop");
    world.die(Id(0), false);
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
    world.pass(Duration::from_secs(3600));
    assert_eq!((world.state(Id(0)), world.spawns), (ServiceState::Stopped, 1));
}

#[test]
fn a_restart_is_answered_by_the_new_run_only() {
    let mut world = World::booted(vec![daemon("a")]);
    world.say_ready(Id(0));
    let ticket = world.restart(Id(0));
    world.say_ready(Id(0));
    assert_eq!(world.answers.get(&ticket), None, "the old run says that it is ready");
    world.die(Id(0), true);
    assert_eq!(world.answers.get(&ticket), None);
    world.say_ready(Id(0));
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
    assert_eq!(world.supervisor.view(Id(0), world.now).map(|v| v.restarts), Some(0), "nobody died");
}

#[test]
fn a_start_that_fails_is_answered_with_the_reason() {
    let mut world = World::new(vec![daemon("a")]);
    let ticket = world.start(Id(0));
    world.die(Id(0), false);
    let said = world.answers.get(&ticket).and_then(|r| r.clone().err()).unwrap_or_default();
    assert_eq!(said, "died; it is started again at once");
}

#[test]
fn a_service_that_never_becomes_ready_is_killed_and_tried_again() {
    let mut world = World::booted(vec![daemon("a")]);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.killed.len(), 1);
    world.die(Id(0), false);
    assert_eq!(world.spawns, 2);
    let last = world.supervisor.view(Id(0), world.now).and_then(|v| v.last_exit).unwrap_or_default();
    assert!(last.contains("was not ready within 10 s"), "{last}");
}

#[test]
fn what_requires_a_service_stops_before_it_and_comes_back_after_it() {
    let mut b = daemon("b");
    b.requires = vec![Id(0)];
    let mut world = World::booted(vec![daemon("a"), b]);
    assert!(!world.alive.contains_key(&Id(1)), "waits for a");
    world.say_ready(Id(0));
    world.say_ready(Id(1));
    let ticket = world.stop(Id(0));
    assert_eq!(world.asked, [Id(1)], "a goes on until b has ended");
    world.die(Id(1), true);
    assert_eq!(world.asked, [Id(0)]);
    world.die(Id(0), true);
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
    assert_eq!(world.state(Id(1)), ServiceState::Waiting);
    world.start(Id(0));
    world.say_ready(Id(0));
    assert!(world.alive.contains_key(&Id(1)));
}

#[test]
fn starting_a_service_starts_what_it_requires() {
    let mut b = daemon("b");
    b.requires = vec![Id(0)];
    let mut world = World::new(vec![daemon("a"), b]);
    let ticket = world.start(Id(1));
    world.say_ready(Id(0));
    world.say_ready(Id(1));
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
}

#[test]
fn a_broken_service_does_not_hold_up_those_that_only_come_after_it() {
    let mut b = daemon("b");
    b.after = vec![Id(0)];
    let mut world = World::booted(vec![daemon("a"), b]);
    assert!(!world.alive.contains_key(&Id(1)));
    world.die(Id(0), false);
    assert!(world.alive.contains_key(&Id(1)));
}

#[test]
fn a_oneshot_runs_once_and_says_whether_it_worked() {
    let oneshot = Spec { kind: Kind::Oneshot, ..daemon("a") };
    let mut world = World::booted(vec![oneshot.clone(), oneshot]);
    world.die(Id(0), true);
    world.die(Id(1), false);
    world.pass(Duration::from_secs(600));
    assert_eq!((world.state(Id(0)), world.state(Id(1))), (ServiceState::Stopped, ServiceState::Failed));
    assert_eq!(world.spawns, 2);
}

#[test]
fn the_machine_goes_down_in_reverse_order_and_without_those_that_hang() {
    let mut b = daemon("b");
    b.after = vec![Id(0)];
    let mut world = World::booted(vec![daemon("a"), b]);
    world.say_ready(Id(0));
    world.say_ready(Id(1));
    world.tell(Event::Shutdown(Power::Off));
    assert_eq!(world.asked, [Id(1)]);
    world.die(Id(1), true);
    assert_eq!(world.asked, [Id(0)]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.killed.len(), 1);
    assert_eq!(world.down, None);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.down, Some(vec![Id(0)]), "not even SIGKILL ended it");
}

#[test]
fn who_keeps_the_logs_ends_last() {
    let log = Spec { last: true, ..daemon("a") };
    let mut world = World::booted(vec![log, daemon("b")]);
    world.say_ready(Id(0));
    world.say_ready(Id(1));
    world.tell(Event::Shutdown(Power::Off));
    assert_eq!(world.asked, [Id(1)]);
    world.die(Id(1), true);
    assert_eq!(world.asked, [Id(0)]);
}

#[test]
fn late_news_of_an_older_run_is_ignored() {
    let mut world = World::booted(vec![daemon("a")]);
    let old = world.alive[&Id(0)];
    world.die(Id(0), false);
    world.tell(Event::Ready(Id(0), old));
    world.tell(Event::Exited(Id(0), old, Ended { success: false, how: "again".into() }));
    world.tell(Event::Empty(Id(0), old));
    world.tell(Event::SpawnFailed(Id(0), old, "late".into()));
    assert_eq!((world.state(Id(0)), world.spawns), (ServiceState::Starting, 2));
}

#[derive(Debug, Clone)]
enum Step {
    Start(usize),
    Stop(usize),
    Restart(usize),
    Ready(usize),
    Die(usize, bool),
    Obey(usize),
    RefuseSpawn,
    Stale(usize, u64),
    Pass(u64),
    Shutdown,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let service = 0..5usize;
    let step = prop_oneof![
        2 => service.clone().prop_map(Step::Start),
        2 => service.clone().prop_map(Step::Stop),
        2 => service.clone().prop_map(Step::Restart),
        8 => service.clone().prop_map(Step::Ready),
        4 => (service.clone(), any::<bool>()).prop_map(|(s, ok)| Step::Die(s, ok)),
        4 => service.clone().prop_map(Step::Obey),
        1 => Just(Step::RefuseSpawn),
        1 => (service, 0..50u64).prop_map(|(s, run)| Step::Stale(s, run)),
        4 => (1..70_000u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..120)
}

/// Five services: b requires a, c comes after b, d is a oneshot that e requires.
fn five() -> Vec<Spec> {
    let mut specs: Vec<Spec> = ["a", "b", "c", "d", "e"].map(daemon).into();
    specs[1].requires = vec![Id(0)];
    specs[2].after = vec![Id(1)];
    specs[3].kind = Kind::Oneshot;
    specs[4].requires = vec![Id(3)];
    specs
}

impl World {
    fn play(&mut self, step: Step) {
        match step {
            Step::Start(s) => {
                self.start(Id(s));
            }
            Step::Stop(s) => {
                self.stop(Id(s));
            }
            Step::Restart(s) => {
                // A oneshot that runs again is not done any more.
                if self.specs[s].kind == Kind::Oneshot {
                    self.ready[s] = false;
                }
                self.restart(Id(s));
            }
            Step::Ready(s) if self.specs[s].kind == Kind::Daemon => self.say_ready(Id(s)),
            Step::Ready(_) => {}
            Step::Die(s, success) => self.die(Id(s), success),
            Step::Obey(s) if self.asked.contains(&Id(s)) => self.die(Id(s), true),
            Step::Obey(_) => {}
            Step::RefuseSpawn => self.refuse_spawn = true,
            Step::Stale(s, run) => {
                if self.alive.get(&Id(s)).is_none_or(|now| now.0 > run) {
                    let ended = Ended { success: true, how: "stale".into() };
                    self.tell(Event::Exited(Id(s), Run(run), ended));
                    self.tell(Event::Empty(Id(s), Run(run)));
                    self.tell(Event::Ready(Id(s), Run(run)));
                }
            }
            Step::Pass(ms) => self.pass(Duration::from_millis(ms)),
            Step::Shutdown => {
                self.wanted.fill(false);
                self.tell(Event::Shutdown(Power::Reboot));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What must hold at each moment is asserted in `World::perform`; here is how every story ends.
    #[test]
    fn whatever_happens_the_wanted_services_run_in_the_end_and_the_others_do_not(history in steps()) {
        let mut world = World::booted(five());
        for step in history {
            world.play(step);
        }
        world.refuse_spawn = false;
        world.settle();
        for (index, spec) in world.specs.iter().enumerate() {
            let can_run = spec.requires.iter().all(|id| world.wanted[id.0]);
            let state = world.state(Id(index));
            let failed = state == ServiceState::Failed;
            if spec.kind == Kind::Oneshot {
                prop_assert!(matches!(state, ServiceState::Stopped | ServiceState::Failed), "{}: {state:?}", spec.name);
            } else if !world.wanted[index] {
                prop_assert_eq!(state, ServiceState::Stopped, "{}", &spec.name);
            } else if can_run && !spec.requires.contains(&Id(3)) {
                prop_assert_eq!(state, ServiceState::Running, "{}", &spec.name);
            } else {
                prop_assert!(matches!(state, ServiceState::Running | ServiceState::Waiting), "{}: {state:?} {failed}", spec.name);
            }
        }
        for ticket in 1..=world.tickets {
            let waits_for_failed = !world.answers.contains_key(&ticket);
            // Only those may wait on who want something that needs a oneshot that failed or was stopped.
            prop_assert!(!waits_for_failed || world.state(Id(4)) == ServiceState::Waiting
                || world.state(Id(1)) == ServiceState::Waiting, "request {ticket} was never answered");
        }
    }

    #[test]
    fn whatever_happened_the_machine_can_go_down(history in steps(), at in 0..60usize) {
        let mut world = World::booted(five());
        for (index, step) in history.into_iter().enumerate() {
            if index == at {
                world.play(Step::Shutdown);
            }
            if !matches!(step, Step::Start(_) | Step::Restart(_)) || index < at {
                world.play(step);
            }
        }
        world.play(Step::Shutdown);
        let before = world.down.clone();
        world.settle();
        // Who did not end within the time is left behind; otherwise nobody is.
        let left = world.down.clone();
        prop_assert!(left.is_some());
        prop_assert!(before.is_some() || left == Some(Vec::new()));
        prop_assert!(world.alive.is_empty());
    }
}
