//! A connected `SOCK_SEQPACKET` socket for tasks.
//!
//! What can be read is waited for, and nothing else: each packet that the other end takes makes room, and to hear of that
//! would wake both ends once more in every call. Whoever finds no room asks to be told then.

use crate::{error::CallError, frame};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, recvmsg, send,
    sendmsg, socket_with, sockopt,
};
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::OnceCell;

/// How long a connection waits for a place in the queue of a server that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

thread_local! {
    /// A packet is understood as soon as it is read, so one place for it is enough for all connections of a thread.
    static PACKET: RefCell<Vec<u8>> = RefCell::new(vec![0; frame::MAX_PACKET + 1]);
}

/// What a packet was found to be.
pub(crate) enum Received<T> {
    Message(T),
    /// It was not understood; nothing of it was used.
    Refused(CallError),
    /// There will be no more.
    End,
}

/// One end of a connection.
pub(crate) struct Socket {
    reading: AsyncFd<OwnedFd>,
    /// The same socket once more, since there was no room to send.
    writing: OnceCell<AsyncFd<OwnedFd>>,
}

impl Socket {
    /// A socket that is connected.
    pub(crate) fn new(socket: OwnedFd) -> std::io::Result<Self> {
        let reading = crate::sys::watch(socket, Interest::READABLE)?;
        Ok(Self { reading, writing: OnceCell::new() })
    }

    /// Connect to the server that listens here.
    pub(crate) async fn connect(path: &Path) -> std::io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let open = |flags| {
            let flags = SocketFlags::CLOEXEC | flags;
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        };
        let socket = open(SocketFlags::NONBLOCK)?;
        match connect(&socket, &address) {
            Ok(()) => return Self::new(socket),
            Err(Errno::AGAIN) => {}
            Err(e) => return Err(e.into()),
        }
        // The queue of the server is full, and the kernel tells of a place in it only who waits there.
        let socket = open(SocketFlags::empty())?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
        let waiting = tokio::task::spawn_blocking(move || connect(&socket, &address).map(|()| socket));
        Self::new(waiting.await.map_err(std::io::Error::other)??)
    }

    /// Send a packet, and with it a descriptor. It waits while the other end does not read.
    pub(crate) async fn send(&self, packet: &[u8], file: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
        match send_now(self.reading.get_ref(), packet, file) {
            Err(Errno::AGAIN) => {}
            done => return Ok(done?),
        }
        let again = || async {
            let socket = self.reading.get_ref().try_clone()?;
            crate::sys::watch(socket, Interest::WRITABLE)
        };
        let writing = self.writing.get_or_try_init(again).await?;
        loop {
            let mut room = writing.writable().await?;
            if let Ok(done) = room.try_io(|socket| Ok(send_now(socket.get_ref(), packet, file)?)) {
                return done;
            }
        }
    }

    /// Wait for a message. Descriptors are taken only from somebody who is trusted with that.
    pub(crate) async fn receive<T: DeserializeOwned>(
        &self,
        understand: impl Fn(&[u8], Option<OwnedFd>) -> Result<T, CallError>,
        files: bool,
    ) -> std::io::Result<Received<T>> {
        // One task at a time reads, so the cheaper of tokio's ways to wait is enough: it keeps one waker.
        std::future::poll_fn(|context| {
            loop {
                let mut news = ready!(self.reading.poll_read_ready(context))?;
                if let Ok(done) = news.try_io(|socket| Ok(receive_now(socket.get_ref(), &understand, files)?))
                {
                    return Poll::Ready(done);
                }
            }
        })
        .await
    }

    /// Whoever waits for a packet hears that there will be no more.
    pub(crate) fn close(&self) {
        // One that the other end has closed is closed already.
        let _ = rustix::net::shutdown(self.reading.get_ref(), rustix::net::Shutdown::Both);
    }
}

fn send_now(socket: impl AsFd, packet: &[u8], file: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    if file.is_none() {
        return rustix::io::retry_on_intr(|| send(&socket, packet, flags)).map(drop);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let file = file.as_slice();
    if !file.is_empty() && !control.push(SendAncillaryMessage::ScmRights(file)) {
        return Err(Errno::NOBUFS);
    }
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(packet)], &mut control, flags)).map(drop)
}

fn receive_now<T>(
    socket: impl AsFd,
    understand: impl Fn(&[u8], Option<OwnedFd>) -> Result<T, CallError>,
    files: bool,
) -> Result<Received<T>, Errno> {
    PACKET.with_borrow_mut(|buffer| {
        let (length, file) = loop {
            let received = if files { with_file(&socket, buffer) } else { alone(&socket, buffer) };
            match received {
                // The other end was closed before it read all; what it had said before comes next. Told once.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                done => break done?,
            }
        };
        if length == 0 {
            return Ok(Received::End);
        }
        let understood = match buffer.get(..length).filter(|_| length <= frame::MAX_PACKET) {
            Some(packet) => understand(packet, file),
            None => Err(CallError::invalid(format!(
                "the packet is longer than {} bytes; nothing of it was used",
                frame::MAX_PACKET
            ))),
        };
        Ok(understood.map_or_else(Received::Refused, Received::Message))
    })
}

/// A packet, as much of it as there is room for, and its whole length. The kernel closes what came with it.
fn alone(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    let (_, length) = recv(socket, buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
    Ok((length, None))
}

/// The same with a descriptor that came with it.
fn with_file(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    // The kernel closes what there is no room for.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let received = recvmsg(socket, &mut parts, &mut control, flags)?;
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok((received.bytes, file))
}
