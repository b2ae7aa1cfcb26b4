//! Whether others answer: a connection that is made and closed at once, and ICMP echo.

use crate::rng::Rng;
use aios_abi::CallError;
use aios_abi::net::{MAX_PINGS, MAX_WAIT_MS, NetReply, PortState};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpStream, UdpSocket};

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes that are sent after the header of ICMP, as ping(8) does.
const PAYLOAD: usize = 56;
/// What tells an echo from those of others: in front of the payload.
pub(crate) const MARK: usize = 8;

/// A time that may be waited.
pub(crate) fn wait(milliseconds: u32) -> Result<Duration, CallError> {
    match milliseconds {
        1..=MAX_WAIT_MS => Ok(Duration::from_millis(milliseconds.into())),
        _ => Err(CallError::invalid(format!("1 to {MAX_WAIT_MS} ms can be waited"))),
    }
}

/// Microseconds since then.
pub(crate) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Connect, and close at once.
pub(crate) async fn connect(address: IpAddr, port: u16, wait_ms: u32) -> Result<NetReply, CallError> {
    let wait = wait(wait_ms)?;
    let begun = Instant::now();
    let state = match tokio::time::timeout(wait, TcpStream::connect(SocketAddr::new(address, port))).await {
        Ok(Ok(_)) => PortState::Open,
        Err(_) => PortState::Silent,
        Ok(Err(e)) => match e.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => PortState::Refused,
            io::ErrorKind::TimedOut => PortState::Silent,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => PortState::Unreachable,
            _ => return Err(CallError::failed(format!("{address} port {port}: {e}"))),
        },
    };
    Ok(NetReply::Port { state, micros: micros(begun) })
}

/// Ask for so many echoes, one after the other.
pub(crate) async fn ping(address: IpAddr, count: u8, wait_ms: u32) -> Result<NetReply, CallError> {
    let wait = wait(wait_ms)?;
    if !(1..=MAX_PINGS).contains(&count) {
        return Err(CallError::invalid(format!("1 to {MAX_PINGS} echoes can be asked for")));
    }
    let failed = |e: io::Error| failed(address, &e);
    let socket = open(address).map_err(failed)?;
    rustix::net::connect(&socket, &SocketAddr::new(address, 0)).map_err(|e| failed(e.into()))?;
    let (id, mark) = marks();
    let mut echoes = Vec::new();
    for sequence in 0..u16::from(count) {
        if sequence > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let question = question(address, id, sequence, mark);
        let begun = Instant::now();
        socket.send(&question).await.map_err(failed)?;
        let answered = async {
            let mut packet = [0; 2048];
            loop {
                let length = socket.recv(&mut packet).await?;
                let packet = packet.get(..length).unwrap_or_default();
                if echo(address.is_ipv6(), packet) == Some((id, sequence, mark)) {
                    return Ok::<_, io::Error>(micros(begun));
                }
            }
        };
        match tokio::time::timeout(wait, answered).await {
            Ok(Ok(micros)) => echoes.push(Some(micros)),
            Ok(Err(e)) => return Err(failed(e)),
            Err(_) => echoes.push(None),
        }
    }
    Ok(NetReply::Echoes(echoes))
}

/// What tells our echoes from those of others.
pub(crate) fn marks() -> (u16, [u8; MARK]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut rng = Rng::new(u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0));
    let id = (rng.next_u32() & 0xffff) as u16;
    let mut mark = [0; MARK];
    mark.iter_mut().for_each(|byte| *byte = (rng.next_u32() & 0xff) as u8);
    (id, mark)
}

/// Why a machine cannot be asked.
pub(crate) fn failed(address: IpAddr, error: &io::Error) -> CallError {
    match Errno::from_io_error(error) {
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL) => {
            CallError::unavailable(format!("there is no way to {address}"))
        }
        Some(Errno::PERM) => {
            CallError::denied("an echo takes the capability CAP_NET_RAW, which this process lacks")
        }
        _ => CallError::failed(format!("{address}: {error}")),
    }
}

/// A raw socket for ICMP (raw(7)); connected, it hears one machine alone. Sending and receiving is the same as with any
/// datagram.
pub(crate) fn open(address: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    UdpSocket::from_std(socket.into())
}

/// An echo request (RFC 792, RFC 4443 section 4.1).
pub(crate) fn question(address: IpAddr, id: u16, sequence: u16, mark: [u8; MARK]) -> Vec<u8> {
    let kind = if address.is_ipv6() { 128 } else { 8 };
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend(id.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(mark);
    packet.resize(8 + PAYLOAD, 0x2a);
    // That of ICMPv6 covers addresses that only the kernel knows, which writes it (RFC 3542, section 3.1).
    if !address.is_ipv6() {
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    packet
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let mut sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Id, sequence number and mark of an echo reply. Of IPv4 a raw socket hears the packet with its header.
pub(crate) fn echo(v6: bool, packet: &[u8]) -> Option<(u16, u16, [u8; MARK])> {
    let (kind, message) = match v6 {
        true => (129, packet),
        false => (0, packet.get(usize::from(packet.first()? & 0x0f) * 4..)?),
    };
    let (head, rest) = message.split_first_chunk::<8>()?;
    if (head[0], head[1]) != (kind, 0) {
        return None;
    }
    let number = |at: usize| Some(u16::from_be_bytes([*head.get(at)?, *head.get(at + 1)?]));
    Some((number(4)?, number(6)?, *rest.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn an_echo_is_known_by_id_number_and_mark() {
        let mark = *b"markmark";
        let mut packet = question(Ipv4Addr::LOCALHOST.into(), 7, 3, mark);
        assert_eq!(checksum(&packet), 0, "with its checksum in it the sum is zero");
        packet[0] = 0;
        let mut whole = vec![0x45; 20];
        whole.extend(&packet);
        assert_eq!(echo(false, &whole), Some((7, 3, mark)));
        let mut v6 = question(Ipv6Addr::LOCALHOST.into(), 7, 3, mark);
        assert_eq!(echo(true, &v6), None, "it is a question");
        v6[0] = 129;
        assert_eq!(echo(true, &v6), Some((7, 3, mark)));
    }

    #[tokio::test]
    async fn open_and_closed_ports_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = async |port| match connect(Ipv4Addr::LOCALHOST.into(), port, 2_000).await {
            Ok(NetReply::Port { state, .. }) => state,
            other => panic!("{other:?}"),
        };
        assert_eq!(state(port).await, PortState::Open);
        drop(listener);
        assert_eq!(state(port).await, PortState::Refused);
        assert!(connect(Ipv4Addr::LOCALHOST.into(), port, 0).await.is_err());
        assert!(ping(Ipv4Addr::LOCALHOST.into(), 0, 1).await.is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_packet_makes_the_reader_panic(v6: bool, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            let _ = echo(v6, &bytes);
            let _ = checksum(&bytes);
        }
    }
}
