//! The server of every protocol: events on the way, deadlines, cancellation, and bounds on what one client and all
//! clients of one user can ask at once. What is answered at once is answered where it was read; the rest gets a task.

use crate::call::{ClientFrame, Meta, Protocol, Request, ServerFrame};
use crate::error::{CallError, ErrorCode};
use crate::socket::{Received, Socket};
use crate::{frame, who::Peer};
use std::collections::HashMap;
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

/// Requests of one connection that may be under way; the next one is answered `Busy`.
const MAX_OPEN: usize = 64;
/// Connections at once; the next one waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// Connections of one user; the next one is closed, with a sentence that says why.
const MAX_OF_USER: usize = 64;
/// How long nothing is read from a stranger, and from who sent what no client of ours sends.
const PAUSE: Duration = Duration::from_millis(20);
/// Requests of one connection that are answered before it is the others' turn.
const TURN: u32 = 16;
/// How long a request without a deadline of its own may take.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// What a daemon does with a request.
pub trait Handler<P: Protocol>: Send + Sync + 'static {
    /// Answer one request. The future is dropped when the client cancels, goes away, or the deadline
    /// passes, so work that must not be torn apart belongs in a task of its own.
    fn handle(
        self: Arc<Self>,
        context: Context<P>,
        request: P::Request,
    ) -> impl Future<Output = Result<P::Reply, CallError>> + Send;

    /// Answer what is known without waiting for anybody: with no task, no timer and no room for either. `None` is for
    /// everything else, which [`handle`](Self::handle) answers.
    fn at_once(
        &self,
        _peer: &Peer,
        _meta: &Meta,
        _request: &P::Request,
    ) -> Option<Result<P::Reply, CallError>> {
        None
    }

    /// Whether this peer may ask anything at all. A stranger is answered, but slowly.
    fn knows(&self, _peer: &Peer) -> bool {
        true
    }
}

/// Who asks, why, and the way to send events.
pub struct Context<P: Protocol> {
    /// The process at the other end.
    pub peer: Peer,
    /// What came with the request.
    pub meta: Meta,
    connection: Arc<Connection>,
    id: u64,
    protocol: std::marker::PhantomData<fn() -> P>,
}

impl<P: Protocol> Context<P> {
    /// Send an event. It waits while the client does not read.
    pub async fn send(&self, event: P::Event) -> Result<(), CallError> {
        self.connection.send(&ServerFrame::<P::Event, P::Reply>::Event { id: self.id, event }).await
    }
}

struct Connection {
    socket: Socket,
    open: Mutex<HashMap<u64, AbortHandle>>,
}

impl Connection {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        // Nothing in the critical sections can panic half-way; the map is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send<E, R>(&self, message: &ServerFrame<E, R>) -> Result<(), CallError>
    where
        E: serde::Serialize,
        R: serde::Serialize,
    {
        let packet = frame::encode(message)?;
        if packet.len() <= frame::MAX_PACKET {
            return Ok(self.socket.send(&packet, None).await?);
        }
        let ServerFrame::Reply { id, .. } = message else {
            return Err(CallError::invalid(format!(
                "an event of {} bytes is longer than a packet",
                packet.len()
            )));
        };
        let large = ServerFrame::<(), ()>::Large { id: *id, len: packet.len() as u64 };
        let memory = crate::sys::sealed_memfd(&packet)?;
        Ok(self.socket.send(&frame::encode(&large)?, Some(memory.as_fd())).await?)
    }
}

/// Serve a listening socket until it fails.
pub async fn serve<P: Protocol, H: Handler<P>>(
    mut listener: UnixSeqpacketListener,
    handler: Arc<H>,
) -> std::io::Result<()> {
    // A socket that was inherited may block, and one accept(2) that does stops every task of a thread.
    rustix::io::ioctl_fionbio(&listener, true)?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let guests = Arc::new(Guests::default());
    loop {
        let place = room.clone().acquire_owned().await.map_err(std::io::Error::other)?;
        let socket = match listener.accept().await {
            Ok(socket) => socket,
            Err(e) if is_passing(&e) => {
                // Out of descriptors or memory: the waiting client stays in the kernel's queue, and
                // accepting is worth another try when one of ours has gone.
                tracing::warn!("a connection could not be accepted: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(e) => return Err(e),
        };
        let Some(peer) = peer(&socket) else { continue };
        let Some(guest) = guests.admit(peer.uid) else {
            let text = format!("{MAX_OF_USER} connections of user {} are open; close one of them", peer.uid);
            let error = CallError::new(ErrorCode::Busy, text);
            let refused = frame::encode(&ServerFrame::<P::Event, P::Reply>::Refused { error });
            // Nothing was sent on it before, so there is room.
            let _ = refused.map(|packet| rustix::net::send(&socket, &packet, SEND));
            continue;
        };
        let Ok(socket) = Socket::new(OwnedFd::from(socket)) else { continue };
        let handler = handler.clone();
        tokio::spawn(async move {
            serve_connection::<P, H>(socket, peer, handler).await;
            drop((place, guest));
        });
    }
}

const SEND: rustix::net::SendFlags = rustix::net::SendFlags::NOSIGNAL.union(rustix::net::SendFlags::DONTWAIT);

fn peer(socket: &UnixSeqpacket) -> Option<Peer> {
    let found = socket.peer_cred().ok()?;
    // A process of another namespace has no number here.
    let pid = found.pid().unwrap_or(0).cast_unsigned();
    Some(Peer { pid, uid: found.uid(), gid: found.gid() })
}

/// How many connections each user has.
#[derive(Default)]
struct Guests(Mutex<HashMap<u32, usize>>);

impl Guests {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, uid: u32) -> Option<Guest> {
        let mut guests = self.lock();
        let count = guests.entry(uid).or_default();
        if *count >= MAX_OF_USER {
            return None;
        }
        *count += 1;
        Some(Guest { guests: self.clone(), uid })
    }
}

/// One of them.
struct Guest {
    guests: Arc<Guests>,
    uid: u32,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.guests.lock();
        if let Some(count) = guests.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                guests.remove(&self.uid);
            }
        }
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::CONNABORTED | Errno::INTR)
    )
}

async fn serve_connection<P: Protocol, H: Handler<P>>(socket: Socket, peer: Peer, handler: Arc<H>) {
    let connection = Arc::new(Connection { socket, open: Mutex::new(HashMap::new()) });
    let stranger = !handler.knows(&peer);
    let mut turn = 0;
    loop {
        let received = connection.socket.receive(|packet, _| frame::decode(packet), false).await;
        let refused = match received {
            Ok(Received::Message(ClientFrame::Request(request))) => {
                begin::<P, H>(&connection, peer, request, &handler).await
            }
            Ok(Received::Message(ClientFrame::Cancel { id })) => {
                // The task's own guard removes the entry; the reply is sent here because the task is gone.
                let task = connection.open().remove(&id);
                if let Some(task) = task {
                    task.abort();
                    reply::<P>(&connection, id, Err(cancelled())).await;
                }
                false
            }
            Ok(Received::Refused(error)) => {
                // Who sent it is told; the log is for others.
                tracing::debug!(peer = peer.pid, "refused a packet: {error}");
                let refused = ServerFrame::<P::Event, P::Reply>::Refused { error };
                if connection.send(&refused).await.is_err() {
                    break;
                }
                true
            }
            Ok(Received::End) | Err(_) => break,
        };
        turn += 1;
        if refused || stranger {
            tokio::time::sleep(PAUSE).await;
        } else if turn % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    for (_, task) in connection.open().drain() {
        task.abort();
    }
}

/// Answer a request or begin to; whether it was none that is begun.
async fn begin<P: Protocol, H: Handler<P>>(
    connection: &Arc<Connection>,
    peer: Peer,
    request: Request<P::Request>,
    handler: &Arc<H>,
) -> bool {
    let Request { id, meta, body } = request;
    let refusal = {
        let open = connection.open();
        if open.len() >= MAX_OPEN {
            Some(CallError::new(
                ErrorCode::Busy,
                format!("{MAX_OPEN} requests of this connection are under way; wait for one of them"),
            ))
        } else if open.contains_key(&id) {
            Some(CallError::invalid(format!("a request with id {id} is under way on this connection")))
        } else {
            None
        }
    };
    if let Some(error) = refusal {
        reply::<P>(connection, id, Err(error)).await;
        return true;
    }
    if let Some(result) = handler.at_once(&peer, &meta, &body) {
        reply::<P>(connection, id, result).await;
        return false;
    }
    let limit = match meta.deadline_ms {
        0 => DEFAULT_DEADLINE,
        ms => Duration::from_millis(ms.into()),
    };
    let context =
        Context { peer, meta, connection: connection.clone(), id, protocol: std::marker::PhantomData };
    let work = tokio::time::timeout(limit, handler.clone().handle(context, body));
    let mut work = Box::pin(async move {
        work.await.unwrap_or_else(|_| {
            let text = format!("not done within the {} ms that were allowed", limit.as_millis());
            Err(CallError::new(ErrorCode::Timeout, text))
        })
    });
    // What is answered at once needs no task of its own.
    let first = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    if let Poll::Ready(result) = first {
        reply::<P>(connection, id, result).await;
        return false;
    }
    let own = connection.clone();
    // The task must find its own entry: it looks for it under the same lock.
    let mut open = connection.open();
    let task = tokio::spawn(async move {
        let result = work.await;
        if own.open().remove(&id).is_some() {
            reply::<P>(&own, id, result).await;
        }
    });
    open.insert(id, task.abort_handle());
    false
}

fn cancelled() -> CallError {
    CallError::new(ErrorCode::Cancelled, "cancelled by the caller")
}

async fn reply<P: Protocol>(connection: &Connection, id: u64, result: Result<P::Reply, CallError>) {
    if let Err(error) = connection.send(&ServerFrame::<P::Event, P::Reply>::Reply { id, result }).await {
        // The client has gone, or the reply cannot be sent; in the second case it must hear of it.
        let short = ServerFrame::<P::Event, P::Reply>::Reply { id, result: Err(error) };
        let _ = connection.send(&short).await;
    }
}
