//! The one place where PID 1 waits.

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Signal,
    Control,
    Notify,
    Kernel,
    Uevent,
    /// The console takes more.
    Console,
    /// A connection to the control socket.
    Connection(u32),
    /// A power button.
    Button(u32),
    /// A service's output.
    Output(u32),
    /// A service's report about its start.
    Report(u32),
    /// The `cgroup.events` of some services.
    Cgroups,
    /// Where a service writes a line when it is ready.
    Ready(u32),
    /// A socket of a service that somebody may knock at.
    Knock(u32),
    /// Somebody set the clock.
    Clock,
    /// The output of a command.
    Command(u32),
}

impl Token {
    fn encode(self) -> u64 {
        let (kind, index) = match self {
            Self::Signal => (0, 0),
            Self::Control => (1, 0),
            Self::Notify => (2, 0),
            Self::Kernel => (3, 0),
            Self::Uevent => (4, 0),
            Self::Console => (10, 0),
            Self::Connection(n) => (5, n),
            Self::Button(n) => (6, n),
            Self::Output(n) => (7, n),
            Self::Report(n) => (8, n),
            Self::Cgroups => (9, 0),
            Self::Ready(n) => (11, n),
            Self::Knock(n) => (12, n),
            Self::Clock => (13, 0),
            Self::Command(n) => (14, n),
        };
        (kind << 32) | u64::from(index)
    }

    fn decode(word: u64) -> Option<Self> {
        let index = u32::try_from(word & 0xffff_ffff).ok()?;
        Some(match word >> 32 {
            0 => Self::Signal,
            1 => Self::Control,
            2 => Self::Notify,
            3 => Self::Kernel,
            4 => Self::Uevent,
            5 => Self::Connection(index),
            6 => Self::Button(index),
            7 => Self::Output(index),
            8 => Self::Report(index),
            9 => Self::Cgroups,
            10 => Self::Console,
            11 => Self::Ready(index),
            12 => Self::Knock(index),
            13 => Self::Clock,
            14 => Self::Command(index),
            _ => return None,
        })
    }
}

/// epoll(7), level-triggered.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Report when this can be read; that it is watched already is no error. Closing the descriptor ends it.
    pub(crate) fn readable(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.encode());
        match epoll::add(&self.epoll, &fd, data, EventFlags::IN) {
            Err(Errno::EXIST) => Ok(epoll::modify(&self.epoll, fd, data, EventFlags::IN)?),
            other => Ok(other?),
        }
    }

    /// Report also, or no longer, when this can be written.
    pub(crate) fn writable(&self, fd: impl AsFd, token: Token, wanted: bool) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token.encode()), flags)?)
    }

    /// Report when this can be written.
    pub(crate) fn write_only(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.encode()), EventFlags::OUT)?)
    }

    /// Report nothing of this any more.
    pub(crate) fn forget(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Wait until something is ready, or at most this long.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> io::Result<Vec<Token>> {
        let timeout = limit.and_then(|limit| rustix::event::Timespec::try_from(limit).ok());
        let mut events = Vec::with_capacity(64);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(events.iter().filter_map(|event: &epoll::Event| Token::decode(event.data.u64())).collect())
    }
}
