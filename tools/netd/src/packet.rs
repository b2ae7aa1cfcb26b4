//! A packet socket as the event loop sees it.

use crate::sys::{self, Kind};
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// No frame of interest is longer.
const LONGEST: usize = 1_600;

/// Packets of one kind on one link.
#[derive(Debug)]
pub(crate) struct Packets {
    socket: AsyncFd<OwnedFd>,
    interface: u32,
    kind: Kind,
}

impl Packets {
    /// Listen from now on.
    pub(crate) fn open(interface: u32, kind: Kind) -> io::Result<Self> {
        let socket = sys::packet_socket(interface, kind)?;
        Ok(Self { socket, interface, kind })
    }

    /// Send to everybody on the link.
    pub(crate) fn broadcast(&self, bytes: &[u8]) -> io::Result<()> {
        sys::broadcast(self.socket.get_ref(), self.interface, self.kind, bytes)
    }

    /// The next packet.
    async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut buffer = vec![0; LONGEST];
            let received = ready.try_io(|socket| {
                let (length, _) =
                    rustix::net::recv(socket, buffer.as_mut_slice(), rustix::net::RecvFlags::empty())?;
                Ok(length)
            });
            if let Ok(length) = received {
                buffer.truncate(length?);
                return Ok(buffer);
            }
        }
    }
}

/// The next packet, or an endless wait on a socket that is not open.
pub(crate) async fn receive(packets: Option<&Packets>) -> io::Result<Vec<u8>> {
    match packets {
        Some(packets) => packets.receive().await,
        None => pending().await,
    }
}
