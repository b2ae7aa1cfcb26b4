//! DHCP messages as bytes: the codec is dhcproto's, the IPv4 and UDP headers around it are here, because
//! a machine without an address cannot use the kernel's (RFC 2131, section 4.1).

use super::{Answer, Lease, Message};
use aios_abi::netconf;
use dhcproto::v4::{self, DhcpOption as O, MessageType, Opcode, OptionCode as C};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use std::net::Ipv4Addr;

/// Ports of servers and clients.
pub(crate) const SERVER_PORT: u16 = 67;
/// See [`SERVER_PORT`].
pub(crate) const CLIENT_PORT: u16 = 68;

const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Where the hardware address stands in a DHCP message.
const CHADDR: std::ops::Range<usize> = 28..34;
/// Where the options stand in it.
const OPTIONS: usize = 240;
/// Older relays drop shorter messages (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// A lease is taken for at least this many seconds, so that a server cannot keep us busy.
const SHORTEST_LEASE: u32 = 10;
/// Name servers and routes that are taken from one answer.
const MOST: usize = 16;

/// What servers are asked for.
const ASKED: [C; 7] = [
    C::ClasslessStaticRoute,
    C::SubnetMask,
    C::Router,
    C::DomainNameServer,
    C::DomainName,
    C::Renewal,
    C::Rebinding,
];

/// What else counts in an answer. No other option reaches the codec, which panics on some of them in builds with
/// assertions.
const EXPECTED: [C; 3] = [C::MessageType, C::ServerIdentifier, C::AddressLeaseTime];

/// Who we are, for servers.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Hardware address.
    pub(crate) mac: [u8; 6],
    /// Host name, if it has one.
    pub(crate) host: Option<String>,
}

/// The bytes of a message, without IP header.
pub(crate) fn encode(who: &Identity, xid: u32, secs: u16, message: Message) -> Result<Vec<u8>, String> {
    let kind = match message {
        Message::Discover => MessageType::Discover,
        Message::Decline { .. } => MessageType::Decline,
        _ => MessageType::Request,
    };
    // Type 1: Ethernet (RFC 2132, section 9.14).
    let id = std::iter::once(1).chain(who.mac).collect();
    let mut options = v4::DhcpOptions::new();
    let mut own = Ipv4Addr::UNSPECIFIED;
    options.insert(O::MessageType(kind));
    options.insert(O::ClientIdentifier(id));
    if !matches!(message, Message::Decline { .. }) {
        options.insert(O::MaxMessageSize(1_472));
        options.insert(O::ParameterRequestList(ASKED.to_vec()));
        if let Some(host) = &who.host {
            options.insert(O::Hostname(host.clone()));
        }
    }
    match message {
        Message::Discover => {}
        Message::Select { address, server } | Message::Decline { address, server } => {
            options.insert(O::RequestedIpAddress(address));
            options.insert(O::ServerIdentifier(server));
        }
        Message::Reboot { address } => {
            options.insert(O::RequestedIpAddress(address));
        }
        Message::Extend { address } => own = address,
    }
    // Not `v4::Message`: to make one draws a random number, and on a machine that has just started that
    // may wait for entropy without end.
    let mut bytes = vec![1, 1, 6, 0];
    bytes.extend(xid.to_be_bytes());
    bytes.extend(secs.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(own.octets());
    bytes.resize(CHADDR.start, 0);
    bytes.extend(who.mac);
    bytes.resize(OPTIONS - v4::MAGIC.len(), 0);
    bytes.extend(v4::MAGIC);
    let mut rest = Vec::new();
    options
        .encode(&mut Encoder::new(&mut rest))
        .map_err(|e| format!("a DHCP message cannot be made: {e}"))?;
    bytes.extend(rest);
    if bytes.len() < SHORTEST {
        bytes.resize(SHORTEST, 0);
    }
    Ok(bytes)
}

/// A broadcast packet from nobody: IPv4 and UDP headers around the message.
pub(crate) fn broadcast(message: &[u8]) -> Vec<u8> {
    let udp_length = UDP_HEADER + message.len();
    let total = u16::try_from(IPV4_HEADER + udp_length).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0x10];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(Ipv4Addr::UNSPECIFIED.octets());
    packet.extend(Ipv4Addr::BROADCAST.octets());
    let checksum = checksum(&packet);
    packet.splice(10..12, checksum.to_be_bytes());
    packet.extend(CLIENT_PORT.to_be_bytes());
    packet.extend(SERVER_PORT.to_be_bytes());
    packet.extend(u16::try_from(udp_length).unwrap_or(u16::MAX).to_be_bytes());
    // No checksum (RFC 768): the link has its own.
    packet.extend([0, 0]);
    packet.extend(message);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let high = u32::from(pair.first().copied().unwrap_or(0));
        let low = u32::from(pair.get(1).copied().unwrap_or(0));
        sum = sum.wrapping_add(high << 8 | low);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The answer in an IPv4 packet, if it is one to this client and this transaction. Everything else on the
/// link, and everything malformed, is `None`.
pub(crate) fn decode(packet: &[u8], mac: [u8; 6], xid: u32) -> Option<Answer> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if packet.first()? >> 4 != 4 || header < IPV4_HEADER || *packet.get(9)? != 17 {
        return None;
    }
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
    let udp = packet.get(header..)?;
    let port = u16::from_be_bytes([*udp.get(2)?, *udp.get(3)?]);
    let length = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    if fragment != 0 || port != CLIENT_PORT {
        return None;
    }
    let body = udp.get(UDP_HEADER..length)?;
    // Looked at in the bytes: a length that a stranger wrote must not index anything.
    if body.get(CHADDR)? != mac {
        return None;
    }
    let message = v4::Message::decode(&mut Decoder::new(&known(body)?)).ok()?;
    if message.opcode() != Opcode::BootReply || message.xid() != xid {
        return None;
    }
    match message.opts().msg_type()? {
        MessageType::Offer => lease(&message).map(Answer::Offer),
        MessageType::Ack => lease(&message).map(Answer::Ack),
        MessageType::Nak => Some(Answer::Nak),
        _ => None,
    }
}

/// The message with the options that are looked at, up to the first that is cut.
fn known(body: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = body.split_at_checked(OPTIONS)?;
    let mut kept = head.to_vec();
    while let Some((&code, after)) = rest.split_first() {
        // Padding is one byte (RFC 2132, section 3.1).
        rest = after;
        match C::from(code) {
            C::Pad => {}
            C::End => break,
            code => {
                let length = 1 + after.first().copied().map_or(0, usize::from);
                let Some((option, behind)) = after.split_at_checked(length) else { break };
                rest = behind;
                if ASKED.contains(&code) || EXPECTED.contains(&code) {
                    kept.push(code.into());
                    kept.extend(option);
                }
            }
        }
    }
    kept.push(C::End.into());
    Some(kept)
}

fn lease(message: &v4::Message) -> Option<Lease> {
    let options = message.opts();
    let address = message.yiaddr();
    let server = match options.get(C::ServerIdentifier) {
        Some(O::ServerIdentifier(server)) => *server,
        _ => message.siaddr(),
    };
    let prefix = match options.get(C::SubnetMask) {
        Some(O::SubnetMask(mask)) => prefix_of(*mask)?,
        _ => 24,
    };
    if !usable(address) || !usable(server) {
        return None;
    }
    let seconds = match options.get(C::AddressLeaseTime) {
        Some(O::AddressLeaseTime(seconds)) => (*seconds).max(SHORTEST_LEASE),
        _ => return None,
    };
    // RFC 2131, section 4.4.5; times that contradict each other are replaced by its defaults.
    let t1 = match options.get(C::Renewal) {
        Some(O::Renewal(t1)) if *t1 >= SHORTEST_LEASE / 2 => *t1,
        _ => seconds / 2,
    };
    let t2 = match options.get(C::Rebinding) {
        Some(O::Rebinding(t2)) => *t2,
        _ => seconds - seconds / 8,
    };
    let seconds = if t1 < t2 && t2 < seconds {
        [t1, t2, seconds]
    } else {
        [seconds / 2, seconds - seconds / 8, seconds]
    };
    // With classless routes the router option does not count (RFC 3442).
    let routes = match (options.get(C::ClasslessStaticRoute), options.get(C::Router)) {
        (Some(O::ClasslessStaticRoute(routes)), _) if !routes.is_empty() => {
            let routes = routes.iter().map(|(net, via)| (net.network(), net.prefix_len(), *via));
            routes
                .filter(|(to, _, via)| routable(*to) && (via.is_unspecified() || usable(*via)))
                .take(MOST)
                .collect()
        }
        (_, Some(O::Router(routers))) => routers
            .iter()
            .find(|router| usable(**router))
            .map(|router| (Ipv4Addr::UNSPECIFIED, 0, *router))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    };
    let dns = match options.get(C::DomainNameServer) {
        Some(O::DomainNameServer(servers)) => {
            servers.iter().copied().filter(|server| usable(*server)).take(MOST).collect()
        }
        _ => Vec::new(),
    };
    let domain = match options.get(C::DomainName) {
        Some(O::DomainName(name)) => netconf::domain(name),
        _ => None,
    };
    Some(Lease { address, prefix, server, routes, dns, domain, seconds })
}

/// Whether this can be the address of one machine.
fn usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback())
}

/// Whether packets to this network may be sent out at a server's word.
fn routable(network: Ipv4Addr) -> bool {
    !(network.is_loopback() || network.is_multicast())
}

fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let prefix = bits.leading_ones();
    (prefix > 0 && bits.count_ones() == prefix).then_some(prefix as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn who() -> Identity {
        Identity { mac: MAC, host: Some("aios".into()) }
    }

    /// What a server would send.
    fn answer(xid: u32, options: Vec<O>) -> Vec<u8> {
        let mut message = v4::Message::default();
        message.set_opcode(Opcode::BootReply).set_xid(xid).set_chaddr(&MAC).set_yiaddr([10, 0, 2, 15]);
        message.set_siaddr([10, 0, 2, 2]);
        for option in options {
            message.opts_mut().insert(option);
        }
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).expect("encodes");
        let mut packet = broadcast(&bytes);
        packet.splice(22..24, CLIENT_PORT.to_be_bytes());
        packet
    }

    fn offer() -> Vec<O> {
        vec![
            O::MessageType(MessageType::Offer),
            O::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            O::Router(vec![Ipv4Addr::new(10, 0, 2, 2)]),
            O::DomainNameServer(vec![Ipv4Addr::new(10, 0, 2, 3)]),
            O::AddressLeaseTime(86_400),
        ]
    }

    #[test]
    fn an_offer_is_understood() {
        let Some(Answer::Offer(lease)) = decode(&answer(7, offer()), MAC, 7) else { panic!("no offer") };
        assert_eq!(lease.address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(lease.server, Ipv4Addr::new(10, 0, 2, 2));
        assert_eq!((lease.prefix, lease.seconds), (24, [43_200, 75_600, 86_400]));
        assert_eq!(lease.routes, [(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(10, 0, 2, 2))]);
        assert_eq!(lease.dns, [Ipv4Addr::new(10, 0, 2, 3)]);
    }

    #[test]
    fn answers_to_others_are_not_ours() {
        let packet = answer(7, offer());
        assert_eq!(decode(&packet, MAC, 8), None);
        assert_eq!(decode(&packet, [2, 0, 0, 0, 0, 1], 7), None);
        // A request of another client, which every client on the link hears.
        let heard = broadcast(&encode(&who(), 7, 0, Message::Discover).expect("encodes"));
        assert_eq!(decode(&heard, MAC, 7), None);
    }

    #[test]
    fn nonsense_from_a_server_is_refused_or_tamed() {
        let with = |option: O| {
            let mut options = offer();
            options.push(option);
            match decode(&answer(7, options), MAC, 7) {
                Some(Answer::Offer(lease)) => Some(lease),
                _ => None,
            }
        };
        assert_eq!(with(O::SubnetMask(Ipv4Addr::new(255, 0, 255, 0))), None);
        assert_eq!(with(O::SubnetMask(Ipv4Addr::UNSPECIFIED)), None);
        let tamed = |option| with(option).expect("a lease");
        assert_eq!(tamed(O::AddressLeaseTime(0)).seconds, [5, 9, 10]);
        assert_eq!(tamed(O::Renewal(0)).seconds[0], 43_200);
        assert_eq!(tamed(O::Rebinding(u32::MAX)).seconds, [43_200, 75_600, 86_400]);
        assert_eq!(tamed(O::AddressLeaseTime(u32::MAX)).seconds[2], u32::MAX);
        assert_eq!(tamed(O::DomainName("lan\nnameserver 6.6.6.6".into())).domain, None);
        assert_eq!(tamed(O::DomainName("example.org.".into())).domain.as_deref(), Some("example.org"));
        assert!(tamed(O::DomainNameServer(vec![Ipv4Addr::BROADCAST])).dns.is_empty());
    }

    #[test]
    fn an_option_that_nobody_asked_for_is_not_looked_into() {
        let unknown = |code, data: &[u8]| O::Unknown(v4::UnknownOption::new(C::from(code), data.to_vec()));
        // A client's name (RFC 4702) needs three bytes at least; the routes (RFC 3442) behind it still count.
        let options = vec![unknown(81, &[0]), unknown(121, &[0, 10, 0, 2, 9])];
        let Some(Answer::Offer(lease)) = decode(&answer(7, [offer(), options].concat()), MAC, 7) else {
            panic!("no offer")
        };
        assert_eq!(lease.routes, [(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(10, 0, 2, 9))]);
    }

    #[test]
    fn each_message_carries_the_fields_that_the_standard_asks_for() {
        let address = Ipv4Addr::new(10, 0, 2, 15);
        let server = Ipv4Addr::new(10, 0, 2, 2);
        // RFC 2131, table 5: ciaddr, requested address, server identifier.
        let table = [
            (Message::Discover, false, false, false),
            (Message::Select { address, server }, false, true, true),
            (Message::Reboot { address }, false, true, false),
            (Message::Extend { address }, true, false, false),
            (Message::Decline { address, server }, false, true, true),
        ];
        for (message, ciaddr, requested, identifier) in table {
            let bytes = encode(&who(), 1, 2, message).expect("encodes");
            assert!(bytes.len() >= SHORTEST);
            let read = v4::Message::decode(&mut Decoder::new(&bytes)).expect("decodes");
            assert_eq!(
                (read.opcode(), read.xid(), read.secs(), read.chaddr()),
                (Opcode::BootRequest, 1, 2, &MAC[..])
            );
            assert_eq!(!read.ciaddr().is_unspecified(), ciaddr, "{message:?}");
            assert_eq!(read.opts().contains(C::RequestedIpAddress), requested, "{message:?}");
            assert_eq!(read.opts().contains(C::ServerIdentifier), identifier, "{message:?}");
        }
    }

    #[test]
    fn the_header_checksum_is_right() {
        let packet = broadcast(&[0; 300]);
        assert_eq!(checksum(&packet[..IPV4_HEADER]), 0);
    }

    proptest! {
        #[test]
        fn a_lease_survives_the_way_through_bytes(
            prefix in 1u8..=32, seconds in SHORTEST_LEASE..=u32::MAX, dns in prop::collection::vec(0x0a00_0001u32..0x0aff_ffff, 0..5),
            domain in "[a-z][a-z0-9-]{0,20}\\.[a-z]{2,5}", xid: u32,
        ) {
            let mask = Ipv4Addr::from_bits(u32::MAX << (32 - prefix));
            let dns: Vec<Ipv4Addr> = dns.into_iter().map(Ipv4Addr::from_bits).collect();
            let mut options = vec![
                O::MessageType(MessageType::Ack),
                O::ServerIdentifier(Ipv4Addr::new(10, 0, 2, 1)),
                O::SubnetMask(mask),
                O::AddressLeaseTime(seconds),
                O::DomainName(domain.clone()),
            ];
            if !dns.is_empty() { options.push(O::DomainNameServer(dns.clone())); }
            let expected = Lease {
                address: Ipv4Addr::new(10, 0, 2, 15), prefix, server: Ipv4Addr::new(10, 0, 2, 1), routes: Vec::new(),
                dns, domain: Some(domain), seconds: [seconds / 2, seconds - seconds / 8, seconds],
            };
            prop_assert_eq!(decode(&answer(xid, options), MAC, xid), Some(Answer::Ack(expected)));
        }

        #[test]
        fn any_packet_is_decoded_or_ignored(packet in prop::collection::vec(any::<u8>(), 0..700)) {
            let _ = decode(&packet, MAC, 7);
        }

        #[test]
        fn a_damaged_answer_is_decoded_or_ignored(at in 0usize..600, byte: u8, cut in 0usize..600) {
            let mut packet = answer(7, offer());
            if let Some(place) = packet.get_mut(at) { *place = byte; }
            packet.truncate(cut.max(28));
            let _ = decode(&packet, MAC, 7);
        }
    }
}
