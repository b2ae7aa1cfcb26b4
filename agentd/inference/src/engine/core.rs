//! What an engine link does, without doing it: conversation, queue, restarts, time limits.
//!
//! [`Core::step`] takes what happened and the time, and says what to do. It has no clock, no socket
//! and no process, so its tests need none either. The [shell](super) carries its actions out.

use super::work::Delivery;
use crate::queue::{Full, Order, Place as Turn, Queue};
use aios_abi::engine::{Adapter, EngineEvent, EngineRequest, ModelInfo, Offload, Work, WorkerState};
use aios_abi::infer::{EngineHealth, EngineState, Place};
use aios_abi::{CallError, ErrorCode, frame};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests that may wait for one engine.
pub const QUEUE: usize = 32;
/// How long a request waits for an engine that is being started again.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a worker may take to end a request that was cancelled.
const CANCEL_LIMIT: Duration = Duration::from_secs(20);
/// How long a worker in this machine may take to say hello; it loads its model afterwards.
const HELLO_LIMIT: Duration = Duration::from_secs(30);
/// Pauses before a worker is started or greeted again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// A worker that was ready for so long has earned an immediate start.
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// How long a model stays out of memory that the machine was short of; twice as long each time that it happens again.
const FIRST_ABSENCE: Duration = Duration::from_secs(30);
const LONGEST_ABSENCE: Duration = Duration::from_secs(600);

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// There is a stream to a worker.
    Opened {
        /// Where the worker runs.
        place: Place,
        /// A random number for the conversation.
        nonce: u64,
    },
    /// There is none, and why: no model, no program, nobody at the other end.
    Refused {
        /// `Absent` or `Failed`.
        state: EngineState,
        /// One sentence.
        why: String,
    },
    /// The stream ended, and how the worker did.
    Closed(String),
    /// The worker says something.
    Event(EngineEvent),
    /// Somebody wants something.
    Submit {
        /// Names the request between shell and core.
        ticket: u64,
        /// Who waits, and how long.
        order: Order,
        /// What.
        work: Work,
    },
    /// Nobody waits for this any more.
    Cancel(u64),
    /// The machine is short of memory: the model has to go.
    Drop,
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Find or start a worker, and answer with `Opened` or `Refused`.
    Open,
    /// End the stream, and the worker if it is a child. `Closed` follows.
    Close,
    /// Send this to the worker.
    Send(EngineRequest),
    /// Hand this to whoever holds the ticket.
    Deliver(u64, Delivery),
}

#[derive(Debug)]
enum Phase {
    /// A worker will be looked for at this time.
    Pausing(Instant),
    /// A worker is being looked for.
    Opening,
    /// The stream is there, nobody has answered yet.
    Greeting { nonce: u64, since: Instant, again: Instant, pause: Duration },
    /// The worker answered.
    Talking(WorkerState),
}

#[derive(Debug)]
struct Running {
    ticket: u64,
    id: u64,
    /// When its answer is worth nothing any more.
    until: Instant,
    /// When the worker must have ended it; set when it is cancelled.
    limit: Option<Instant>,
}

/// The state of one engine link.
#[derive(Debug)]
pub(super) struct Core {
    /// `text` or `embedding`, for sentences.
    what: &'static str,
    phase: Phase,
    place: Place,
    engine: String,
    adapter: Option<Arc<Adapter>>,
    reads: Option<Arc<[String]>>,
    /// Why there is no worker, while there is none.
    trouble: (EngineState, String),
    queue: Queue<Work>,
    running: Vec<Running>,
    next_id: u64,
    ready_since: Option<Instant>,
    was_ready: bool,
    opened: u32,
    pause: Duration,
    /// How long the model was kept out of memory the last time.
    absence: Duration,
    /// The worker is being ended for the sake of the memory, and when it may come back.
    dropped: Option<Instant>,
}

impl Core {
    /// A link that begins by looking for a worker (at the first `Tick`).
    pub(super) fn new(what: &'static str, now: Instant) -> Self {
        Self {
            what,
            phase: Phase::Pausing(now),
            place: Place::Machine,
            engine: String::new(),
            adapter: None,
            reads: None,
            trouble: (EngineState::Absent, format!("the {what} engine is being started")),
            queue: Queue::new(QUEUE),
            running: Vec::new(),
            next_id: 0,
            ready_since: None,
            was_ready: false,
            opened: 0,
            pause: Duration::ZERO,
            absence: Duration::ZERO,
            dropped: None,
        }
    }

    /// Take in what happened at `now`.
    pub(super) fn step(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Opened { place, nonce } => {
                self.opened += 1;
                self.place = place;
                self.phase = Phase::Greeting {
                    nonce,
                    since: now,
                    again: now + FIRST_PAUSE * 10,
                    pause: FIRST_PAUSE * 10,
                };
                actions.push(hello(nonce));
            }
            Input::Refused { state, why } => {
                self.trouble = (state, why);
                self.rest(now);
            }
            Input::Closed(why) => self.closed(now, why, &mut actions),
            Input::Event(event) => self.event(now, event, &mut actions),
            Input::Submit { ticket, order, work } => self.submit(now, ticket, order, work, &mut actions),
            Input::Cancel(ticket) => self.cancel(now, ticket, &mut actions),
            Input::Drop => self.drop_model(now, &mut actions),
            Input::Tick => self.tick(now, &mut actions),
        }
        self.start_next(&mut actions);
        actions
    }

    /// While a worker is looked for: what it is waited for.
    pub(super) fn waiting(&mut self, state: EngineState, why: String) {
        self.trouble = (state, why);
        self.place = Place::Outside;
    }

    /// When `Tick` is due.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Pausing(at) => Some(*at),
            Phase::Greeting { since, again, .. } => match self.place {
                Place::Machine => Some((*since + HELLO_LIMIT).min(*again)),
                Place::Outside => Some(*again),
            },
            Phase::Opening | Phase::Talking(_) => None,
        };
        let running = self.running.iter().map(|r| r.limit.unwrap_or(r.until)).min();
        [phase, running, self.queue.next_expiry()].into_iter().flatten().min()
    }

    /// `text` or `embedding`.
    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// Requests that wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The adapter of the model that is loaded.
    pub(super) fn adapter(&self) -> Option<Arc<Adapter>> {
        self.adapter.clone().filter(|_| self.is_ready())
    }

    /// The tools whose arguments the model that is loaded can read.
    pub(super) fn reads(&self) -> Option<Arc<[String]>> {
        self.reads.clone().filter(|_| self.is_ready())
    }

    /// For people and for `Status`.
    pub(super) fn health(&self) -> EngineHealth {
        let (state, detail, model) = match &self.phase {
            Phase::Talking(WorkerState::Ready(model)) => {
                (EngineState::Ready, self.describe(model), Some(model.name.clone()))
            }
            Phase::Talking(WorkerState::Loading { percent }) => (
                EngineState::Loading,
                format!("the {} model is still loading ({percent} %)", self.what),
                None,
            ),
            Phase::Talking(WorkerState::Failed(why)) => (EngineState::Failed, why.clone(), None),
            Phase::Talking(WorkerState::Off(why)) => (EngineState::Absent, why.clone(), None),
            _ => (self.trouble.0, self.trouble.1.clone(), None),
        };
        let restarts = self.opened.saturating_sub(1);
        EngineHealth { state, detail, model, place: self.place, restarts }
    }

    fn describe(&self, model: &ModelInfo) -> String {
        let place = match self.place {
            Place::Machine => "in this machine",
            Place::Outside => "in a worker outside of this machine",
        };
        let threads = match model.threads {
            1 => "1 thread".into(),
            n => format!("{n} threads"),
        };
        let size = match model.parameters / 1_000_000 {
            0 => String::new(),
            millions => format!(" ({millions} million parameters)"),
        };
        let adapter = match &model.adapter {
            Some(adapter) => format!(", with the adapter {} for {} tools", adapter.name, adapter.tools.len()),
            None => String::new(),
        };
        let offload = match &model.offload {
            Some(Offload { device, why: Some(why), .. }) => format!("; {device} is not used: {why}"),
            Some(Offload { device, layers, of, .. }) => format!("; {layers} of {of} layers on {device}"),
            None => String::new(),
        };
        format!("{}{size} runs with {} on {threads} {place}{adapter}{offload}", model.name, self.engine)
    }

    /// Requests that the worker works on at once.
    fn slots(&self) -> usize {
        match &self.phase {
            Phase::Talking(WorkerState::Ready(model)) => (model.slots as usize).max(1),
            _ => 1,
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Talking(WorkerState::Ready(_)))
    }

    /// Look for a worker again, a little later each time that it was in vain.
    fn rest(&mut self, now: Instant) {
        self.phase = Phase::Pausing(now + self.pause);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }

    /// Whether a worker in this machine has the model in memory, or is about to.
    pub(super) fn holds_memory(&self) -> bool {
        let holds = match &self.phase {
            Phase::Greeting { .. } => true,
            Phase::Talking(state) => matches!(state, WorkerState::Loading { .. } | WorkerState::Ready(_)),
            Phase::Pausing(_) | Phase::Opening => false,
        };
        holds && self.place == Place::Machine
    }

    /// Give the memory back: everybody who waits is told so, and the model stays away for a while.
    fn drop_model(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.holds_memory() {
            return;
        }
        let calm = self.ready_since.is_some_and(|since| now.duration_since(since) >= LONGEST_ABSENCE);
        self.absence = match calm {
            true => FIRST_ABSENCE,
            false => (self.absence * 2).clamp(FIRST_ABSENCE, LONGEST_ABSENCE),
        };
        self.dropped = Some(now + self.absence);
        self.close("the machine is short of memory, so it is ended", actions);
        self.trouble.1 = format!(
            "the machine was short of memory, so the {} model was dropped; it is loaded again after {} s, if it has room then",
            self.what,
            self.absence.as_secs()
        );
        // Nobody waits for it: what it was asked has an answer without a model, or none.
        self.was_ready = false;
        let running = std::mem::take(&mut self.running).into_iter().filter(|r| r.limit.is_none());
        let waiting: Vec<u64> = running.map(|r| r.ticket).chain(self.queue.clear()).collect();
        for ticket in waiting {
            actions.push(Action::Deliver(ticket, Delivery::Failed(self.not_ready())));
        }
    }

    fn closed(&mut self, now: Instant, why: String, actions: &mut Vec<Action>) {
        if let Some(at) = self.dropped.take() {
            self.ready_since = None;
            self.phase = Phase::Pausing(at);
            return;
        }
        for running in std::mem::take(&mut self.running).into_iter().filter(|r| r.limit.is_none()) {
            actions.push(Action::Deliver(running.ticket, Delivery::Failed(self.lost())));
        }
        if self.ready_since.take().is_some_and(|since| now.duration_since(since) >= GOOD_LIFE) {
            self.pause = Duration::ZERO;
        }
        let cure = match self.place {
            Place::Machine => "it is being started again",
            Place::Outside => "it is being looked for again",
        };
        self.trouble =
            (EngineState::Absent, format!("the {} engine worker is gone ({why}); {cure}", self.what));
        self.rest(now);
    }

    /// The end of a request whose worker died.
    fn lost(&self) -> CallError {
        CallError::unavailable(format!(
            "the {} engine worker died in the middle of this answer; it is being restarted, ask once more",
            self.what
        ))
    }

    fn event(&mut self, now: Instant, event: EngineEvent, actions: &mut Vec<Action>) {
        match event {
            EngineEvent::Hello { nonce, version, engine, state } => {
                if !matches!(self.phase, Phase::Greeting { nonce: ours, .. } if ours == nonce) {
                    return;
                }
                self.engine = engine;
                let state = match version {
                    frame::VERSION => state,
                    other => WorkerState::Failed(format!(
                        "the engine worker speaks version {other} of the protocol and inferd {}; use programs of one release",
                        frame::VERSION
                    )),
                };
                self.become_state(now, state);
            }
            EngineEvent::State(state) => {
                if matches!(self.phase, Phase::Talking(_)) {
                    self.become_state(now, state);
                }
            }
            EngineEvent::Text { id, text } => self.deliver(id, Delivery::Text(text), actions),
            EngineEvent::Done { id, cost } => self.end(id, Delivery::Done(cost), actions),
            EngineEvent::Embeddings { id, vectors } => self.end(id, Delivery::Embeddings(vectors), actions),
            EngineEvent::Scores { id, log_likelihoods } => {
                self.end(id, Delivery::Scores(log_likelihoods), actions);
            }
            EngineEvent::Reading { id, reading } => self.end(id, Delivery::Reading(reading), actions),
            EngineEvent::Error { id, error } => self.end(id, Delivery::Failed(error), actions),
        }
    }

    fn become_state(&mut self, now: Instant, state: WorkerState) {
        if let WorkerState::Ready(model) = &state {
            self.adapter = model.adapter.clone().map(Arc::new);
            self.reads = Some(model.reads.as_slice().into());
            self.ready_since.get_or_insert(now);
            self.was_ready = true;
        }
        self.phase = Phase::Talking(state);
    }

    fn deliver(&mut self, id: u64, delivery: Delivery, actions: &mut Vec<Action>) {
        // What belongs to an earlier conversation or to a cancelled request has no reader.
        if let Some(running) = self.running.iter().find(|r| r.id == id && r.limit.is_none()) {
            actions.push(Action::Deliver(running.ticket, delivery));
        }
    }

    fn end(&mut self, id: u64, delivery: Delivery, actions: &mut Vec<Action>) {
        self.deliver(id, delivery, actions);
        self.running.retain(|r| r.id != id);
    }

    fn submit(&mut self, now: Instant, ticket: u64, order: Order, work: Work, actions: &mut Vec<Action>) {
        // A model that is loaded for the first time may take minutes, and one that is broken does not
        // heal: both are said at once. A worker that has worked before comes back soon.
        let is_out = matches!(self.phase, Phase::Talking(WorkerState::Failed(_) | WorkerState::Off(_)));
        let comes_back = self.was_ready && !is_out;
        let until = match self.is_ready() {
            true => order.until,
            false if comes_back => order.until.min(now + PATIENCE),
            false => return actions.push(Action::Deliver(ticket, Delivery::Failed(self.not_ready()))),
        };
        let Turn { ahead, displaced } = match self.queue.push(ticket, Order { until, ..order }, work) {
            Ok(turn) => turn,
            Err(full) => {
                let error = CallError::new(ErrorCode::Busy, self.full(full));
                return actions.push(Action::Deliver(ticket, Delivery::Failed(error)));
            }
        };
        if let Some(displaced) = displaced {
            let error = CallError::new(ErrorCode::Busy, self.full(Full::All));
            actions.push(Action::Deliver(displaced, Delivery::Failed(error)));
        }
        let ahead = ahead + usize::from(self.running.len() >= self.slots());
        if ahead > 0 {
            let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
            actions.push(Action::Deliver(ticket, Delivery::Queued { ahead }));
        }
    }

    fn full(&self, full: Full) -> String {
        match full {
            Full::All => {
                format!("{QUEUE} requests wait for the {} engine already; ask again later", self.what)
            }
            Full::Caller(most) => format!(
                "{most} requests of yours wait for the {} engine already; ask again when one is answered",
                self.what
            ),
        }
    }

    fn not_ready(&self) -> CallError {
        let health = self.health();
        let message = match health.state {
            EngineState::Loading => format!("{}; ask again in a moment", health.detail),
            _ => health.detail,
        };
        CallError::unavailable(message)
    }

    fn cancel(&mut self, now: Instant, ticket: u64, actions: &mut Vec<Action>) {
        self.queue.cancel(ticket);
        if let Some(running) = self.running.iter_mut().find(|r| r.ticket == ticket && r.limit.is_none()) {
            running.limit = Some(now + CANCEL_LIMIT);
            actions.push(Action::Send(EngineRequest::Cancel { id: running.id }));
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for ticket in self.queue.expire(now) {
            let error = if self.is_ready() {
                CallError::new(ErrorCode::Timeout, format!("the {} engine was busy all the time", self.what))
            } else {
                self.not_ready()
            };
            actions.push(Action::Deliver(ticket, Delivery::Failed(error)));
        }
        for running in self.running.iter_mut().filter(|r| r.limit.is_none() && r.until <= now) {
            running.limit = Some(now + CANCEL_LIMIT);
            let error = CallError::new(
                ErrorCode::Timeout,
                format!("the {} engine did not get this answer done in time", self.what),
            );
            actions.push(Action::Deliver(running.ticket, Delivery::Failed(error)));
            actions.push(Action::Send(EngineRequest::Cancel { id: running.id }));
        }
        if self.running.iter().any(|r| r.limit.is_some_and(|limit| limit <= now)) {
            // It computes something that cannot be interrupted, or hangs. Whoever else waits for it hears so
            // when the stream ends.
            self.running.retain(|r| r.limit.is_none());
            self.close("it did not stop a cancelled request and is being ended", actions);
            return;
        }
        match &mut self.phase {
            Phase::Pausing(at) if *at <= now => {
                self.phase = Phase::Opening;
                actions.push(Action::Open);
            }
            Phase::Greeting { since, .. } if self.place == Place::Machine && *since + HELLO_LIMIT <= now => {
                self.close("it did not say hello and is being ended", actions);
            }
            Phase::Greeting { nonce, again, pause, .. } if *again <= now => {
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                *again = now + *pause;
                if self.place == Place::Outside {
                    self.trouble = (
                        EngineState::Absent,
                        format!(
                            "the {} engine worker outside of this machine does not answer; it is asked again every {} s",
                            self.what,
                            pause.as_secs()
                        ),
                    );
                }
                actions.push(hello(*nonce));
            }
            _ => {}
        }
    }

    /// End the worker; until `Closed` comes nothing is sent to it.
    fn close(&mut self, why: &str, actions: &mut Vec<Action>) {
        self.trouble = (EngineState::Absent, format!("the {} engine worker is gone: {why}", self.what));
        self.phase = Phase::Opening;
        actions.push(Action::Close);
    }

    fn start_next(&mut self, actions: &mut Vec<Action>) {
        if !self.is_ready() {
            return;
        }
        let slots = self.slots();
        while self.running.len() < slots {
            let running = self.running.len();
            let Some((ticket, order, work)) = self.queue.pop(|class| running < class.places(slots)) else {
                return;
            };
            self.next_id += 1;
            self.running.push(Running { ticket, id: self.next_id, until: order.until, limit: None });
            actions.push(Action::Send(work.into_request(self.next_id)));
            actions.push(Action::Deliver(ticket, Delivery::Started));
        }
    }
}

fn hello(nonce: u64) -> Action {
    Action::Send(EngineRequest::Hello { nonce, version: frame::VERSION })
}

#[cfg(test)]
mod tests;
