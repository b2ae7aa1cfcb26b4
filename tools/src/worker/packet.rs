//! Packets between broker, workshop and worker: a frame each; a long one travels as a sealed memfd.

use aios_abi::{CallError, frame};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// First byte of a packet whose frame is in the memfd that comes first: no frame has this version.
const LONG: u8 = 0xff;
/// Descriptors with one packet.
const DESCRIPTORS: usize = 2;

/// Send a message, and with it at most one descriptor.
pub(super) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), CallError> {
    let frame = frame::encode(message)?;
    if frame.len() <= frame::MAX_PACKET {
        return send_packet(socket.as_fd(), &frame, descriptor.as_slice());
    }
    if frame.len() > frame::MAX_LARGE {
        return Err(CallError::failed(format!("a message of {} bytes is too long", frame.len())));
    }
    let file = aios_abi::sys::sealed_memfd(&frame)?;
    let mut head = vec![LONG];
    head.extend_from_slice(&(frame.len() as u64).to_le_bytes());
    let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(file.as_fd()).chain(descriptor).collect();
    send_packet(socket.as_fd(), &head, &descriptors)
}

fn send_packet(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), CallError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(CallError::failed("too many descriptors for one packet"));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => {
                return Err(CallError::unavailable("nobody is at the other end any more"));
            }
            Err(e) => return Err(std::io::Error::from(e).into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Wait for a message, and the descriptor that came with it. `None` when there will be no more.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> Result<Option<(T, Option<OwnedFd>)>, CallError> {
    // As much room as the packet needs: touching more costs a worker more than asking.
    let Some(length) = waiting(socket.as_fd())? else { return Ok(None) };
    let mut buffer = vec![0; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        match recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(e) => return Err(std::io::Error::from(e).into()),
            Ok(received) => break received,
        }
    };
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let mut descriptors: Vec<OwnedFd> = descriptors.flatten().collect();
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(CallError::invalid("a packet is longer than any that is sent"));
    }
    match buffer.get(..received.bytes).unwrap_or_default() {
        [] => Ok(None),
        [LONG, length @ ..] => {
            let length = length.try_into().map(u64::from_le_bytes);
            let (Ok(length), false) = (length, descriptors.is_empty()) else {
                return Err(CallError::invalid("a long message came without its memory file"));
            };
            let bytes = aios_abi::sys::read_sealed(descriptors.remove(0), length)?;
            Ok(Some((frame::decode(&bytes)?, descriptors.pop())))
        }
        bytes => Ok(Some((frame::decode(bytes)?, descriptors.pop()))),
    }
}

/// Wait for a packet; its length.
fn waiting(socket: BorrowedFd<'_>) -> Result<Option<usize>, CallError> {
    loop {
        let mut nothing = [0; 0];
        match rustix::net::recv(socket, &mut nothing[..], RecvFlags::PEEK | RecvFlags::TRUNC) {
            // Its end was closed with a packet of ours unread. The kernel says so once, before it hands out what was sent
            // until then: the last word of a worker that was killed while it was answered.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(e) => return Err(std::io::Error::from(e).into()),
            Ok((_, 0)) => return Ok(None),
            Ok((_, length)) if length > frame::MAX_PACKET => {
                return Err(CallError::invalid("a packet is longer than any that is sent"));
            }
            Ok((_, length)) => return Ok(Some(length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair")
    }

    #[test]
    fn long_and_short_messages_arrive_with_their_descriptor() {
        let (ours, theirs) = pair();
        for length in [0, 10, 59_000, 61_000, 3_000_000] {
            let text = "x".repeat(length);
            send(&ours, &text, Some(ours.as_fd())).expect("is sent");
            let (got, descriptor) = receive::<String>(&theirs).expect("arrives").expect("a message");
            assert_eq!((got.len(), descriptor.is_some()), (length, true));
        }
        drop(ours);
        assert!(receive::<String>(&theirs).expect("an end").is_none());
    }

    #[test]
    fn the_last_word_is_heard_although_an_answer_was_never_read() {
        let (ours, theirs) = pair();
        send(&ours, &"an answer", None).expect("is sent");
        send(&theirs, &"the last word", None).expect("is sent");
        drop(theirs);
        let (word, _) = receive::<String>(&ours).expect("arrives").expect("a message");
        assert_eq!(word, "the last word");
        assert!(receive::<String>(&ours).expect("an end").is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..200)) {
            let (ours, theirs) = pair();
            send_packet(ours.as_fd(), &bytes, &[]).expect("is sent");
            let _ = receive::<super::super::Order>(&theirs);
        }
    }
}
