use super::*;
use crate::queue::{Caller, Class};
use aios_abi::engine::Generate;

const SECOND: Duration = Duration::from_secs(1);

struct Link {
    core: Core,
    now: Instant,
}

impl Link {
    /// A worker in this machine that has answered and is in the given state.
    fn talking(state: WorkerState) -> Self {
        let now = Instant::now();
        let mut link = Self { core: Core::new("text", now), now };
        assert_eq!(link.step(Input::Tick), [Action::Open]);
        link.greet(state);
        link
    }

    fn greet(&mut self, state: WorkerState) -> Vec<Action> {
        self.step(Input::Opened { place: Place::Machine, nonce: 7 });
        self.step(Input::Event(EngineEvent::Hello {
            nonce: 7,
            version: frame::VERSION,
            engine: "llama.cpp 0".into(),
            state,
        }))
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        self.core.step(self.now, input)
    }

    fn submit(&mut self, ticket: u64) -> Vec<Action> {
        self.submit_until(ticket, 30 * SECOND)
    }

    fn submit_until(&mut self, ticket: u64, wait: Duration) -> Vec<Action> {
        let until = self.now + wait;
        let work = Work::Embed { texts: vec!["a".into()], adapted: false };
        self.step(Input::Submit { ticket, order: order(ticket, Class::Person, until), work })
    }

    /// Let time pass, with all ticks that are due.
    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut actions = Vec::new();
        while let Some(at) = self.core.wake_at().filter(|&at| at <= end) {
            assert!(actions.len() < 100, "it spins: {actions:?}");
            self.now = self.now.max(at);
            actions.extend(self.step(Input::Tick));
        }
        self.now = end;
        actions
    }
}

/// A request of a caller of its own.
fn order(ticket: u64, class: Class, until: Instant) -> Order {
    let caller = Caller { uid: 7, person: Some(ticket.to_string()) };
    Order { class, caller, until, weight: 1 }
}

fn ready() -> WorkerState {
    WorkerState::Ready(ModelInfo {
        name: "small".into(),
        parameters: 135_000_000,
        context: 2048,
        dimensions: 0,
        threads: 1,
        slots: 1,
        adapter: None,
        reads: Vec::new(),
        budget: None,
        offload: None,
    })
}

fn failure(actions: &[Action], ticket: u64) -> CallError {
    actions
        .iter()
        .find_map(|action| match action {
            Action::Deliver(t, Delivery::Failed(error)) if *t == ticket => Some(error.clone()),
            _ => None,
        })
        .unwrap_or_else(|| panic!("{ticket} has not failed: {actions:?}"))
}

#[test]
fn while_the_model_loads_requests_are_told_so_at_once() {
    let mut link = Link::talking(WorkerState::Loading { percent: 40 });
    let error = failure(&link.submit(1), 1);
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert_eq!(error.message, "the text model is still loading (40 %); ask again in a moment");
    assert_eq!(link.core.health().state, EngineState::Loading);
}

#[test]
fn one_request_runs_and_the_others_wait_in_their_order() {
    let mut link = Link::talking(ready());
    assert!(link.submit(1).contains(&Action::Deliver(1, Delivery::Started)));
    assert_eq!(link.submit(2), [Action::Deliver(2, Delivery::Queued { ahead: 1 })]);
    let end = EngineEvent::Embeddings { id: 1, vectors: Vec::new() };
    let actions = link.step(Input::Event(end.clone()));
    assert_eq!(actions[0], Action::Deliver(1, Delivery::Embeddings(Vec::new())));
    assert!(actions.contains(&Action::Deliver(2, Delivery::Started)));
    assert_eq!(link.step(Input::Event(end)), [], "an answer to an earlier request has no reader");
}

#[test]
fn a_death_in_the_middle_of_an_answer_is_said_and_the_next_in_line_waits_for_the_new_worker() {
    let mut link = Link::talking(ready());
    link.submit(1);
    link.submit(2);
    let error = failure(&link.step(Input::Closed("it was killed by signal 9".into())), 1);
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("died in the middle of this answer; it is being restarted"), "{error}");
    assert_eq!(link.core.health().state, EngineState::Absent);
    assert_eq!(link.pass(SECOND), [Action::Open]);
    assert!(link.greet(ready()).contains(&Action::Deliver(2, Delivery::Started)));
    assert_eq!(link.core.health().restarts, 1);
}

#[test]
fn a_worker_that_keeps_dying_is_started_more_and_more_slowly() {
    let mut link = Link::talking(ready());
    let mut starts = 0;
    for _ in 0..100 {
        link.step(Input::Closed("it was killed by signal 9".into()));
        while !link.pass(SECOND).contains(&Action::Open) {
            starts += 1;
        }
        link.greet(ready());
    }
    assert!(starts > 100 * 15, "{starts} seconds for 100 starts");
}

#[test]
fn those_who_wait_for_a_worker_that_does_not_come_back_are_told() {
    let mut link = Link::talking(ready());
    link.step(Input::Closed("it exited with status 1".into()));
    assert_eq!(link.submit(1), []);
    assert_eq!(link.pass(SECOND), [Action::Open]);
    link.step(Input::Refused { state: EngineState::Absent, why: "there is no text model".into() });
    let mut actions = Vec::new();
    for _ in 0..20 {
        actions.extend(link.pass(SECOND));
        link.step(Input::Refused { state: EngineState::Absent, why: "there is no text model".into() });
    }
    assert_eq!(failure(&actions, 1), CallError::unavailable("there is no text model"));
}

#[test]
fn a_cancelled_request_is_stopped_and_a_worker_that_does_not_stop_is_replaced() {
    let mut link = Link::talking(ready());
    link.submit(1);
    assert_eq!(link.step(Input::Cancel(1)), [Action::Send(EngineRequest::Cancel { id: 1 })]);
    link.submit(2);
    assert_eq!(link.pass(CANCEL_LIMIT), [Action::Close]);
    let actions = link.step(Input::Closed("it was killed by signal 9".into()));
    assert_eq!(actions, [], "the second has not begun, so it is not lost");
    assert!(link.pass(SECOND).contains(&Action::Open));
    assert!(link.greet(ready()).contains(&Action::Deliver(2, Delivery::Started)));
}

#[test]
fn a_worker_that_never_says_hello_is_ended_once() {
    let now = Instant::now();
    let mut link = Link { core: Core::new("text", now), now };
    link.step(Input::Tick);
    link.step(Input::Opened { place: Place::Machine, nonce: 7 });
    let actions = link.pass(10 * HELLO_LIMIT);
    assert_eq!(actions.iter().filter(|a| **a == Action::Close).count(), 1);
}

#[test]
fn an_answer_to_another_greeting_is_not_ours() {
    let now = Instant::now();
    let mut link = Link { core: Core::new("text", now), now };
    link.step(Input::Tick);
    link.step(Input::Opened { place: Place::Outside, nonce: 7 });
    for (nonce, version) in [(8, frame::VERSION), (7, frame::VERSION + 1)] {
        let engine = "x".to_owned();
        link.step(Input::Event(EngineEvent::Hello { nonce, version, engine, state: ready() }));
        assert_ne!(link.core.health().state, EngineState::Ready);
    }
    assert_eq!(link.core.health().state, EngineState::Failed);
    assert!(link.core.health().detail.contains("use programs of one release"));
}

#[test]
fn a_full_queue_is_busy_and_one_who_waited_in_vain_is_told_why() {
    let mut link = Link::talking(ready());
    link.submit(0);
    for ticket in 1..=QUEUE as u64 {
        link.submit_until(ticket, SECOND);
    }
    assert_eq!(failure(&link.submit(99), 99).code, ErrorCode::Busy);
    let actions = link.pass(SECOND);
    assert_eq!(failure(&actions, 1).code, ErrorCode::Timeout);
    assert_eq!(link.core.queued(), 0);
}

#[test]
fn text_passes_piece_by_piece() {
    let mut link = Link::talking(ready());
    let until = link.now + SECOND;
    let work = Work::Generate(Generate { max_tokens: 8, ..Generate::default() });
    link.step(Input::Submit { ticket: 5, order: order(5, Class::Background, until), work });
    let actions = link.step(Input::Event(EngineEvent::Text { id: 1, text: "up".into() }));
    assert_eq!(actions, [Action::Deliver(5, Delivery::Text("up".into()))]);
    link.step(Input::Cancel(5));
    assert_eq!(link.step(Input::Event(EngineEvent::Text { id: 1, text: "!".into() })), []);
}

#[test]
fn a_model_that_the_machine_has_no_memory_for_goes_and_comes_back_later_each_time() {
    let mut link = Link::talking(ready());
    link.submit(1);
    link.submit(2);
    assert!(link.core.holds_memory());
    let actions = link.step(Input::Drop);
    assert!(actions.contains(&Action::Close));
    for ticket in [1, 2] {
        let error = failure(&actions, ticket);
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.message.starts_with("the machine was short of memory, so the text model was dropped"));
    }
    assert_eq!(link.step(Input::Drop), [], "it is on its way out");
    assert_eq!(link.step(Input::Closed("it was killed by signal 9".into())), []);
    assert!(!link.core.holds_memory());
    let why = "the machine was short of memory, so the text model was dropped; it is loaded again after 30 s, if it has room then";
    assert_eq!((link.core.health().state, link.core.health().detail.as_str()), (EngineState::Absent, why));
    assert_eq!(failure(&link.submit(3), 3).message, why, "nobody waits for it");
    assert_eq!(link.pass(29 * SECOND), []);
    assert_eq!(link.pass(SECOND), [Action::Open]);
    for wait in [60, 120, 240, 480, 600, 600] {
        link.greet(ready());
        link.step(Input::Drop);
        link.step(Input::Closed(String::new()));
        assert_eq!(link.pass(SECOND * (wait - 1)), [], "{wait}");
        assert_eq!(link.pass(SECOND), [Action::Open], "{wait}");
    }
    link.greet(ready());
    link.pass(LONGEST_ABSENCE);
    link.step(Input::Drop);
    link.step(Input::Closed(String::new()));
    assert_eq!(link.pass(30 * SECOND), [Action::Open], "after a long good time it begins anew");
}

#[test]
fn what_takes_none_of_this_machines_memory_is_not_dropped() {
    let mut link = Link { core: Core::new("text", Instant::now()), now: Instant::now() };
    assert_eq!(link.step(Input::Drop), [], "there is nothing to drop");
    link.step(Input::Tick);
    link.step(Input::Opened { place: Place::Outside, nonce: 7 });
    let hello = EngineEvent::Hello {
        nonce: 7,
        version: frame::VERSION,
        engine: "llama.cpp 0".into(),
        state: ready(),
    };
    link.step(Input::Event(hello));
    assert!(!link.core.holds_memory());
    assert_eq!(link.step(Input::Drop), []);
    assert_eq!(link.core.health().state, EngineState::Ready);
    let mut link = Link::talking(WorkerState::Failed("broken".into()));
    assert_eq!(link.step(Input::Drop), []);
}
