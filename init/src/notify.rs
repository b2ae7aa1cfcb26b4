//! What services say of themselves: the socket of sd_notify(3).

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, bind, recvmsg, socket_with, sockopt,
};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Where services find it.
pub(crate) const SOCKET: &str = "/run/aios/notify";
/// A longer message is not one of ours.
const MAX_MESSAGE: usize = 4096;

/// No start is worth waiting for longer.
const LONGEST_EXTENSION: Duration = Duration::from_secs(3600);

/// What a message says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The sender, as the kernel knows it.
    pub(crate) pid: u32,
    /// `READY=1`
    pub(crate) ready: bool,
    /// `STATUS=…`
    pub(crate) status: Option<String>,
    /// `WATCHDOG=1`
    pub(crate) alive: bool,
    /// `WATCHDOG=trigger`
    pub(crate) unwell: bool,
    /// `EXTEND_TIMEOUT_USEC=…`
    pub(crate) extend: Option<Duration>,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: OwnedFd,
}

impl Notify {
    /// The socket of an earlier init.
    pub(crate) fn inherit(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Open the socket; everybody may send, the kernel says who it was.
    pub(crate) fn open() -> std::io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        sockopt::set_socket_passcred(&socket, true)?;
        let _ = std::fs::remove_file(SOCKET);
        bind(&socket, &SocketAddrUnix::new(SOCKET)?)?;
        rustix::fs::chmod(SOCKET, rustix::fs::Mode::from_bits_truncate(0o666))?;
        Ok(Self { socket })
    }

    /// For the event loop.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.socket
    }

    /// The next message that waits. A message whose sender is not known is dropped.
    pub(crate) fn next(&self) -> Option<Message> {
        loop {
            let mut buffer = [0; MAX_MESSAGE];
            // Room for the credentials and for descriptors that somebody might send: those are closed.
            let mut space = [MaybeUninit::uninit(); 1024];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let received = recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
            let pid = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmCredentials(credentials) => {
                    u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
                }
                _ => None,
            });
            if let Some(pid) = pid {
                return Some(parse(pid, buffer.get(..received.bytes).unwrap_or_default()));
            }
        }
    }
}

/// What the bytes of a message from this process say.
pub(crate) fn parse(pid: u32, bytes: &[u8]) -> Message {
    let mut message = Message { pid, ..Message::default() };
    for line in String::from_utf8_lossy(bytes).lines() {
        match line.split_once('=') {
            Some(("READY", "1")) => message.ready = true,
            Some(("STATUS", text)) => {
                message.status = Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
            }
            Some(("WATCHDOG", "1")) => message.alive = true,
            Some(("WATCHDOG", "trigger")) => message.unwell = true,
            Some(("EXTEND_TIMEOUT_USEC", text)) => {
                message.extend = text.parse().ok().map(|us| Duration::from_micros(us).min(LONGEST_EXTENSION));
            }
            // The rest of the protocol (stored descriptors, other main processes) is not served.
            _ => {}
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_and_status_are_understood_and_the_rest_is_ignored() {
        let message = parse(7, b"READY=1\nSTATUS=loading 40 %\nMAINPID=1\n");
        let status = Some("loading 40 %".into());
        assert_eq!(message, Message { pid: 7, ready: true, status, ..Message::default() });
        assert_eq!(parse(7, b"READY=0\xff"), Message { pid: 7, ..Message::default() });
        let message = parse(7, b"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=99999999999999999");
        assert_eq!((message.alive, message.extend), (true, Some(LONGEST_EXTENSION)));
        assert!(parse(7, b"WATCHDOG=trigger").unwell);
    }
}
