//! The client of every protocol: many calls at once over one connection, which is opened when it is
//! first needed and again after the server was restarted.
//!
//! One of the calls that wait reads for all of them, so the answer to a single call wakes nobody but its caller.

use crate::call::{ClientFrame, Meta, Protocol, Request, ServerFrame};
use crate::error::{CallError, ErrorCode};
use crate::frame;
use crate::socket::{Received, Socket};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long a call without a deadline of its own may take.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// How much longer than the server the client waits, so that the server's own message arrives.
const GRACE: Duration = Duration::from_millis(500);
/// Events that may wait for a slow reader of one call; the connection waits with it beyond that.
const EVENTS: usize = 256;

/// A client of the protocol `P`. Cheap to clone; all clones share one connection.
pub struct Client<P: Protocol> {
    shared: Arc<Shared<P>>,
}

struct Shared<P: Protocol> {
    path: PathBuf,
    connection: tokio::sync::Mutex<Option<Arc<Connection<P>>>>,
}

struct Connection<P: Protocol> {
    socket: Socket,
    state: Mutex<State<P>>,
}

struct State<P: Protocol> {
    next: u64,
    open: HashMap<u64, Slot<P>>,
    /// Somebody reads.
    reading: bool,
    /// What was read last, until it is with its call.
    held: Option<(u64, Next<P>)>,
    /// Why nothing more will come.
    closed: Option<CallError>,
}

/// What arrived for a call that is open.
struct Slot<P: Protocol> {
    arrived: VecDeque<Next<P>>,
    /// Waits for something to arrive, or for its turn to read.
    waits: Option<Waker>,
    /// Reads for all, and waits until this call has taken something.
    reader: Option<Waker>,
}

impl<P: Protocol> Clone for Client<P> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<P: Protocol> Default for Client<P> {
    fn default() -> Self {
        Self::at(P::SOCKET)
    }
}

impl<P: Protocol> Client<P> {
    /// A client of the server at this path; nothing is opened yet.
    pub fn at(path: impl AsRef<Path>) -> Self {
        let shared = Shared { path: path.as_ref().into(), connection: tokio::sync::Mutex::new(None) };
        Self { shared: Arc::new(shared) }
    }

    /// Ask and wait for the answer; events on the way are dropped.
    pub async fn call(&self, meta: Meta, body: P::Request) -> Result<P::Reply, CallError> {
        self.start(meta, body).await?.finish(|_| {}).await
    }

    /// Ask, and follow what happens. Dropping the [`Call`] cancels the request.
    pub async fn start(&self, meta: Meta, body: P::Request) -> Result<Call<P>, CallError> {
        let limit = match meta.deadline_ms {
            0 => DEFAULT_DEADLINE,
            ms => Duration::from_millis(ms.into()),
        };
        let until = tokio::time::Instant::now() + limit + GRACE;
        let mut request = Request { id: 0, meta, body };
        for last in [false, true] {
            let connection = self.connection().await?;
            request.id = connection.enter();
            let call = Call { connection: connection.clone(), id: request.id, until, done: false };
            let frame = ClientFrame::Request(request);
            let packet = frame::encode(&frame)?;
            if packet.len() > frame::MAX_PACKET {
                return Err(CallError::invalid(format!(
                    "the request has {} bytes, at most {} are allowed; send less at once",
                    packet.len(),
                    frame::MAX_PACKET
                )));
            }
            match connection.socket.send(&packet, None).await {
                // The server ended since the call before. What was not sent can be sent again.
                Err(e) if is_gone(&e) && !last => self.forget(&connection).await,
                // It may have said why it closes the connection: whoever reads finds out.
                Err(e) if !is_gone(&e) => return Err(lost::<P>()),
                _ => return Ok(call),
            }
            let ClientFrame::Request(again) = frame else { break };
            request = again;
        }
        Err(lost::<P>())
    }

    async fn connection(&self) -> Result<Arc<Connection<P>>, CallError> {
        let mut slot = self.shared.connection.lock().await;
        if let Some(open) = slot.as_ref().filter(|c| c.lock().closed.is_none()) {
            return Ok(open.clone());
        }
        let socket = Socket::connect(&self.shared.path).await.map_err(|e| {
            CallError::unavailable(format!(
                "{} cannot be reached at {}: {e}",
                P::SERVER,
                self.shared.path.display()
            ))
        })?;
        let state = State { next: 0, open: HashMap::new(), reading: false, held: None, closed: None };
        let connection = Arc::new(Connection { socket, state: Mutex::new(state) });
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// The next call opens a new connection; what arrived over this one is still read.
    async fn forget(&self, connection: &Arc<Connection<P>>) {
        let mut slot = self.shared.connection.lock().await;
        if slot.as_ref().is_some_and(|open| Arc::ptr_eq(open, connection)) {
            *slot = None;
        }
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

fn lost<P: Protocol>() -> CallError {
    CallError::unavailable(format!(
        "{} ended while it worked on this; it is being started again, try once more",
        P::SERVER
    ))
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl<P: Protocol> State<P> {
    /// While somebody waits, somebody reads.
    fn hand_on(&mut self) {
        if !self.reading
            && let Some(slot) = self.open.values_mut().find(|slot| slot.waits.is_some())
        {
            wake(&mut slot.waits);
        }
    }
}

impl<P: Protocol> Connection<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        // Nothing in the critical sections can panic half-way; the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a call; its id.
    fn enter(&self) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        state.open.insert(id, Slot { arrived: VecDeque::new(), waits: None, reader: None });
        id
    }

    /// Nothing more will come; all who wait are told why.
    fn end(&self, why: CallError) {
        let mut state = self.lock();
        state.closed.get_or_insert(why);
        state.open.values_mut().for_each(|slot| wake(&mut slot.waits));
        drop(state);
        self.socket.close();
    }

    /// What arrived for this call, or else its turn to read for all.
    async fn wait(&self, id: u64) -> Result<Next<P>, Reading<'_, P>> {
        poll_fn(|context| {
            let mut state = self.lock();
            let State { open, reading, closed, .. } = &mut *state;
            let Some(slot) = open.get_mut(&id) else {
                return Poll::Ready(Ok(Next::Reply(Err(lost::<P>()))));
            };
            if let Some(next) = slot.arrived.pop_front() {
                wake(&mut slot.reader);
                return Poll::Ready(Ok(next));
            }
            if let Some(why) = closed {
                return Poll::Ready(Ok(Next::Reply(Err(why.clone()))));
            }
            if !std::mem::replace(reading, true) {
                return Poll::Ready(Err(Reading(self)));
            }
            slot.waits = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Take in what comes next, whomever it is for.
    async fn read(&self) {
        if self.lock().held.is_none() {
            let frame = match self.socket.receive(understand::<P>, true).await {
                Ok(Received::Message(frame)) => frame,
                // From a server of another release. Whose answer it is cannot be told.
                Ok(Received::Refused(error)) => return self.end(error),
                Ok(Received::End) | Err(_) => return self.end(lost::<P>()),
            };
            self.lock().held = Some(match frame {
                ServerFrame::Event { id, event } => (id, Next::Event(event)),
                ServerFrame::Reply { id, result } => (id, Next::Reply(result)),
                // It did not understand which request it refused, or refuses the connection.
                ServerFrame::Refused { error } => return self.end(error),
                ServerFrame::Large { .. } => return self.end(lost::<P>()),
            });
        }
        poll_fn(|context| {
            let mut state = self.lock();
            let State { open, held, .. } = &mut *state;
            if let Some(slot) = held.as_ref().and_then(|(id, _)| open.get_mut(id)) {
                if slot.arrived.len() >= EVENTS {
                    slot.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
                slot.arrived.extend(held.take().map(|(_, next)| next));
                wake(&mut slot.waits);
            }
            // Its caller may have lost interest.
            *held = None;
            Poll::Ready(())
        })
        .await;
    }
}

/// The turn to read. Dropped, it is another's.
struct Reading<'a, P: Protocol>(&'a Connection<P>);

impl<P: Protocol> Drop for Reading<'_, P> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reading = false;
        state.hand_on();
    }
}

fn understand<P: Protocol>(
    packet: &[u8],
    file: Option<OwnedFd>,
) -> Result<ServerFrame<P::Event, P::Reply>, CallError> {
    let frame = frame::decode(packet)?;
    let (ServerFrame::Large { len, .. }, Some(file)) = (&frame, file) else { return Ok(frame) };
    frame::decode(&crate::sys::read_sealed(file, *len)?)
}

/// A call under way. Dropping it cancels the request.
pub struct Call<P: Protocol> {
    connection: Arc<Connection<P>>,
    id: u64,
    until: tokio::time::Instant,
    done: bool,
}

/// What comes next in a call.
pub enum Next<P: Protocol> {
    /// An event; more will follow.
    Event(P::Event),
    /// The end.
    Reply(Result<P::Reply, CallError>),
}

impl<P: Protocol> Call<P> {
    /// Wait for what comes next. After the reply it must not be called again.
    pub async fn next(&mut self) -> Next<P> {
        let (connection, id) = (&self.connection, self.id);
        let next = async {
            loop {
                match connection.wait(id).await {
                    Ok(next) => return next,
                    Err(_turn) => connection.read().await,
                }
            }
        };
        match tokio::time::timeout_at(self.until, next).await {
            Ok(Next::Reply(result)) => {
                self.done = true;
                Next::Reply(result)
            }
            Ok(event) => event,
            Err(_) => Next::Reply(Err(CallError::new(
                ErrorCode::Timeout,
                format!("{} did not answer in time", P::SERVER),
            ))),
        }
    }

    /// Give each event to `on_event` and wait for the end.
    pub async fn finish(mut self, mut on_event: impl FnMut(P::Event)) -> Result<P::Reply, CallError> {
        loop {
            match self.next().await {
                Next::Event(event) => on_event(event),
                Next::Reply(result) => return result,
            }
        }
    }
}

impl<P: Protocol> Drop for Call<P> {
    fn drop(&mut self) {
        let (slot, closed) = {
            let mut state = self.connection.lock();
            let slot = state.open.remove(&self.id);
            // It may have been its turn, and it may not have known.
            state.hand_on();
            (slot, state.closed.is_some())
        };
        if let Some(mut slot) = slot {
            wake(&mut slot.reader);
        }
        if self.done || closed {
            return;
        }
        let connection = self.connection.clone();
        let cancel = frame::encode(&ClientFrame::<P::Request>::Cancel { id: self.id });
        if let (Ok(packet), Ok(runtime)) = (cancel, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = connection.socket.send(&packet, None).await;
            });
        }
    }
}
