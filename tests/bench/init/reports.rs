//! What services report (`probe.c`), and the receiving end of it, with the sender's pid as this side knows it.

use anyhow::{Context, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, bind, recvmsg, socket_with, sockopt,
};
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// A service that needs longer than this to report has not been started.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the reports are sent, as those inside see it.
pub(super) const REPORTS: &str = "/bench/reports";

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The supervisor's program is about to be executed.
    Executes,
    /// A service's first instruction.
    Began,
    /// The service has told its supervisor that it is ready.
    Ready,
}

/// What one datagram says: the kind as a byte, the time in nanoseconds as eight, the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) kind: Kind,
    /// By CLOCK_MONOTONIC.
    pub(super) at: Duration,
    /// The service.
    pub(super) name: String,
}

impl Report {
    pub(super) fn bytes(kind: Kind, at: Duration, name: &str) -> Vec<u8> {
        let nanoseconds = at.as_nanos() as u64;
        [&[kind as u8], &nanoseconds.to_ne_bytes()[..], name.as_bytes()].concat()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first()?;
        let (nanoseconds, name) = rest.split_first_chunk()?;
        let kind =
            [Kind::Executes, Kind::Began, Kind::Ready].into_iter().find(|kind| *kind as u8 == *head)?;
        let at = Duration::from_nanos(u64::from_ne_bytes(*nanoseconds));
        Some(Self { kind, at, name: String::from_utf8_lossy(name).into_owned() })
    }
}

/// The clock of the reports.
pub(super) fn now() -> Result<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::Monotonic))?)
}

pub(super) struct Reports(OwnedFd);

impl Reports {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_passcred(&socket, true)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LIMIT))?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(socket))
    }

    pub(super) fn next(&self) -> Result<(Pid, Report)> {
        loop {
            let mut buffer = [0; 256];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let received = recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
                .context("a service did not report in time")?;
            let pid = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
                _ => None,
            });
            if let Some(found) = pid.zip(Report::parse(&buffer[..received.bytes])) {
                return Ok(found);
            }
        }
    }

    /// The next report of this kind of this service.
    pub(super) fn wait(&self, kind: Kind, name: &str) -> Result<(Pid, Report)> {
        loop {
            let (pid, report) = self.next()?;
            if report.kind == kind && report.name == name {
                return Ok((pid, report));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        let report = Report { kind: Kind::Ready, at: Duration::new(5, 7), name: "s0001".into() };
        assert_eq!(Report::parse(&Report::bytes(report.kind, report.at, &report.name)), Some(report));
        assert_eq!(Report::parse(b"\x09"), None);
    }
}
