//! The receiving end of what services report, with the sender's pid as this side knows it.

use aios_tests::probe::{Kind, Report};
use anyhow::{Context, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, bind, recvmsg, socket_with, sockopt,
};
use rustix::process::Pid;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// A service that needs longer than this to report has not been started.
const LIMIT: Duration = Duration::from_secs(60);

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
