//! Watching a descriptor with tokio, which takes the caller's word that the descriptor stays open.
//!
//! This is the only module of the crate with `unsafe`.

use rustix::event::{Timespec, epoll};
use std::io::Result;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Changes of a descriptor's readiness, each told once.
#[derive(Debug)]
pub(crate) struct Edge(AsyncFd<OwnedFd>);

impl Edge {
    pub(crate) fn new(fd: &OwnedFd, flags: epoll::EventFlags) -> Result<Self> {
        let inner = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&inner, fd, epoll::EventData::new_u64(0), flags | epoll::EventFlags::ET)?;
        // SAFETY: the `AsyncFd` owns the descriptor, nothing in this module replaces it, and nobody
        // outside of this module reaches it; so it stays open and the same until the `AsyncFd` is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) }?;
        Ok(Self(watched))
    }

    /// Consume the change that made the inner epoll readable.
    fn consume(inner: &OwnedFd) -> Result<()> {
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 1];
        epoll::wait(inner, &mut events, Some(&Timespec::default()))?;
        Ok(())
    }

    pub(crate) async fn changed(&self) -> Result<()> {
        let mut guard = self.0.readable().await?;
        Self::consume(self.0.get_ref())?;
        guard.clear_ready();
        Ok(())
    }

    pub(super) fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut guard = ready!(self.0.poll_read_ready(cx))?;
        Self::consume(self.0.get_ref())?;
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}
