//! The control socket: connections, packets and answers. What is asked is decided elsewhere.

use crate::logs::Filter;
use crate::poll::{Poller, Token};
use aios_abi::call::{ClientFrame, Meta, Request, ServerFrame};
use aios_abi::service::{InitEvent, InitReply, InitRequest, LogLine, ServiceChange};
use aios_abi::who::{Peer, uid};
use aios_abi::{CallError, ErrorCode, frame};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, bind, listen, recv, sendmsg, socket_with, sockopt,
};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// Connections at once; the next one is closed at once.
const MAX_CONNECTIONS: usize = 512;
/// Users that may change something, and always find a place: init's own processes and toold, which decides for
/// everybody else.
pub(crate) const MANAGERS: [u32; 2] = [uid::ROOT, uid::TOOLD];
/// Those of all other users together.
const MAX_OF_OTHERS: usize = 384;
/// Those of one other user.
const MAX_OF_ONE: usize = 64;
/// Requests of one connection that may be under way.
const MAX_OPEN: usize = 64;
/// Packets that wait for a client that does not read; log lines beyond that are left out.
const MAX_WAITING: usize = 512;
/// Packets that are read from one connection before the others have their turn.
const TURN: usize = 16;

type Frame = ServerFrame<InitEvent, InitReply>;

/// What a request under way is sent.
#[derive(Debug, Clone)]
enum Subscription {
    /// One reply, later.
    Nothing,
    /// Lines of a log.
    Lines(Filter),
    /// Changes of services.
    Changes,
}

/// Something that a client wants.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) connection: u32,
    pub(crate) peer: Peer,
    pub(crate) id: u64,
    /// `None` takes back the request with this id.
    pub(crate) request: Option<(Meta, InitRequest)>,
}

#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    peer: Peer,
    waiting: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    /// Requests under way.
    open: BTreeMap<u64, Subscription>,
    /// Log lines that were left out because the client is slow.
    skipped: u64,
}

/// The socket and its connections.
#[derive(Debug)]
pub(crate) struct Control {
    listener: OwnedFd,
    connections: HashMap<u32, Connection>,
    last: u32,
}

impl Control {
    /// Open `path`; everybody may connect, the kernel says who it is.
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let _ = std::fs::remove_file(path);
        bind(&listener, &SocketAddrUnix::new(path)?)?;
        rustix::fs::chmod(path, rustix::fs::Mode::from_bits_truncate(0o666))?;
        listen(&listener, 64)?;
        Ok(Self { listener, connections: HashMap::new(), last: 0 })
    }

    /// The socket of an earlier init; its connections are gone.
    pub(crate) fn inherit(listener: OwnedFd) -> Self {
        Self { listener, connections: HashMap::new(), last: 0 }
    }

    /// For the event loop.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.listener
    }

    /// Take the connections that wait.
    pub(crate) fn accept(&mut self, poller: &Poller) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(fd) = accept_with(&self.listener, flags) {
            let Ok(credentials) = sockopt::socket_peercred(&fd) else { continue };
            if !self.has_place(credentials.uid.as_raw()) {
                continue;
            }
            self.last = self.last.wrapping_add(1);
            if self.connections.contains_key(&self.last) {
                continue;
            }
            let peer = Peer {
                pid: credentials.pid.as_raw_nonzero().get().unsigned_abs(),
                uid: credentials.uid.as_raw(),
                gid: credentials.gid.as_raw(),
            };
            if poller.readable(&fd, Token::Connection(self.last)).is_ok() {
                let connection =
                    Connection { fd, peer, waiting: VecDeque::new(), open: BTreeMap::new(), skipped: 0 };
                self.connections.insert(self.last, connection);
            }
        }
    }

    fn has_place(&self, uid: u32) -> bool {
        let others = |c: &&Connection| !MANAGERS.contains(&c.peer.uid);
        let of_others = self.connections.values().filter(others).count();
        let own = self.connections.values().filter(|c| c.peer.uid == uid).count();
        let fair = MANAGERS.contains(&uid) || (of_others < MAX_OF_OTHERS && own < MAX_OF_ONE);
        fair && self.connections.len() < MAX_CONNECTIONS
    }

    /// A connection can be read or written.
    pub(crate) fn serve(&mut self, key: u32, poller: &Poller) -> Vec<Incoming> {
        self.flush(key, poller);
        let mut incoming = Vec::new();
        let mut buffer = vec![0; frame::MAX_PACKET + 1];
        for _ in 0..TURN {
            let Some(connection) = self.connections.get_mut(&key) else { break };
            let length = match recv(&connection.fd, &mut buffer[..], RecvFlags::TRUNC) {
                // A client that has gone, one way or the other.
                Ok((_, 0)) => {
                    self.connections.remove(&key);
                    break;
                }
                Ok((_, length)) => length,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => {
                    self.connections.remove(&key);
                    break;
                }
            };
            let decoded = match buffer.get(..length) {
                Some(packet) if length <= frame::MAX_PACKET => frame::decode(packet),
                _ => Err(CallError::invalid(format!(
                    "the packet has {length} bytes, at most {} are allowed; nothing of it was used",
                    frame::MAX_PACKET
                ))),
            };
            match decoded {
                Ok(ClientFrame::Cancel { id }) => {
                    if connection.open.contains_key(&id) {
                        incoming.push(Incoming { connection: key, peer: connection.peer, id, request: None });
                    }
                }
                Ok(ClientFrame::Request(Request { id, meta, body })) => {
                    if let Err(error) = connection.admit(id) {
                        self.send(key, &Frame::Reply { id, result: Err(error) }, poller);
                        continue;
                    }
                    let request = Some((meta, body));
                    incoming.push(Incoming { connection: key, peer: connection.peer, id, request });
                }
                Err(error) => self.send(key, &Frame::Refused { error }, poller),
            }
        }
        incoming
    }

    /// Answer a request. Answers to clients that have gone, or that took it back, are dropped.
    pub(crate) fn reply(&mut self, key: u32, id: u64, result: Result<InitReply, CallError>, poller: &Poller) {
        let known = self.connections.get_mut(&key).is_some_and(|c| c.open.remove(&id).is_some());
        if known {
            self.send(key, &Frame::Reply { id, result }, poller);
        }
    }

    /// Whether this connection is open.
    pub(crate) fn knows(&self, key: u32) -> bool {
        self.connections.contains_key(&key)
    }

    /// From now on new lines that this filter takes belong to the request.
    pub(crate) fn follow(&mut self, key: u32, id: u64, filter: Filter) {
        if let Some(open) = self.connections.get_mut(&key).and_then(|c| c.open.get_mut(&id)) {
            *open = Subscription::Lines(filter);
        }
    }

    /// From now on changes of services belong to the request.
    pub(crate) fn watch(&mut self, key: u32, id: u64) {
        if let Some(open) = self.connections.get_mut(&key).and_then(|c| c.open.get_mut(&id)) {
            *open = Subscription::Changes;
        }
    }

    /// Send a change to one request. A client that does not read loses its connection: it could not know
    /// what it missed.
    pub(crate) fn change(&mut self, key: u32, id: u64, change: ServiceChange, poller: &Poller) {
        if self.connections.get(&key).is_some_and(|c| c.waiting.len() >= MAX_WAITING) {
            self.connections.remove(&key);
            return;
        }
        self.send(key, &Frame::Event { id, event: InitEvent::Service(change) }, poller);
    }

    /// Whether anybody watches services.
    pub(crate) fn watched(&self) -> bool {
        self.connections.values().any(|c| c.open.values().any(|s| matches!(s, Subscription::Changes)))
    }

    /// Give a change to all who watch.
    pub(crate) fn announce(&mut self, change: &ServiceChange, poller: &Poller) {
        let watchers: Vec<(u32, u64)> = self
            .connections
            .iter()
            .flat_map(|(key, c)| c.open.iter().map(move |(id, wants)| (*key, *id, wants)))
            .filter_map(|(key, id, wants)| matches!(wants, Subscription::Changes).then_some((key, id)))
            .collect();
        for (key, id) in watchers {
            self.change(key, id, change.clone(), poller);
        }
    }

    /// Send a line to one request, and say how many were left out before it.
    pub(crate) fn event(&mut self, key: u32, id: u64, line: &LogLine, poller: &Poller) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if connection.waiting.len() >= MAX_WAITING {
            connection.skipped += 1;
            return;
        }
        let skipped = std::mem::take(&mut connection.skipped);
        if skipped > 0 {
            let text = format!("{skipped} lines are left out here: they came faster than they were read");
            let note = LogLine { unit: crate::logs::INIT.to_owned(), priority: 4, text, ..line.clone() };
            self.send(key, &Frame::Event { id, event: InitEvent::Line(note) }, poller);
        }
        self.send(key, &Frame::Event { id, event: InitEvent::Line(line.clone()) }, poller);
    }

    /// Give new lines to all who follow them.
    pub(crate) fn publish(&mut self, lines: &[LogLine], poller: &Poller) {
        let followers: Vec<(u32, u64, Filter)> = self
            .connections
            .iter()
            .flat_map(|(key, c)| c.open.iter().map(move |(id, wants)| (*key, *id, wants)))
            .filter_map(|(key, id, wants)| match wants {
                Subscription::Lines(filter) => Some((key, id, filter.clone())),
                _ => None,
            })
            .collect();
        for (key, id, filter) in followers {
            for line in lines.iter().filter(|line| filter.takes(line)) {
                self.event(key, id, line, poller);
            }
        }
    }

    fn send(&mut self, key: u32, frame: &Frame, poller: &Poller) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let packet = packet_of(frame).or_else(|error| {
            let id = match frame {
                Frame::Reply { id, .. } | Frame::Event { id, .. } | Frame::Large { id, .. } => *id,
                Frame::Refused { .. } => 0,
            };
            packet_of(&Frame::Reply { id, result: Err(error) })
        });
        let Ok(packet) = packet else { return };
        connection.waiting.push_back(packet);
        // Replies are as many as requests, and those are bounded; a client that floods us with packets
        // that are refused is not worth more memory.
        if connection.waiting.len() > 2 * MAX_WAITING {
            self.connections.remove(&key);
            return;
        }
        self.flush(key, poller);
    }

    fn flush(&mut self, key: u32, poller: &Poller) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let had = !connection.waiting.is_empty();
        while let Some((packet, fd)) = connection.waiting.front() {
            match send_packet(&connection.fd, packet, fd.as_ref()) {
                Ok(()) => drop(connection.waiting.pop_front()),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => {
                    self.connections.remove(&key);
                    return;
                }
            }
        }
        if had
            && poller
                .writable(&connection.fd, Token::Connection(key), !connection.waiting.is_empty())
                .is_err()
        {
            self.connections.remove(&key);
        }
    }
}

impl Connection {
    fn admit(&mut self, id: u64) -> Result<(), CallError> {
        if self.open.len() >= MAX_OPEN {
            let text = format!("{MAX_OPEN} requests of this connection are under way; wait for one of them");
            return Err(CallError::new(ErrorCode::Busy, text));
        }
        if self.open.contains_key(&id) {
            return Err(CallError::invalid(format!(
                "a request with id {id} is under way on this connection"
            )));
        }
        self.open.insert(id, Subscription::Nothing);
        Ok(())
    }
}

/// A reply that is too long for a packet travels in a memory file.
fn packet_of(message: &Frame) -> Result<(Vec<u8>, Option<OwnedFd>), CallError> {
    let packet = frame::encode(message)?;
    if packet.len() <= frame::MAX_PACKET {
        return Ok((packet, None));
    }
    let Frame::Reply { id, .. } = message else {
        return Err(CallError::failed("an event is longer than a packet"));
    };
    let memory = aios_abi::sys::sealed_memfd(&packet)?;
    let large = Frame::Large { id: *id, len: packet.len() as u64 };
    Ok((frame::encode(&large)?, Some(memory)))
}

fn send_packet(socket: &OwnedFd, packet: &[u8], fd: Option<&OwnedFd>) -> Result<(), rustix::io::Errno> {
    let mut space = [MaybeUninit::uninit(); 64];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(rustix::io::Errno::NOBUFS);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(packet)], &mut control, flags).map(|_| ())
}
