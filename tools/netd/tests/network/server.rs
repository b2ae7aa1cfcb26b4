//! A DHCP server that has one address to give at a time.

use crate::namespace::Namespace;
use dhcproto::v4::{DhcpOption as O, Message, MessageType, Opcode, OptionCode as C};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

/// The server's own address.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Seconds: so short that a test sees the end of it.
const LEASE: u32 = 10;

/// It serves as long as this value lives.
pub(crate) struct Server {
    heard: mpsc::Receiver<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serve a link's other end: the first of these addresses, the next one after each refusal.
    pub(crate) fn start(network: &Namespace, link: &'static str, addresses: &[Ipv4Addr]) -> Self {
        let (say, heard) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let addresses = addresses.to_vec();
        // Bound before this returns, so that nothing is missed.
        let socket = network.run(|| {
            let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).expect("port 67");
            socket.set_broadcast(true).expect("broadcasts");
            socket.set_nonblocking(true).expect("does not block");
            socket
        });
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let socket = UdpSocket::from_std(socket).expect("a socket");
                socket.bind_device(Some(link.as_bytes())).expect("binds to the link");
                tokio::select! {
                    () = serve(socket, addresses, say) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { heard, stop: Some(stop), thread: Some(thread) }
    }

    /// Wait until a client says this; what it says before does not matter.
    pub(crate) fn hears(&self, expected: &str) {
        let mut heard = Vec::new();
        while let Ok(message) = self.heard.recv_timeout(Duration::from_secs(30)) {
            if message == expected {
                return;
            }
            heard.push(message);
        }
        panic!("the client never said {expected:?}, but {heard:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(socket: UdpSocket, addresses: Vec<Ipv4Addr>, say: mpsc::Sender<String>) {
    let mut addresses = addresses.into_iter();
    let mut current = addresses.next().expect("an address to give");
    let mut buffer = [0; 1_500];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.expect("receives");
        let request = Message::decode(&mut Decoder::new(&buffer[..length])).expect("a client's message");
        let kind = request.opts().msg_type().expect("a message type");
        let _ = say.send(name(&request, kind, from));
        let answer = match kind {
            MessageType::Discover => MessageType::Offer,
            MessageType::Request => MessageType::Ack,
            _ => {
                current = addresses.next().expect("another address to give");
                continue;
            }
        };
        let to = if request.ciaddr().is_unspecified() { Ipv4Addr::BROADCAST } else { request.ciaddr() };
        socket.send_to(&reply(&request, answer, current), (to, 68)).await.expect("sends");
    }
}

/// What it is, by the fields of RFC 2131, table 4.
fn name(request: &Message, kind: MessageType, from: SocketAddr) -> String {
    match kind {
        MessageType::Discover => "discover".into(),
        MessageType::Decline => "decline".into(),
        MessageType::Request if request.opts().contains(C::ServerIdentifier) => "select".into(),
        MessageType::Request if request.opts().contains(C::RequestedIpAddress) => "reboot".into(),
        MessageType::Request if from.ip() == IpAddr::V4(request.ciaddr()) => "renew".into(),
        MessageType::Request => "rebind".into(),
        other => format!("{other:?}"),
    }
}

fn reply(request: &Message, kind: MessageType, address: Ipv4Addr) -> Vec<u8> {
    let mut reply = Message::default();
    reply
        .set_opcode(Opcode::BootReply)
        .set_xid(request.xid())
        .set_chaddr(request.chaddr())
        .set_yiaddr(address);
    for option in [
        O::MessageType(kind),
        O::ServerIdentifier(SERVER),
        O::AddressLeaseTime(LEASE),
        O::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
        O::Router(vec![SERVER]),
        O::DomainNameServer(vec![Ipv4Addr::new(10, 99, 0, 53)]),
        O::DomainName("lan".into()),
    ] {
        reply.opts_mut().insert(option);
    }
    let mut bytes = Vec::new();
    reply.encode(&mut Encoder::new(&mut bytes)).expect("encodes");
    bytes
}
