//! The conversation with inferd: one at a time, on a stream socket.
//!
//! The other workers compute in steps and share `aios-engine` for that. Here nothing is computed, and four requests wait for a
//! server side by side, so this one speaks the same frames on a runtime.

pub use crate::work::{Places, Worker};
use aios_abi::engine::{Control, Decoder, EngineEvent, EngineRequest, Generate, Work, WorkerState, encode};
use aios_abi::who::uid;
use aios_abi::{CallError, ErrorCode, frame};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};

/// Name and version of the engine.
const ENGINE: &str = concat!("remote ", env!("CARGO_PKG_VERSION"));
/// Requests of one conversation, those that wait for a slot among them.
const MOST: usize = 64;
/// Events that wait for inferd to read them.
const EVENTS: usize = 64;

/// Whether this process may have a model asked: inferd, and whoever could turn it on anyway. `own` is the user of this process.
fn is_known(own: u32, user: u32) -> bool {
    matches!(user, uid::ROOT | uid::INFERD) || user == own
}

/// Serve until the listener fails.
pub async fn serve(listener: UnixListener, worker: Arc<Worker>) -> std::io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => return Err(error),
            Err(error) => {
                // Descriptors are short: another try is worth it when somebody has gone.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // One that the kernel does not name is a stranger too.
        let Ok(credentials) = stream.peer_cred() else { continue };
        if !is_known(own, credentials.uid()) {
            tracing::warn!("a process of user {} was turned away", credentials.uid());
            continue;
        }
        converse(&worker, stream).await;
    }
}

/// Requests that are under way, and how each is told to stop.
type Running = Arc<Mutex<HashMap<u64, Arc<Notify>>>>;

/// An event, and how many times a conversation had begun before it: what belongs to an earlier one is void.
type Told = (u64, EngineEvent);

/// One conversation after the other, over one connection. What was asked in it ends with it.
async fn converse(worker: &Arc<Worker>, stream: UnixStream) {
    let (mut reads, writes) = stream.into_split();
    let (tell, told) = mpsc::channel(EVENTS);
    let writing = tokio::spawn(write(worker.clone(), writes, told));
    let mut talk = Talk { worker: worker.clone(), tell, begun: 0, running: Running::default() };
    let (mut decoder, mut buffer) = (Decoder::default(), vec![0; 65536]);
    // A writer that has ended has nobody to write to.
    while let Ok(length @ 1..) = reads.read(&mut buffer).await
        && !writing.is_finished()
    {
        let mut frames = Vec::new();
        decoder.feed(buffer.get(..length).unwrap_or_default(), |frame| frames.push(frame));
        for frame in frames {
            match frame {
                Ok(request) => talk.take(request).await,
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }
    talk.forget();
    writing.abort();
}

/// Who asked: pieces of the text go there, as fast as they are read.
pub(crate) struct Asker {
    tell: mpsc::Sender<Told>,
    begun: u64,
    id: u64,
}

impl Asker {
    /// The next piece of text. One who has left hears nothing.
    pub(crate) async fn text(&self, text: String) {
        self.tell(EngineEvent::Text { id: self.id, text }).await;
    }

    async fn tell(&self, event: EngineEvent) {
        let _ = self.tell.send((self.begun, event)).await;
    }
}

struct Talk {
    worker: Arc<Worker>,
    tell: mpsc::Sender<Told>,
    begun: u64,
    running: Running,
}

impl Talk {
    async fn take(&mut self, request: EngineRequest) {
        match Work::of(request) {
            Ok((id, Work::Generate(generate))) => self.begin(id, generate).await,
            Ok((id, Work::Embed { .. } | Work::Score { .. } | Work::Read { .. })) => {
                let error = CallError::invalid(
                    "the strategic tier writes texts; vectors and likelihoods are for the models of this machine",
                );
                self.fail(id, error).await;
            }
            Err(Control::Cancel { id }) => {
                if let Some(cancel) = locked(&self.running).get(&id) {
                    cancel.notify_one();
                }
            }
            Err(Control::Hello { nonce }) => {
                self.forget();
                self.begun += 1;
                let (engine, state) = (ENGINE.to_owned(), self.worker.state());
                let hello = EngineEvent::Hello { nonce, version: frame::VERSION, engine, state };
                let _ = self.tell.send((self.begun, hello)).await;
            }
        }
    }

    async fn begin(&self, id: u64, generate: Generate) {
        let cancel = Arc::new(Notify::new());
        let refused = {
            let mut running = locked(&self.running);
            let is_full = running.len() >= MOST;
            match running.entry(id) {
                Entry::Occupied(_) => {
                    Some(CallError::invalid(format!("a request {id} is under way already")))
                }
                Entry::Vacant(_) if is_full => {
                    let message = format!("{MOST} requests are under way already; ask later");
                    Some(CallError::new(ErrorCode::Busy, message))
                }
                Entry::Vacant(place) => {
                    place.insert(cancel.clone());
                    None
                }
            }
        };
        if let Some(error) = refused {
            return self.fail(id, error).await;
        }
        let (worker, running) = (self.worker.clone(), self.running.clone());
        let asker = Asker { tell: self.tell.clone(), begun: self.begun, id };
        // It runs to its end whoever leaves, because what it costs has to get into the book.
        tokio::spawn(async move {
            let done = worker.generate(&generate, &cancel, &asker).await;
            {
                let mut running = locked(&running);
                // After another Hello the id may be somebody else's.
                if running.get(&id).is_some_and(|current| Arc::ptr_eq(current, &cancel)) {
                    running.remove(&id);
                }
            }
            asker
                .tell(match done {
                    Ok(cost) => EngineEvent::Done { id, cost },
                    Err(error) => EngineEvent::Error { id, error },
                })
                .await;
        });
    }

    async fn fail(&self, id: u64, error: CallError) {
        let _ = self.tell.send((self.begun, EngineEvent::Error { id, error })).await;
    }

    /// Stop all that is under way.
    fn forget(&self) {
        for (_, cancel) in locked(&self.running).drain() {
            cancel.notify_one();
        }
    }
}

fn locked(running: &Running) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Notify>>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Write what is told and, once the conversation has begun, each state that is another one.
async fn write(worker: Arc<Worker>, mut writes: OwnedWriteHalf, mut told: mpsc::Receiver<Told>) {
    let (mut setup, mut spent) = worker.changes();
    let mut begun = 0;
    let mut last: Option<WorkerState> = None;
    loop {
        let event = tokio::select! {
            biased;
            next = told.recv() => match next {
                Some((of, EngineEvent::Hello { nonce, version, engine, state })) => {
                    begun = of;
                    last = Some(state.clone());
                    EngineEvent::Hello { nonce, version, engine, state }
                }
                Some((of, event)) if of == begun => event,
                Some(_) => continue,
                None => return,
            },
            Ok(()) = setup.changed(), if last.is_some() => EngineEvent::State(worker.state()),
            Ok(()) = spent.changed(), if last.is_some() => EngineEvent::State(worker.state()),
        };
        if let EngineEvent::State(state) = &event {
            if last.as_ref() == Some(state) {
                continue;
            }
            last = Some(state.clone());
        }
        let bytes = match encode(&event) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!("{error}");
                continue;
            }
        };
        if writes.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inferd_and_root_are_answered_and_nobody_else() {
        const STRATEGIC: u32 = 108;
        for known in [uid::ROOT, uid::INFERD] {
            assert!(is_known(STRATEGIC, known));
        }
        for stranger in [uid::AGENTD, uid::CONSOLE, uid::NETD, uid::TOOLD, uid::WORKSHOP, uid::WORKER, 1000] {
            assert!(!is_known(STRATEGIC, stranger), "{stranger}");
        }
        assert!(is_known(1000, 1000), "started by hand");
    }
}
