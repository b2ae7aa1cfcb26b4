//! The server of every protocol: a task a request, events on the way, deadlines, cancellation, and
//! bounds on what one client can ask at once.

use crate::call::{ClientFrame, Meta, Protocol, Request, ServerFrame};
use crate::error::{CallError, ErrorCode};
use crate::{frame, who::Peer};
use std::collections::HashMap;
use std::future::Future;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_seqpacket::ancillary::AncillaryMessageWriter;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

/// Requests of one connection that may be under way; the next one is answered `Busy`.
const MAX_OPEN: usize = 64;
/// Connections at once; the next one waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
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
    socket: UnixSeqpacket,
    open: Mutex<HashMap<u64, AbortHandle>>,
}

impl Connection {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, AbortHandle>> {
        // Nothing in the critical sections can panic half-way; the map is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send<E, R>(&self, message: &ServerFrame<E, R>) -> Result<(), CallError>
    where
        E: serde::Serialize,
        R: serde::Serialize,
    {
        let packet = frame::encode(message)?;
        let ServerFrame::Reply { id, .. } = message else {
            return self.send_packet(packet).await;
        };
        if packet.len() <= frame::MAX_PACKET {
            return self.send_packet(packet).await;
        }
        let large = ServerFrame::<(), ()>::Large { id: *id, len: packet.len() as u64 };
        let memory = crate::sys::sealed_memfd(&packet)?;
        let mut space = [0; 64];
        let mut control = AncillaryMessageWriter::new(&mut space);
        control
            .add_fds([&memory])
            .map_err(|_| CallError::failed("the descriptor of a long reply does not fit"))?;
        let packet = frame::encode(&large)?;
        self.socket.send_vectored_with_ancillary(&[IoSlice::new(&packet)], &mut control).await?;
        Ok(())
    }

    async fn send_packet(&self, packet: Vec<u8>) -> Result<(), CallError> {
        if packet.len() > frame::MAX_PACKET {
            return Err(CallError::invalid(format!(
                "an event of {} bytes is longer than a packet",
                packet.len()
            )));
        }
        self.socket.send(&packet).await?;
        Ok(())
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
        let handler = handler.clone();
        tokio::spawn(async move {
            serve_connection::<P, H>(socket, handler).await;
            drop(place);
        });
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::CONNABORTED | Errno::INTR)
    )
}

async fn serve_connection<P: Protocol, H: Handler<P>>(socket: UnixSeqpacket, handler: Arc<H>) {
    let Ok(credentials) = socket.peer_cred() else { return };
    let peer = Peer {
        pid: credentials.pid().unwrap_or(0).cast_unsigned(),
        uid: credentials.uid(),
        gid: credentials.gid(),
    };
    let connection = Arc::new(Connection { socket, open: Mutex::new(HashMap::new()) });
    let mut buffer = vec![0; frame::MAX_PACKET + 1];
    while let Ok(info) = connection.socket.recv(&mut buffer).await {
        let length = info.bytes_read();
        if length == 0 {
            break;
        }
        let decoded = match buffer.get(..length) {
            Some(packet) if length <= frame::MAX_PACKET && !info.truncated() => frame::decode(packet),
            _ => Err(CallError::invalid(format!(
                "the packet is longer than {} bytes; nothing of it was used",
                frame::MAX_PACKET
            ))),
        };
        match decoded {
            Ok(ClientFrame::Request(request)) => begin::<P, H>(&connection, peer, request, &handler).await,
            Ok(ClientFrame::Cancel { id }) => {
                // The task's own guard removes the entry; the reply is sent here because the task is gone.
                let task = connection.open().remove(&id);
                if let Some(task) = task {
                    task.abort();
                    reply::<P>(&connection, id, Err(cancelled())).await;
                }
            }
            Err(error) => {
                tracing::warn!(peer = peer.pid, "refused a packet: {error}");
                let refused = ServerFrame::<P::Event, P::Reply>::Refused { error };
                if connection.send(&refused).await.is_err() {
                    break;
                }
            }
        }
    }
    for (_, task) in connection.open().drain() {
        task.abort();
    }
}

async fn begin<P: Protocol, H: Handler<P>>(
    connection: &Arc<Connection>,
    peer: Peer,
    request: Request<P::Request>,
    handler: &Arc<H>,
) {
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
        return;
    }
    let limit = match meta.deadline_ms {
        0 => DEFAULT_DEADLINE,
        ms => Duration::from_millis(ms.into()),
    };
    let context =
        Context { peer, meta, connection: connection.clone(), id, protocol: std::marker::PhantomData };
    let work = handler.clone().handle(context, body);
    let task_connection = connection.clone();
    // The task must find its own entry, so it starts only once that is made.
    let (go, started) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let _ = started.await;
        let result = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(CallError::new(
                ErrorCode::Timeout,
                format!("not done within the {} ms that were allowed", limit.as_millis()),
            ))
        });
        if task_connection.open().remove(&id).is_some() {
            reply::<P>(&task_connection, id, result).await;
        }
    });
    connection.open().insert(id, task.abort_handle());
    let _ = go.send(());
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
