//! Reader, computing thread and writer of one worker.

use crate::{Engine, Options, cancelled};
use aios_abi::engine::{Decoder, EngineEvent, EngineRequest, WorkerState, encode};
use aios_abi::{CallError, ErrorCode, frame};
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A request of one conversation.
struct Job {
    conversation: u64,
    request: EngineRequest,
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

    fn is_cancelled(&self, conversation: u64, id: u64) -> bool {
        !self.is_current(conversation) || self.lock().cancelled.contains(&id)
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
    mut input: impl Read,
    jobs: &Sender<Job>,
    thread: &std::thread::JoinHandle<T>,
) -> Result<()> {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 65536];
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return Ok(()),
        };
        let mut ended = false;
        decoder.feed(buffer.get(..length).unwrap_or_default(), |frame| match frame {
            Ok(request) => ended |= !accept(shared, request, jobs),
            Err(error) => eprintln!("<4>{error}"),
        });
        anyhow::ensure!(!ended && !thread.is_finished(), "the computing thread has ended");
    }
}

/// Take in one request; false when nobody computes any more.
fn accept(shared: &Shared, request: EngineRequest, jobs: &Sender<Job>) -> bool {
    match request {
        EngineRequest::Hello { nonce, version: _ } => {
            let mut link = shared.lock();
            shared.conversation.fetch_add(1, Ordering::SeqCst);
            link.cancelled.clear();
            let state = link.state.clone();
            let engine = shared.engine.clone();
            write(&mut link, &EngineEvent::Hello { nonce, version: frame::VERSION, engine, state });
            true
        }
        EngineRequest::Cancel { id } => {
            shared.lock().cancelled.insert(id);
            true
        }
        request => {
            let conversation = shared.conversation.load(Ordering::SeqCst);
            jobs.send(Job { conversation, request }).is_ok()
        }
    }
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
    let mut engine = match loaded {
        Ok(engine) => {
            shared.set_state(WorkerState::Ready(engine.info()));
            Some(engine)
        }
        Err(why) => {
            eprintln!("<3>{why}");
            shared.set_state(WorkerState::Failed(why));
            None
        }
    };
    while let Ok(Job { conversation, request }) = queue.recv() {
        let Some(id) = id_of(&request) else { continue };
        let result = if shared.is_cancelled(conversation, id) {
            Err(cancelled())
        } else {
            match engine.as_mut() {
                Some(engine) => work(shared, conversation, engine, request),
                None => Err(CallError::new(ErrorCode::Unavailable, "no model is loaded")),
            }
        };
        shared.send(conversation, &result.unwrap_or_else(|error| EngineEvent::Error { id, error }));
        shared.lock().cancelled.remove(&id);
    }
}

fn id_of(request: &EngineRequest) -> Option<u64> {
    match request {
        EngineRequest::Generate(generate) => Some(generate.id),
        EngineRequest::Embed { id, .. } | EngineRequest::Score { id, .. } => Some(*id),
        EngineRequest::Hello { .. } | EngineRequest::Cancel { .. } => None,
    }
}

fn work<E: Engine>(
    shared: &Shared,
    conversation: u64,
    engine: &mut E,
    request: EngineRequest,
) -> Result<EngineEvent, CallError> {
    match request {
        EngineRequest::Generate(generate) => {
            let id = generate.id;
            let mut on_text =
                |text: &str| shared.send(conversation, &EngineEvent::Text { id, text: text.to_owned() });
            let cost = engine.generate(&generate, &mut on_text, &|| shared.is_cancelled(conversation, id))?;
            Ok(EngineEvent::Done {
                id,
                prompt_tokens: cost.prompt,
                reused_tokens: cost.reused,
                generated_tokens: cost.generated,
            })
        }
        EngineRequest::Embed { id, texts } => {
            Ok(EngineEvent::Embeddings { id, vectors: engine.embed(&texts)? })
        }
        EngineRequest::Score { id, messages, continuations } => {
            let log_likelihoods = engine.score(&messages, &continuations)?;
            Ok(EngineEvent::Scores { id, log_likelihoods })
        }
        EngineRequest::Hello { .. } | EngineRequest::Cancel { .. } => {
            Err(CallError::invalid("no work in this request"))
        }
    }
}

#[cfg(test)]
mod tests;
