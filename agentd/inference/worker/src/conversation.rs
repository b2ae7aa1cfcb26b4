//! Reader, computing thread and writer of one worker.

use crate::{Begun, Engine, Options, Told, Work, cancelled};
use aios_abi::engine::{Control, EngineEvent, EngineRequest, Frames, WorkerState, encode};
use aios_abi::{CallError, ErrorCode, frame};
use anyhow::{Context, Result};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A request of one conversation.
struct Job {
    owner: Owner,
    work: Work,
}

/// Whose request it is: ids are unique within a conversation only.
#[derive(Clone, Copy)]
struct Owner {
    conversation: u64,
    id: u64,
}

struct Shared {
    /// Name and version of the engine.
    engine: String,
    /// Counts conversations; what belongs to an earlier one is void.
    conversation: AtomicU64,
    link: Mutex<Link>,
}

struct Link {
    output: Option<Box<dyn Write + Send>>,
    state: WorkerState,
    cancelled: HashSet<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Link> {
        // A panic while the lock was held can leave half a frame in the stream at worst, and the
        // reader finds the next one.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_current(&self, conversation: u64) -> bool {
        self.conversation.load(Ordering::SeqCst) == conversation
    }

    /// Send to the conversation that asked, unless another one has begun.
    fn send(&self, conversation: u64, event: &EngineEvent) {
        let mut link = self.lock();
        if self.is_current(conversation) {
            write(&mut link, event);
        }
    }

    fn set_state(&self, state: WorkerState) {
        let mut link = self.lock();
        link.state = state.clone();
        write(&mut link, &EngineEvent::State(state));
    }

    fn begin(&self, output: Option<Box<dyn Write + Send>>) {
        let mut link = self.lock();
        self.conversation.fetch_add(1, Ordering::SeqCst);
        link.cancelled.clear();
        link.output = output;
    }

    fn is_cancelled(&self, owner: Owner) -> bool {
        !self.is_current(owner.conversation) || self.lock().cancelled.contains(&owner.id)
    }

    /// The end of a request.
    fn fail(&self, owner: Owner, error: CallError) {
        self.send(owner.conversation, &EngineEvent::Error { id: owner.id, error });
        self.lock().cancelled.remove(&owner.id);
    }
}

fn write(link: &mut Link, event: &EngineEvent) {
    let Some(output) = link.output.as_mut() else { return };
    let sent = match encode(event) {
        Ok(bytes) => output.write_all(&bytes).and_then(|()| output.flush()),
        Err(error) => Err(std::io::Error::other(error)),
    };
    if let Err(error) = sent {
        eprintln!("<4>an answer could not be sent: {error}");
        link.output = None;
    }
}

/// Load the model and serve until the other side is gone (`--stdio`) or for ever (`--listen`).
///
/// `load` runs in the computing thread, is given a way to report percent, and gives the engine or one
/// sentence that says why there is none.
pub fn run<E, L>(engine: &str, options: Options, load: L) -> Result<()>
where
    E: Engine,
    L: FnOnce(&Options, Box<dyn Fn(u8) + Send>) -> Result<E, String> + Send + 'static,
{
    let shared = Arc::new(Shared {
        engine: engine.to_owned(),
        conversation: AtomicU64::new(0),
        link: Mutex::new(Link {
            output: None,
            state: WorkerState::Loading { percent: 0 },
            cancelled: HashSet::new(),
        }),
    });
    let (jobs, queue) = channel();
    let computing = shared.clone();
    let listen = options.listen.clone();
    let thread = std::thread::Builder::new()
        .name("engine".into())
        // Grammars and templates recurse in C++; glibc's default for threads suits, Rust's 2 MiB may not.
        .stack_size(8 << 20)
        .spawn(move || compute(&computing, &queue, &options, load))?;
    match listen {
        None => {
            shared.begin(Some(Box::new(std::io::stdout())));
            read(&shared, std::io::stdin(), &jobs, &thread)
        }
        Some(path) => {
            let listener =
                UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
            loop {
                let (stream, _) = listener.accept()?;
                shared.begin(Some(Box::new(stream.try_clone()?)));
                read(&shared, stream, &jobs, &thread)?;
                shared.begin(None);
            }
        }
    }
}

/// Read requests until the stream ends. A computing thread that has died takes the worker with it:
/// whoever started the worker starts it again.
fn read<T>(
    shared: &Shared,
    input: impl Read,
    jobs: &Sender<Job>,
    thread: &std::thread::JoinHandle<T>,
) -> Result<()> {
    for frame in Frames::new(input) {
        let is_taken = match frame {
            Ok(request) => accept(shared, request, jobs),
            Err(error) => {
                eprintln!("<4>{error}");
                true
            }
        };
        anyhow::ensure!(is_taken && !thread.is_finished(), "the computing thread has ended");
    }
    Ok(())
}

/// Take in one request; false when nobody computes any more.
fn accept(shared: &Shared, request: EngineRequest, jobs: &Sender<Job>) -> bool {
    match Work::of(request) {
        Ok((id, work)) => {
            let conversation = shared.conversation.load(Ordering::SeqCst);
            return jobs.send(Job { owner: Owner { conversation, id }, work }).is_ok();
        }
        Err(Control::Hello { nonce }) => {
            let mut link = shared.lock();
            shared.conversation.fetch_add(1, Ordering::SeqCst);
            link.cancelled.clear();
            let state = link.state.clone();
            let engine = shared.engine.clone();
            write(&mut link, &EngineEvent::Hello { nonce, version: frame::VERSION, engine, state });
        }
        Err(Control::Cancel { id }) => drop(shared.lock().cancelled.insert(id)),
    }
    true
}

fn compute<E, L>(shared: &Arc<Shared>, queue: &Receiver<Job>, options: &Options, load: L)
where
    E: Engine,
    L: FnOnce(&Options, Box<dyn Fn(u8) + Send>) -> Result<E, String>,
{
    let progress = shared.clone();
    let loaded = load(
        options,
        Box::new(move |percent| {
            let now = WorkerState::Loading { percent };
            if progress.lock().state != now {
                progress.set_state(now);
            }
        }),
    );
    match loaded {
        Ok(engine) => {
            shared.set_state(WorkerState::Ready(engine.info()));
            Computing { shared, engine, waiting: VecDeque::new(), running: HashMap::new(), next: 0 }
                .run(queue);
        }
        Err(why) => {
            eprintln!("<3>{why}");
            shared.set_state(WorkerState::Failed(why));
            while let Ok(job) = queue.recv() {
                shared.fail(job.owner, CallError::new(ErrorCode::Unavailable, "no model is loaded"));
            }
        }
    }
}

/// The engine, and whose requests it works on.
struct Computing<'a, E> {
    shared: &'a Shared,
    engine: E,
    waiting: VecDeque<Job>,
    running: HashMap<u64, Owner>,
    next: u64,
}

impl<E: Engine> Computing<'_, E> {
    /// Work until nobody can ask any more.
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                let Ok(job) = queue.recv() else { return };
                self.waiting.push_back(job);
            }
            self.waiting.extend(queue.try_iter());
            self.drop_cancelled();
            self.begin();
            if !self.running.is_empty() {
                self.step();
            }
        }
    }

    fn drop_cancelled(&mut self) {
        let shared = self.shared;
        self.waiting.retain(|job| {
            let is_cancelled = shared.is_cancelled(job.owner);
            if is_cancelled {
                shared.fail(job.owner, cancelled());
            }
            !is_cancelled
        });
        self.running.retain(|key, owner| {
            let is_cancelled = shared.is_cancelled(*owner);
            if is_cancelled {
                self.engine.end(*key);
                shared.fail(*owner, cancelled());
            }
            !is_cancelled
        });
    }

    fn begin(&mut self) {
        while let Some(Job { owner, work }) = self.waiting.pop_front() {
            self.next += 1;
            match self.engine.begin(self.next, work) {
                Ok(Begun::Yes) => {
                    self.running.insert(self.next, owner);
                }
                Ok(Begun::Later(work)) if !self.running.is_empty() => {
                    self.waiting.push_front(Job { owner, work });
                    return;
                }
                Ok(Begun::Later(_)) => {
                    let error =
                        CallError::failed("the request does not fit into an engine that does nothing");
                    self.shared.fail(owner, error);
                }
                Err(error) => self.shared.fail(owner, error),
            }
        }
    }

    fn step(&mut self) {
        let (shared, running) = (self.shared, &mut self.running);
        self.engine.step(&mut |key, told| {
            let Some(Owner { conversation, id }) = running.get(&key).copied() else { return };
            let event = match told {
                Told::Text(text) => return shared.send(conversation, &EngineEvent::Text { id, text }),
                Told::Done(cost) => EngineEvent::Done { id, cost },
                Told::Embeddings(vectors) => EngineEvent::Embeddings { id, vectors },
                Told::Scores(log_likelihoods) => EngineEvent::Scores { id, log_likelihoods },
                Told::Reading(reading) => EngineEvent::Reading { id, reading },
                Told::Failed(error) => EngineEvent::Error { id, error },
            };
            running.remove(&key);
            shared.send(conversation, &event);
            shared.lock().cancelled.remove(&id);
        });
    }
}

#[cfg(test)]
mod tests;
