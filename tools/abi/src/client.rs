//! The client of every protocol: many calls at once over one connection, which is opened when it is
//! first needed and again after the server was restarted.

use crate::call::{ClientFrame, Meta, Protocol, Request, ServerFrame};
use crate::error::{CallError, ErrorCode};
use crate::frame;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_seqpacket::UnixSeqpacket;
use tokio_seqpacket::ancillary::OwnedAncillaryMessage;

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
    socket: UnixSeqpacket,
    state: Mutex<State<P>>,
}

struct State<P: Protocol> {
    next: u64,
    open: HashMap<u64, mpsc::Sender<Incoming<P>>>,
    closed: bool,
}

enum Incoming<P: Protocol> {
    Event(P::Event),
    Reply(Result<P::Reply, CallError>),
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
        let connection = self.connection().await?;
        let (sender, receiver) = mpsc::channel(EVENTS);
        let id = {
            let mut state = connection.lock();
            if state.closed {
                return Err(lost::<P>());
            }
            state.next += 1;
            let id = state.next;
            state.open.insert(id, sender);
            id
        };
        let call = Call {
            connection: connection.clone(),
            receiver,
            id,
            until: tokio::time::Instant::now() + limit + GRACE,
            done: false,
        };
        let packet = frame::encode(&ClientFrame::Request(Request { id, meta, body }))?;
        if packet.len() > frame::MAX_PACKET {
            return Err(CallError::invalid(format!(
                "the request has {} bytes, at most {} are allowed; send less at once",
                packet.len(),
                frame::MAX_PACKET
            )));
        }
        connection.socket.send(&packet).await.map_err(|_| lost::<P>())?;
        Ok(call)
    }

    async fn connection(&self) -> Result<Arc<Connection<P>>, CallError> {
        let mut slot = self.shared.connection.lock().await;
        if let Some(open) = slot.as_ref().filter(|c| !c.lock().closed) {
            return Ok(open.clone());
        }
        let socket = UnixSeqpacket::connect(&self.shared.path).await.map_err(|e| {
            CallError::unavailable(format!(
                "{} cannot be reached at {}: {e}",
                P::SERVER,
                self.shared.path.display()
            ))
        })?;
        let state = State { next: 0, open: HashMap::new(), closed: false };
        let connection = Arc::new(Connection { socket, state: Mutex::new(state) });
        tokio::spawn(receive(connection.clone()));
        *slot = Some(connection.clone());
        Ok(connection)
    }
}

impl<P: Protocol> Connection<P> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State<P>> {
        // Nothing in the critical sections can panic half-way; the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost<P: Protocol>() -> CallError {
    CallError::unavailable(format!(
        "{} ended while it worked on this; it is being started again, try once more",
        P::SERVER
    ))
}

/// Hand what arrives to the call that it belongs to, until the server closes the connection.
async fn receive<P: Protocol>(connection: Arc<Connection<P>>) {
    let mut buffer = vec![0; frame::MAX_PACKET + 1];
    loop {
        let frame = match next_frame(&connection.socket, &mut buffer).await {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(_) => break,
        };
        let (id, incoming) = match frame {
            ServerFrame::Event { id, event } => (id, Incoming::Event(event)),
            ServerFrame::Reply { id, result } => (id, Incoming::Reply(result)),
            ServerFrame::Large { .. } => break,
            ServerFrame::Refused { .. } => continue,
        };
        let sender = {
            let mut state = connection.lock();
            match incoming {
                Incoming::Reply(_) => state.open.remove(&id),
                Incoming::Event(_) => state.open.get(&id).cloned(),
            }
        };
        if let Some(sender) = sender {
            // An error means that the caller lost interest.
            let _ = sender.send(incoming).await;
        }
    }
    let open = {
        let mut state = connection.lock();
        state.closed = true;
        std::mem::take(&mut state.open)
    };
    for sender in open.into_values() {
        let _ = sender.send(Incoming::Reply(Err(lost::<P>()))).await;
    }
    let _ = connection.socket.shutdown(std::net::Shutdown::Both);
}

async fn next_frame<E, R>(
    socket: &UnixSeqpacket,
    buffer: &mut [u8],
) -> Result<Option<ServerFrame<E, R>>, CallError>
where
    E: serde::de::DeserializeOwned,
    R: serde::de::DeserializeOwned,
{
    let mut ancillary = [0; 64];
    let (info, control) = socket.recv_with_ancillary(buffer, &mut ancillary).await?;
    let length = info.bytes_read();
    let descriptor = control.into_messages().find_map(|message| match message {
        OwnedAncillaryMessage::FileDescriptors(mut fds) => fds.next(),
        _ => None,
    });
    if length == 0 {
        return Ok(None);
    }
    let frame = frame::decode(buffer.get(..length).unwrap_or_default())?;
    let (ServerFrame::Large { len, .. }, Some(fd)) = (&frame, descriptor) else {
        return Ok(Some(frame));
    };
    frame::decode(&crate::sys::read_sealed(fd, *len)?).map(Some)
}

/// A call under way. Dropping it cancels the request.
pub struct Call<P: Protocol> {
    connection: Arc<Connection<P>>,
    receiver: mpsc::Receiver<Incoming<P>>,
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
        match tokio::time::timeout_at(self.until, self.receiver.recv()).await {
            Ok(Some(Incoming::Event(event))) => return Next::Event(event),
            Ok(Some(Incoming::Reply(result))) => {
                self.done = true;
                return Next::Reply(result);
            }
            Ok(None) => self.done = true,
            Err(_) => {
                return Next::Reply(Err(CallError::new(
                    ErrorCode::Timeout,
                    format!("{} did not answer in time", P::SERVER),
                )));
            }
        }
        Next::Reply(Err(lost::<P>()))
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
        if self.done {
            return;
        }
        self.connection.lock().open.remove(&self.id);
        let connection = self.connection.clone();
        let cancel = frame::encode(&ClientFrame::<P::Request>::Cancel { id: self.id });
        if let (Ok(packet), Ok(runtime)) = (cancel, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = connection.socket.send(&packet).await;
            });
        }
    }
}
