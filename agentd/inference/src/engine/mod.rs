//! One engine: the task that talks to its worker, and the handle that everyone else holds.

mod books;
mod core;
mod port;
mod source;
#[allow(unsafe_code)]
mod sys;
mod work;

pub use aios_abi::engine::Work;
pub(crate) use books::Books;
pub use core::QUEUE;
pub use source::{Kind, Source};
pub(crate) use sys::Edge;
pub use work::Delivery;

use crate::queue::Order;
use aios_abi::CallError;
use aios_abi::engine::{Adapter, Decoder, EngineEvent, encode};
use aios_abi::infer::{EngineHealth, Tier};
use core::{Action, Core, Input};
use source::{Opener, Stream};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};

/// A handle to an engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    kind: Kind,
    commands: mpsc::UnboundedSender<Command>,
    health: watch::Receiver<Snapshot>,
    /// How it was before it began.
    first: Arc<Snapshot>,
    tickets: Arc<AtomicU64>,
    books: Books,
}

/// What `Status` shows of an engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// How it is.
    pub health: EngineHealth,
    /// Requests that wait for it.
    pub queued: usize,
    /// The adapter of the loaded model that makes calls of words.
    pub adapter: Option<Arc<Adapter>>,
    /// The tools whose arguments the loaded model can read in questions.
    pub reads: Option<Arc<[String]>>,
    /// Whether the model is in this machine's memory, or is about to be.
    pub holds_memory: bool,
}

enum Command {
    Submit { ticket: u64, order: Order, work: Work, deliveries: mpsc::UnboundedSender<Delivery> },
    Cancel(u64),
    Drop,
}

/// A request under way. Dropping it cancels the request.
pub struct Job {
    ticket: u64,
    what: &'static str,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Engine {
    /// Start to look for a worker.
    pub fn start(source: Source) -> Self {
        let kind = source.kind;
        let core = Core::new(kind.what(), Instant::now());
        let (commands, receiver) = mpsc::unbounded_channel();
        let first = Arc::new(snapshot(&core));
        let (tell, health) = watch::channel(snapshot(&core));
        tokio::spawn(
            Shell { core, tell, jobs: HashMap::new(), link: None }.run(Opener::new(source), receiver),
        );
        Self { kind, commands, health, first, tickets: Arc::default(), books: Books::default() }
    }

    /// How it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.health.borrow().clone()
    }

    /// Follow how it is.
    pub(crate) fn watch(&self) -> watch::Receiver<Snapshot> {
        self.health.clone()
    }

    /// How it was before it began to look for a worker.
    pub(crate) fn first(&self) -> &Snapshot {
        &self.first
    }

    /// Whether it computes with a model of ours, which follows any grammar and costs no money.
    pub fn is_local(&self) -> bool {
        self.kind != Kind::Text(Tier::Strategic)
    }

    /// The word for it in sentences.
    pub(crate) fn what(&self) -> &'static str {
        self.kind.what()
    }

    /// What it did.
    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// Drop the model, because the machine is short of memory. It comes back by itself.
    pub(crate) fn drop_model(&self) {
        let _ = self.commands.send(Command::Drop);
    }

    /// Ask something. The answer comes through the [`Job`].
    pub fn submit(&self, order: Order, work: Work) -> Job {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (sender, deliveries) = mpsc::unbounded_channel();
        // The task lives as long as the process; were it gone, the job would end as lost.
        let _ = self.commands.send(Command::Submit { ticket, order, work, deliveries: sender });
        Job { ticket, what: self.kind.what(), deliveries, commands: self.commands.clone() }
    }
}

impl Job {
    /// What comes next; an error is the end.
    pub async fn next(&mut self) -> Result<Delivery, CallError> {
        match self.deliveries.recv().await {
            Some(Delivery::Failed(error)) => Err(error),
            Some(delivery) => Ok(delivery),
            None => Err(CallError::failed(format!("the {} engine's task has ended", self.what))),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Cancel(self.ticket));
    }
}

fn snapshot(core: &Core) -> Snapshot {
    Snapshot {
        health: core.health(),
        queued: core.queued(),
        adapter: core.adapter(),
        reads: core.reads(),
        holds_memory: core.holds_memory(),
    }
}

/// Carries out what the core decides.
struct Shell {
    core: Core,
    tell: watch::Sender<Snapshot>,
    jobs: HashMap<u64, mpsc::UnboundedSender<Delivery>>,
    link: Option<Link>,
}

/// The worker's end of the conversation, as tasks that read and write.
struct Link {
    frames: mpsc::UnboundedSender<Vec<u8>>,
    close: oneshot::Sender<()>,
}

enum Incoming {
    Waiting(source::Refusal),
    Opened(Stream),
    Refused(source::Refusal),
    Event(EngineEvent),
    Closed(String),
}

impl Shell {
    async fn run(mut self, opener: Opener, mut commands: mpsc::UnboundedReceiver<Command>) {
        // Bounded, so that a worker that talks too fast waits in its pipe.
        let (sender, mut incoming) = mpsc::channel(64);
        let opener = Arc::new(tokio::sync::Mutex::new(opener));
        loop {
            let wake = self.core.wake_at();
            let input = tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Submit { ticket, order, work, deliveries }) => {
                        self.jobs.insert(ticket, deliveries);
                        Input::Submit { ticket, order, work }
                    }
                    Some(Command::Cancel(ticket)) => {
                        self.jobs.remove(&ticket);
                        Input::Cancel(ticket)
                    }
                    Some(Command::Drop) => Input::Drop,
                    None => return,
                },
                Some(message) = incoming.recv() => match message {
                    Incoming::Opened(stream) => {
                        let place = stream.place;
                        self.link = Some(talk(stream, sender.clone()));
                        Input::Opened { place, nonce: nonce() }
                    }
                    Incoming::Waiting(refusal) => {
                        self.core.waiting(refusal.state, refusal.why);
                        Input::Tick
                    }
                    Incoming::Refused(refusal) => Input::Refused { state: refusal.state, why: refusal.why },
                    Incoming::Event(event) => Input::Event(event),
                    Incoming::Closed(why) => {
                        self.link = None;
                        tracing::warn!("the {} engine worker is gone: {why}", self.core.what());
                        Input::Closed(why)
                    }
                },
                () = sleep_until(wake) => Input::Tick,
            };
            for action in self.core.step(Instant::now(), input) {
                self.act(action, &opener, &sender);
            }
            let now = snapshot(&self.core);
            self.tell.send_if_modified(|before| {
                let changed = *before != now;
                if changed {
                    *before = now;
                }
                changed
            });
        }
    }

    fn act(
        &mut self,
        action: Action,
        opener: &Arc<tokio::sync::Mutex<Opener>>,
        sender: &mpsc::Sender<Incoming>,
    ) {
        match action {
            Action::Open => {
                let (opener, sender) = (opener.clone(), sender.clone());
                tokio::spawn(async move {
                    let (tell, told) = (sender.clone(), sender);
                    let mut opener = opener.lock().await;
                    // The channel has room: nothing else is under way while a worker is looked for.
                    let waiting = move |refusal| drop(tell.try_send(Incoming::Waiting(refusal)));
                    let message = tokio::select! {
                        opened = opener.open(waiting) => match opened {
                            Ok(stream) => Incoming::Opened(stream),
                            Err(refusal) => Incoming::Refused(refusal),
                        },
                        // Nobody uses this engine any more: another one may want its port.
                        () = told.closed() => return,
                    };
                    drop(opener);
                    let _ = told.send(message).await;
                });
            }
            Action::Close => {
                if let Some(link) = self.link.take() {
                    let _ = link.close.send(());
                }
            }
            Action::Send(request) => {
                if let Some(link) = &self.link
                    && let Ok(frame) = encode(&request)
                {
                    let _ = link.frames.send(frame);
                }
            }
            Action::Deliver(ticket, delivery) => {
                let is_end =
                    !matches!(delivery, Delivery::Queued { .. } | Delivery::Started | Delivery::Text(_));
                if let Some(job) = self.jobs.get(&ticket) {
                    let _ = job.send(delivery);
                }
                if is_end {
                    self.jobs.remove(&ticket);
                }
            }
        }
    }
}

/// Read and write in tasks of their own until the stream ends or is to be closed.
fn talk(stream: Stream, sender: mpsc::Sender<Incoming>) -> Link {
    let Stream { mut reader, mut writer, mut child, .. } = stream;
    let (frames, mut outgoing) = mpsc::unbounded_channel::<Vec<u8>>();
    let (close, mut closing) = oneshot::channel();
    let writing = tokio::spawn(async move {
        while let Some(frame) = outgoing.recv().await {
            // A worker that has gone is noticed by the reader.
            if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 65536];
        let mut closed = false;
        let why = loop {
            let read = tokio::select! {
                read = reader.read(&mut buffer) => read,
                _ = &mut closing => {
                    closed = true;
                    break "it did not react and was ended".to_owned();
                }
            };
            let length = match read {
                Ok(0) => break "the connection ended".to_owned(),
                Ok(length) => length,
                Err(error) => break format!("the connection failed: {error}"),
            };
            let mut events = Vec::new();
            decoder.feed(buffer.get(..length).unwrap_or_default(), |frame| match frame {
                Ok(event) => events.push(event),
                // The rest of a frame to an earlier inferd, or noise: the next frame is whole again.
                Err(error) => tracing::info!("from an engine worker: {error}"),
            });
            for event in events {
                if sender.send(Incoming::Event(event)).await.is_err() {
                    return;
                }
            }
        };
        writing.abort();
        if let (true, Some(child)) = (closed, child.as_mut()) {
            let _ = child.start_kill();
        }
        let why = match child.as_mut() {
            Some(child) => {
                // One that closed its streams is about to end and should say itself how.
                let ended = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
                source::ending(match ended {
                    Ok(status) => status,
                    Err(_) => {
                        let _ = child.start_kill();
                        child.wait().await
                    }
                })
            }
            None => why,
        };
        let _ = sender.send(Incoming::Closed(why)).await;
    });
    Link { frames, close }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A random number for a conversation; it only has to differ from those before.
fn nonce() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        // The low bits change fastest.
        since.as_nanos() as u64
    })
}
