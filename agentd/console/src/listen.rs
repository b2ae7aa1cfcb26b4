//! Connections: TLS, HTTP/1.1 and HTTP/2, and the limits that keep one client from taking all.

use crate::state::lock;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;

/// Connections at once; the next one waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
/// Connections of one address at once; the next one is closed.
const MAX_PER_ADDRESS: usize = 128;
/// How long a client may take for its side of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(30);
/// A connection on which nothing went either way for this long is closed.
const IDLE: Duration = Duration::from_secs(180);
/// Requests of one HTTP/2 connection at once.
const MAX_REQUESTS: u32 = 64;
/// Bytes of the head of a request.
const MAX_HEAD: usize = 32 * 1024;

/// Serve until the listener fails.
pub async fn serve(
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    router: Router,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(config);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let addresses = Arc::new(Addresses::default());
    loop {
        let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
            Err(error) => {
                // The client left before it was accepted, or descriptors are short: accepting is worth
                // another try when a connection of ours has ended.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = addresses.clone().sit(peer.ip().to_canonical()) else { continue };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let from = Remote(peer.ip().to_canonical());
            if let Err(error) = serve_connection(stream, from, acceptor, router).await {
                tracing::debug!("the connection from {peer} ended: {error}");
            }
            drop((place, seat));
        });
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Whose connection it is; each request that comes by the network brings it along.
#[derive(Debug, Clone, Copy)]
pub struct Remote(pub IpAddr);

async fn serve_connection(
    stream: TcpStream,
    from: Remote,
    acceptor: TlsAcceptor,
    router: Router,
) -> Result<(), Failure> {
    // Events are small and must not wait for company.
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(Idle::new(stream, IDLE));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(from);
        router.call(request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_REQUESTS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    // The handshake has said which of the two it is; nothing is guessed from the first bytes.
    let builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    builder.serve_connection(io, service).await
}

/// How many connections each address has.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl Addresses {
    fn sit(self: Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut counts = lock(&self.0);
        let count = counts.entry(address).or_default();
        if *count >= MAX_PER_ADDRESS {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Seat { addresses: self, address })
    }
}

/// The place of one connection; given back when it is dropped.
struct Seat {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = lock(&self.addresses.0);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A stream that fails when nothing went either way for a while.
struct Idle<S> {
    stream: S,
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl<S> Idle<S> {
    fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, sleep: Box::pin(tokio::time::sleep(limit)) }
    }

    fn check<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            let until = Instant::now() + self.limit;
            self.sleep.as_mut().reset(until);
            return polled;
        }
        match self.sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Idle<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.check(cx, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Idle<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.check(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Flushing nothing is always ready and says nothing about the client.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_connections_and_gets_its_places_back() {
        let addresses = Arc::new(Addresses::default());
        let (one, two) = (IpAddr::from([10, 0, 2, 2]), IpAddr::from([10, 0, 2, 3]));
        let seats: Vec<_> = (0..MAX_PER_ADDRESS).map_while(|_| addresses.clone().sit(one)).collect();
        assert_eq!(seats.len(), MAX_PER_ADDRESS);
        assert!(addresses.clone().sit(one).is_none());
        assert!(addresses.clone().sit(two).is_some());
        drop(seats);
        assert!(lock(&addresses.0).is_empty());
        assert!(addresses.sit(one).is_some());
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed() {
        use tokio::io::AsyncReadExt;
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut idle = Idle::new(ours, Duration::from_millis(20));
        let error = idle.read_u8().await.expect_err("times out");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
