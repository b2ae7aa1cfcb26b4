//! What a hostile client does to the broker's socket.

use aios_abi::call::{ClientFrame, Meta, Request};
use aios_abi::frame;
use aios_abi::tool::ToolRequest;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recv, send, sendmsg, socket_with,
};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Connections that it tries to hold.
pub(crate) const CONNECTIONS: usize = 10_000;

/// Everything at once, until the input is closed; says when it has begun.
pub(crate) fn all(socket: &Path) {
    let kinds: [fn(&SocketAddrUnix); 6] = [garbage, replays, unread, descriptors, cut_off, held];
    for kind in kinds {
        let address = SocketAddrUnix::new(socket).expect("a path");
        std::thread::spawn(move || {
            loop {
                kind(&address);
            }
        });
    }
    // Each has done something by then, or the broker is too slow to notice it at all.
    std::thread::sleep(Duration::from_millis(300));
    std::io::stdout().write_all(b"begun\n").expect("is heard");
    let _ = std::io::stdin().read(&mut [0]);
}

/// A connection that waits for nothing. One that is refused is tried again in a moment: the queue is full.
fn connection(address: &SocketAddrUnix) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()?;
    match connect(&socket, address) {
        Ok(()) => Some(socket),
        Err(_) => {
            std::thread::sleep(Duration::from_millis(1));
            None
        }
    }
}

fn put(socket: &OwnedFd, packet: &[u8]) -> bool {
    loop {
        match send(socket, packet, SendFlags::NOSIGNAL) {
            Ok(_) => return true,
            Err(Errno::AGAIN) => {
                // The broker reads when it wants to; its answers are taken meanwhile.
                while recv(socket, &mut [0; 512][..], RecvFlags::DONTWAIT).is_ok_and(|(length, _)| length > 0)
                {
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return false,
        }
    }
}

fn request(id: u64) -> Vec<u8> {
    let tool = aios_toold::tool::by_name("time.now").expect("a tool").number;
    let body = ToolRequest::Call { tool, args: "{}".into(), dry_run: false };
    frame::encode(&ClientFrame::Request(Request { id, meta: Meta::why("flood"), body })).expect("encodes")
}

/// Halves of frames, packets that are too long, and any bytes.
fn garbage(address: &SocketAddrUnix) {
    let Some(socket) = connection(address) else { return };
    let whole = request(1);
    let long = vec![frame::VERSION; frame::MAX_PACKET + 1];
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for n in 0..200_usize {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let bytes: Vec<u8> = noise.to_le_bytes().repeat(n % 40 + 1);
        let packet = match n % 3 {
            0 => &whole[..n % whole.len() + 1],
            1 => &bytes,
            _ => &long,
        };
        if !put(&socket, packet) {
            return;
        }
    }
}

/// The same id again and again, and cancels of what was never asked.
fn replays(address: &SocketAddrUnix) {
    let Some(socket) = connection(address) else { return };
    for n in 0..500 {
        let cancel = frame::encode(&ClientFrame::<ToolRequest>::Cancel { id: n * 7 }).expect("encodes");
        if !put(&socket, &request(7)) || !put(&socket, &cancel) {
            return;
        }
    }
}

/// Thousands of requests whose answers nobody reads.
fn unread(address: &SocketAddrUnix) {
    let Some(socket) = connection(address) else { return };
    for id in 0..5_000 {
        match send(&socket, &request(id), SendFlags::NOSIGNAL) {
            Ok(_) => {}
            // Now the broker has no room for its answers, and for no question of ours.
            Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

/// Descriptors that nobody asked for, up to as many as the kernel takes at once.
fn descriptors(address: &SocketAddrUnix) {
    const MOST: usize = 253;
    let Some(socket) = connection(address) else { return };
    let null = std::fs::File::open("/dev/null").expect("opens");
    let own = connection(address);
    for count in [1, 2, 17, MOST] {
        let mut all: Vec<BorrowedFd<'_>> = vec![null.as_fd(); count - 1];
        // Also the end of another connection, which must not live on in the broker.
        all.push(own.as_ref().map_or(null.as_fd(), AsFd::as_fd));
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&all)), "there is room");
        let packet = request(count as u64);
        let _ = sendmsg(&socket, &[IoSlice::new(&packet)], &mut control, SendFlags::NOSIGNAL);
    }
    let _ = recv(&socket, &mut [0; 512][..], RecvFlags::empty());
}

/// Asked, and gone before the answer.
fn cut_off(address: &SocketAddrUnix) {
    let Some(socket) = connection(address) else { return };
    let tool = aios_toold::tool::by_name("disk.usage").expect("a tool").number;
    let body = ToolRequest::Call { tool, args: "{}".into(), dry_run: false };
    let asked = Request { id: 1, meta: Meta::why("flood"), body };
    put(&socket, &frame::encode(&ClientFrame::Request(asked)).expect("encodes"));
}

/// As many connections as there can be, all held.
fn held(address: &SocketAddrUnix) {
    let all: Vec<Option<OwnedFd>> = (0..CONNECTIONS).map(|_| connection(address)).collect();
    for socket in all.iter().flatten() {
        let _ = send(socket, &request(1), SendFlags::NOSIGNAL);
    }
}
