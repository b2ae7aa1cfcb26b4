//! The way to a machine: an echo that may pass one router is asked for, one that may pass two, and so on; whoever throws one
//! away says so (RFC 792, time exceeded; RFC 4443, section 3.3).

use crate::probe::{self, MARK};
use aios_abi::CallError;
use aios_abi::net::{HopSaid, MAX_HOPS, NetReply, PathHop};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// Between two questions: routers answer few at once.
const PAUSE: Duration = Duration::from_millis(20);
/// How often somebody who says nothing is asked.
const ROUNDS: usize = 2;

/// What is known so far.
struct Tracing {
    address: IpAddr,
    id: u16,
    mark: [u8; MARK],
    sent: Vec<Instant>,
    path: Vec<Option<PathHop>>,
}

/// Ask for the way to a machine.
pub(crate) async fn trace(address: IpAddr, hops: u8, wait_ms: u32) -> Result<NetReply, CallError> {
    let wait = probe::wait(wait_ms)?;
    if !(1..=MAX_HOPS).contains(&hops) {
        return Err(CallError::invalid(format!("a way of 1 to {MAX_HOPS} routers can be looked at")));
    }
    let failed = |e: io::Error| probe::failed(address, &e);
    let socket = probe::open(address).map_err(failed)?;
    let (id, mark) = probe::marks();
    let count = usize::from(hops);
    let mut tracing =
        Tracing { address, id, mark, sent: vec![Instant::now(); count], path: vec![None; count] };
    for _ in 0..ROUNDS {
        for hop in 0..count {
            if tracing.is_known(hop) {
                continue;
            }
            tracing.ask(&socket, hop).await.map_err(failed)?;
            tracing.listen(&socket, Instant::now() + PAUSE).await.map_err(failed)?;
        }
        tracing.listen(&socket, Instant::now() + wait).await.map_err(failed)?;
    }
    Ok(NetReply::Path(tracing.path()))
}

impl Tracing {
    /// The nearest place from which nothing leads on: the machine itself, mostly.
    fn end(&self) -> Option<usize> {
        self.path.iter().position(|hop| hop.is_some_and(|hop| hop.said != HopSaid::Passed))
    }

    /// Whether nothing is to be asked about this place.
    fn is_known(&self, hop: usize) -> bool {
        self.path.get(hop).is_none_or(Option::is_some) || self.end().is_some_and(|end| end < hop)
    }

    async fn ask(&mut self, socket: &UdpSocket, hop: usize) -> io::Result<()> {
        let number = u16::try_from(hop + 1).unwrap_or(u16::MAX);
        match self.address {
            IpAddr::V4(_) => socket.set_ttl(number.into())?,
            IpAddr::V6(_) => rustix::net::sockopt::set_ipv6_unicast_hops(socket, u8::try_from(number).ok())?,
        }
        let question = probe::question(self.address, self.id, number, self.mark);
        if let Some(sent) = self.sent.get_mut(hop) {
            *sent = Instant::now();
        }
        socket.send_to(&question, SocketAddr::new(self.address, 0)).await.map(drop)
    }

    /// Until then, or until everything is known.
    async fn listen(&mut self, socket: &UdpSocket, until: Instant) -> io::Result<()> {
        let mut packet = [0; 2048];
        while (0..self.path.len()).any(|hop| !self.is_known(hop)) {
            let Ok(came) = tokio::time::timeout_at(until, socket.recv_from(&mut packet)).await else { break };
            let (length, from) = came?;
            self.hear(from.ip(), packet.get(..length).unwrap_or_default());
        }
        Ok(())
    }

    fn hear(&mut self, from: IpAddr, packet: &[u8]) {
        let v6 = self.address.is_ipv6();
        let (number, said) = match probe::echo(v6, packet) {
            Some((id, number, mark)) if (id, mark, from) == (self.id, self.mark, self.address) => {
                (number, HopSaid::Reached)
            }
            Some(_) => return,
            None => match complaint(v6, packet) {
                Some(it) if it.to == self.address && it.id == self.id => (it.number, it.said),
                _ => return,
            },
        };
        let hop = usize::from(number).wrapping_sub(1);
        if let (Some(place), Some(sent)) = (self.path.get_mut(hop), self.sent.get(hop)) {
            let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
            place.get_or_insert(PathHop { address: from, micros, said });
        }
    }

    /// As far as it leads, or to the last that said something.
    fn path(mut self) -> Vec<Option<PathHop>> {
        let last = self.end().or_else(|| self.path.iter().rposition(Option::is_some));
        self.path.truncate(last.map_or(0, |last| last + 1));
        self.path
    }
}

/// Somebody threw a packet away, and sends the beginning of it back.
struct Complaint {
    to: IpAddr,
    id: u16,
    number: u16,
    said: HopSaid,
}

/// An ICMP error about an echo request. Of IPv4 a raw socket hears the packet with its header.
fn complaint(v6: bool, packet: &[u8]) -> Option<Complaint> {
    let (exceeded, unreachable, protocol, request) = if v6 { (3, 1, 58, 128) } else { (11, 3, 1, 8) };
    let message = if v6 { packet } else { packet.get(header(packet)?..)? };
    let said = match *message.first()? {
        kind if kind == exceeded => HopSaid::Passed,
        kind if kind == unreachable => HopSaid::Unreachable,
        _ => return None,
    };
    let thrown_away = message.get(8..)?;
    let (to, carries, inner): (IpAddr, u8, &[u8]) = if v6 {
        let to = <[u8; 16]>::try_from(thrown_away.get(24..40)?).ok()?;
        (Ipv6Addr::from(to).into(), *thrown_away.get(6)?, thrown_away.get(40..)?)
    } else {
        let to = <[u8; 4]>::try_from(thrown_away.get(16..20)?).ok()?;
        (Ipv4Addr::from(to).into(), *thrown_away.get(9)?, thrown_away.get(header(thrown_away)?..)?)
    };
    let number = |at: usize| Some(u16::from_be_bytes([*inner.get(at)?, *inner.get(at + 1)?]));
    (carries == protocol && *inner.first()? == request)
        .then_some(())
        .and_then(|()| Some(Complaint { to, id: number(4)?, number: number(6)?, said }))
}

/// Bytes of an IPv4 packet's header.
fn header(packet: &[u8]) -> Option<usize> {
    Some(usize::from(packet.first()? & 0x0f) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a router sends back of an echo request to this address.
    fn thrown_away(v6: bool, kind: u8) -> Vec<u8> {
        let mut packet = if v6 { vec![] } else { vec![0x45; 20] };
        packet.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
        if v6 {
            let mut inner = vec![0x60; 40];
            inner[6] = 58;
            inner[24..].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
            packet.extend(inner);
            packet.extend([128, 0, 0, 0, 0, 7, 0, 3]);
        } else {
            let mut inner = vec![0x45; 20];
            inner[9] = 1;
            inner[16..].copy_from_slice(&[192, 0, 2, 9]);
            packet.extend(inner);
            packet.extend([8, 0, 0, 0, 0, 7, 0, 3]);
        }
        packet
    }

    #[test]
    fn who_throws_a_packet_away_says_which_one_it_was() {
        for (v6, kind, said, to) in [
            (false, 11, HopSaid::Passed, "192.0.2.9"),
            (false, 3, HopSaid::Unreachable, "192.0.2.9"),
            (true, 3, HopSaid::Passed, "::1"),
            (true, 1, HopSaid::Unreachable, "::1"),
        ] {
            let packet = thrown_away(v6, kind);
            let it = complaint(v6, &packet).expect("a complaint");
            assert_eq!((it.to.to_string().as_str(), it.id, it.number, it.said), (to, 7, 3, said));
            assert!((0..packet.len()).all(|length| complaint(v6, &packet[..length]).is_none()));
        }
        assert!(complaint(false, &thrown_away(false, 5)).is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_packet_makes_the_reader_panic(v6: bool, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120)) {
            let _ = complaint(v6, &bytes);
        }
    }
}
