//! A virtio port as a pair of byte streams.
//!
//! The driver (`drivers/char/virtio_console.c`) has habits that a plain `AsyncFd` does not survive:
//! while nobody is connected on the host, `poll` reports a hang-up at once and for ever, `read` gives
//! zero bytes, and `write` would block. tokio takes a hang-up as final, so the descriptor would stay
//! "ready" and a reader would spin. Here each half therefore watches the port through an epoll
//! instance of its own in edge-triggered mode, and tokio watches *that*: it becomes readable once per
//! change (the driver wakes its wait queue for data, for room and when the host connects or leaves),
//! and is quiet in between.

use super::sys::Edge;
use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How often a port without a host is looked at even though the driver reports no change. A wake-up
/// that got lost must not cost the engine for ever; once in ten seconds costs nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// An open port. The driver lets one process open it once, so it stays open.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    fd: Arc<OwnedFd>,
}

impl Port {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(Self { fd: Arc::new(rustix::fs::open(path, flags, Mode::empty())?) })
    }

    /// Wait until somebody is connected on the host.
    pub(crate) async fn connected(&self) -> Result<()> {
        let edge = Edge::new(&self.fd, epoll::EventFlags::OUT)?;
        while self.is_hung_up()? {
            let _ = tokio::time::timeout(LOOK_AGAIN, edge.changed()).await;
        }
        Ok(())
    }

    fn is_hung_up(&self) -> Result<bool> {
        let mut fds = [PollFd::new(&*self.fd, PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec::default()))?;
        Ok(fds[0].revents().contains(PollFlags::HUP))
    }

    /// Both directions. The reader ends when the host hangs up.
    pub(crate) fn halves(&self) -> Result<(Half, Half)> {
        let half = |flags| Edge::new(&self.fd, flags).map(|edge| Half { fd: self.fd.clone(), edge });
        Ok((half(epoll::EventFlags::IN)?, half(epoll::EventFlags::OUT)?))
    }
}

/// One direction of a port.
#[derive(Debug)]
pub(crate) struct Half {
    fd: Arc<OwnedFd>,
    edge: Edge,
}

impl AsyncRead for Half {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        loop {
            match rustix::io::read(&*self.fd, buffer.initialize_unfilled()) {
                Ok(length) => {
                    // Zero bytes: nobody is connected any more.
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) => ready!(self.edge.poll_changed(cx))?,
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        loop {
            match rustix::io::write(&*self.fd, bytes) {
                Ok(0) => return Poll::Ready(Err(Error::from(std::io::ErrorKind::WriteZero))),
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(Errno::AGAIN) => ready!(self.edge.poll_changed(cx))?,
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A socket pair hangs up as a port does, except that it never comes back.
    fn pair() -> (Port, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("nonblocking");
        (Port { fd: Arc::new(ours.into()) }, theirs)
    }

    #[tokio::test]
    async fn bytes_pass_in_both_directions_and_a_hang_up_is_the_end() {
        use std::io::{Read, Write};
        let (port, mut host) = pair();
        port.connected().await.expect("is connected");
        let (mut reader, mut writer) = port.halves().expect("halves");
        writer.write_all(b"ping").await.expect("writes");
        let mut buffer = [0; 4];
        host.read_exact(&mut buffer).expect("reads");
        assert_eq!(&buffer, b"ping");
        let waiting = tokio::spawn(async move {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await.map(|_| all)
        });
        tokio::task::yield_now().await;
        host.write_all(b"pong").expect("writes");
        drop(host);
        assert_eq!(waiting.await.expect("ends").expect("reads"), b"pong");
        assert!(port.is_hung_up().expect("polls"));
    }

    #[tokio::test]
    async fn a_port_without_a_host_is_waited_for_without_spinning() {
        let (port, host) = pair();
        drop(host);
        let worked = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            Duration::try_from(time).expect("a time")
        };
        let (before, wait) = (worked(), Duration::from_millis(500));
        assert!(tokio::time::timeout(wait, port.connected()).await.is_err(), "nobody connects");
        assert!(worked() - before < wait / 4, "it spins");
    }
}
