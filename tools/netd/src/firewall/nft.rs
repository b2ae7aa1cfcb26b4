//! As much of the nf_tables protocol as the firewall speaks: messages to the kernel, and what it answers.
//!
//! Numbers are those of the kernel's `linux/netfilter/nf_tables.h`, `nfnetlink.h` and `nf_tables_compat.h`. All changes of one call go
//! in one batch, which the kernel makes as a whole or not at all.

use rtnetlink::packet_core::{NLA_F_NESTED, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST};
use rtnetlink::packet_core::{NetlinkBuffer, NlaBuffer, NlasIterator};
use std::net::IpAddr;

/// All that is ours is in this table.
pub(crate) const TABLE: &str = "aios";
/// What comes in goes through this chain.
const CHAIN: &str = "input";

/// `NFPROTO_INET`: IPv4 and IPv6.
const INET: u8 = 1;
/// `NFNL_SUBSYS_NFTABLES`
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `NLM_F_APPEND`: a rule goes behind those that are there.
const APPEND: u16 = 0x800;
const HEADER: usize = 16;

/// A row of netlink attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // What we say is short: the longest is a rule, of some hundred bytes.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn be64(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn nest(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }

    /// `NFTA_DATA_VALUE` in an attribute of its own.
    fn value(self, kind: u16, value: &[u8]) -> Self {
        self.nest(kind, &Self::default().bytes(1, value))
    }
}

/// A field that a rule looks at; it goes into register 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// The name of the interface that the packet came by, 16 bytes.
    Interface,
    /// Kind of address, one byte: 2 for IPv4, 10 for IPv6.
    Family,
    /// Number of the protocol above IP, one byte.
    Transport,
    /// The sender of an IPv4 packet.
    Sender4,
    /// The sender of an IPv6 packet.
    Sender6,
    /// Source port of TCP or UDP, two bytes.
    FromPort,
    /// Destination port of TCP or UDP, two bytes.
    ToPort,
    /// One byte: 0 if it is from whoever began the connection, 1 if it is from the other.
    Direction,
}

/// A step of a rule. When it does not hold, the next rule is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The field has this value.
    Is(Field, Vec<u8>),
    /// The first bits of the field, as long as the mask, are these.
    Begins(Field, Vec<u8>, Vec<u8>),
    /// The field lies between two values, both included.
    Within(Field, Vec<u8>, Vec<u8>),
    /// The field is in this set.
    In(Field, &'static str),
    /// The packet is counted.
    Count(String),
    /// The packet passes, and no later rule is asked.
    Accept,
    /// The packet is thrown away.
    Drop,
}

/// A set of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set {
    /// Its name.
    pub(crate) name: &'static str,
    /// `TYPE_IPADDR` or `TYPE_IP6ADDR` of nft, for people who look with it.
    pub(crate) kind: u32,
    /// Bytes of an address.
    pub(crate) length: u32,
}

/// Addresses in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// The first.
    pub(crate) first: IpAddr,
    /// The one after the last; none when that is the last of all.
    pub(crate) end: Option<IpAddr>,
    /// Milliseconds that they are in it altogether.
    pub(crate) lasts_ms: u64,
    /// Milliseconds that are left.
    pub(crate) left_ms: u64,
    /// What was counted before.
    pub(crate) packets: u64,
    /// What was counted before.
    pub(crate) bytes: u64,
}

/// A change, one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    kind: u16,
    flags: u16,
    attributes: Attributes,
}

impl Message {
    fn new(kind: u16, flags: u16, attributes: Attributes) -> Self {
        Self { kind, flags, attributes }
    }

    /// Our table is gone with all that is in it, if it was there (Linux 6.3).
    pub(crate) fn no_table() -> Self {
        Self::new(26, 0, Attributes::default().text(1, TABLE))
    }

    /// Our table is there.
    pub(crate) fn table() -> Self {
        Self::new(0, NLM_F_CREATE, Attributes::default().text(1, TABLE).be32(2, 0))
    }

    /// The chain through which all goes that is for this machine; what no rule is about passes.
    pub(crate) fn chain() -> Self {
        // NF_INET_LOCAL_IN, and the priority of filters.
        let hook = Attributes::default().be32(1, 1).be32(2, 0);
        let chain = Attributes::default().text(1, TABLE).text(3, CHAIN).nest(4, &hook);
        // NF_ACCEPT
        Self::new(3, NLM_F_CREATE, chain.be32(5, 1).text(7, "filter"))
    }

    /// A set of ranges of addresses that leave it by themselves, each with a counter.
    pub(crate) fn set(set: Set) -> Self {
        // NFT_SET_INTERVAL | NFT_SET_TIMEOUT; the id is for within the batch.
        let head = Attributes::default().text(1, TABLE).text(2, set.name).be32(3, 0x14);
        let body = head.be32(4, set.kind).be32(5, set.length).be32(10, set.kind);
        Self::new(9, NLM_F_CREATE, body.nest(17, &counting(0, 0)))
    }

    /// A counter with a name, which outlives the rules that use it.
    pub(crate) fn counter(name: &str, packets: u64, bytes: u64) -> Self {
        let data = Attributes::default().be64(1, bytes).be64(2, packets);
        let counter = Attributes::default().text(1, TABLE).text(2, name).be32(3, 1).nest(4, &data);
        Self::new(18, NLM_F_CREATE, counter)
    }

    /// That counter is gone, if it was there.
    pub(crate) fn no_counter(name: &str) -> Self {
        Self::new(31, 0, Attributes::default().text(1, TABLE).text(2, name).be32(3, 1))
    }

    /// The chain has no rules.
    pub(crate) fn no_rules() -> Self {
        Self::new(8, 0, Attributes::default().text(1, TABLE).text(2, CHAIN))
    }

    /// One more rule at the end of the chain.
    pub(crate) fn rule(steps: &[Step]) -> Self {
        let mut list = Attributes::default();
        for step in steps {
            for expression in expressions(step) {
                list = list.nest(1, &expression);
            }
        }
        Self::new(
            6,
            NLM_F_CREATE | APPEND,
            Attributes::default().text(1, TABLE).text(2, CHAIN).nest(4, &list),
        )
    }

    /// These addresses are in the set.
    pub(crate) fn member(set: Set, member: &Member) -> Self {
        let first = Attributes::default().value(1, &octets(member.first));
        let first =
            first.be64(4, member.lasts_ms.max(1)).be64(5, member.left_ms.clamp(1, member.lasts_ms.max(1)));
        let first = first.nest(7, &counting(member.packets, member.bytes));
        Self::new(12, NLM_F_CREATE, elements(set, &first, member.end))
    }

    /// These addresses are not in the set.
    pub(crate) fn no_member(set: Set, first: IpAddr, end: Option<IpAddr>) -> Self {
        Self::new(30, 0, elements(set, &Attributes::default().value(1, &octets(first)), end))
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

fn elements(set: Set, first: &Attributes, end: Option<IpAddr>) -> Attributes {
    let mut list = Attributes::default().nest(1, first);
    if let Some(end) = end {
        // NFT_SET_ELEM_INTERVAL_END
        list = list.nest(1, &Attributes::default().value(1, &octets(end)).be32(3, 1));
    }
    Attributes::default().text(1, TABLE).text(2, set.name).nest(3, &list)
}

fn expression(name: &str, data: &Attributes) -> Attributes {
    Attributes::default().text(1, name).nest(2, data)
}

fn counting(packets: u64, bytes: u64) -> Attributes {
    expression("counter", &Attributes::default().be64(1, bytes).be64(2, packets))
}

/// The only register that is used.
const REGISTER: u32 = 1;

fn load(field: Field) -> Attributes {
    let meta = |key| expression("meta", &Attributes::default().be32(1, REGISTER).be32(2, key));
    // From the header of the network (1) or of the transport (2).
    let payload = |base, offset, length| {
        let data = Attributes::default().be32(1, REGISTER).be32(2, base).be32(3, offset).be32(4, length);
        expression("payload", &data)
    };
    match field {
        Field::Interface => meta(6),
        Field::Family => meta(15),
        Field::Transport => meta(16),
        Field::Sender4 => payload(1, 12, 4),
        Field::Sender6 => payload(1, 8, 16),
        Field::FromPort => payload(2, 0, 2),
        Field::ToPort => payload(2, 2, 2),
        Field::Direction => expression("ct", &Attributes::default().be32(1, REGISTER).be32(2, 1)),
    }
}

fn masked(mask: &[u8]) -> Attributes {
    let length = u32::try_from(mask.len()).unwrap_or(0);
    let data = Attributes::default().be32(1, REGISTER).be32(2, REGISTER).be32(3, length);
    expression("bitwise", &data.value(4, mask).value(5, &vec![0; mask.len()]))
}

fn equal(value: &[u8]) -> Attributes {
    expression("cmp", &Attributes::default().be32(1, REGISTER).be32(2, 0).value(3, value))
}

fn verdict(code: u32) -> Attributes {
    let verdict = Attributes::default().nest(2, &Attributes::default().be32(1, code));
    expression("immediate", &Attributes::default().be32(1, 0).nest(2, &verdict))
}

fn expressions(step: &Step) -> Vec<Attributes> {
    match step {
        Step::Is(field, value) => vec![load(*field), equal(value)],
        Step::Begins(field, mask, value) => vec![load(*field), masked(mask), equal(value)],
        Step::Within(field, first, last) => {
            let range = Attributes::default().be32(1, REGISTER).be32(2, 0);
            vec![load(*field), expression("range", &range.value(3, first).value(4, last))]
        }
        Step::In(field, set) => {
            let lookup = Attributes::default().text(1, set).be32(2, REGISTER);
            vec![load(*field), expression("lookup", &lookup)]
        }
        Step::Count(name) => {
            vec![expression("objref", &Attributes::default().be32(1, 1).text(2, name))]
        }
        Step::Accept => vec![verdict(1)],
        Step::Drop => vec![verdict(0)],
    }
}

fn put(packet: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, body: &[u8]) {
    let length = u32::try_from(HEADER + 4 + body.len()).unwrap_or(u32::MAX);
    packet.extend(length.to_ne_bytes());
    packet.extend(kind.to_ne_bytes());
    packet.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    packet.extend(sequence.to_ne_bytes());
    packet.extend(0_u32.to_ne_bytes());
    // `nfgenmsg`: family, version, resource.
    packet.extend([family, 0]);
    packet.extend(resource.to_be_bytes());
    packet.extend(body);
}

/// All these changes as one, and the sequence number whose acknowledgement says that they were made.
pub(crate) fn batch(messages: &[Message]) -> (Vec<u8>, u32) {
    let mut packet = Vec::new();
    put(&mut packet, BATCH_BEGIN, 0, 0, 0, SUBSYSTEM, &[]);
    let mut sequence = 0;
    for (place, message) in messages.iter().enumerate() {
        sequence += 1;
        // Errors are told of in any case.
        let last = if place + 1 == messages.len() { NLM_F_ACK } else { 0 };
        let kind = SUBSYSTEM << 8 | message.kind;
        put(&mut packet, kind, message.flags | last, sequence, INET, 0, &message.attributes.0);
    }
    put(&mut packet, BATCH_END, 0, sequence + 1, 0, SUBSYSTEM, &[]);
    (packet, sequence)
}

/// The question for all our counters that have names.
pub(crate) fn ask_counters() -> Vec<u8> {
    ask(19, &Attributes::default().text(1, TABLE).be32(3, 1))
}

/// The question for what is in a set.
pub(crate) fn ask_members(set: Set) -> Vec<u8> {
    ask(13, &Attributes::default().text(1, TABLE).text(2, set.name))
}

fn ask(kind: u16, attributes: &Attributes) -> Vec<u8> {
    let mut packet = Vec::new();
    put(&mut packet, SUBSYSTEM << 8 | kind, NLM_F_DUMP, 1, INET, 0, &attributes.0);
    packet
}

/// Something that the kernel said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// About the message with this number: 0 if it was done, or the number of an error (errno(3)).
    Outcome(u32, i32),
    /// The end of a list; its error, or 0.
    End(i32),
    /// A counter with a name.
    Counter {
        /// The name.
        name: String,
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    },
    /// The first address of members of a set.
    Member {
        /// The address.
        first: IpAddr,
        /// Milliseconds that are left.
        left_ms: u64,
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    },
    /// The list was changed while it was told; it has to be asked for once more.
    Torn,
}

/// What is in a packet of the kernel. Messages that we do not know are passed over; none when it is cut off or is no netlink.
pub(crate) fn read(mut packet: &[u8]) -> Option<Vec<Said>> {
    let mut all = Vec::new();
    while !packet.is_empty() {
        let buffer = NetlinkBuffer::new_checked(packet).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        let body = packet.get(HEADER..length)?;
        // NLM_F_DUMP_INTR
        if buffer.flags() & 0x10 != 0 {
            all.push(Said::Torn);
        }
        let number = || body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        match buffer.message_type() {
            2 => {
                // The message that it is about follows, at least its header.
                let about = body.get(4 + 8..4 + 12)?.first_chunk()?;
                all.push(Said::Outcome(u32::from_ne_bytes(*about), number()?.checked_neg()?));
            }
            3 => all.push(Said::End(number()?.checked_neg()?)),
            kind if kind == SUBSYSTEM << 8 | 18 => all.push(counter(body.get(4..)?)?),
            kind if kind == SUBSYSTEM << 8 | 12 => members(body.get(4..)?, &mut all)?,
            _ => {}
        }
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(all)
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|attribute| attribute.kind() == kind).map(value)
}

fn value(attribute: NlaBuffer<&[u8]>) -> &[u8] {
    let length = usize::from(attribute.length());
    attribute.into_inner().get(4..length).unwrap_or_default()
}

fn be64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Packets and bytes.
fn counts(data: &[u8]) -> Option<(u64, u64)> {
    Some((be64(find(data, 2)?)?, be64(find(data, 1)?)?))
}

fn counter(body: &[u8]) -> Option<Said> {
    let name = std::str::from_utf8(find(body, 2)?).ok()?.trim_end_matches('\0').to_owned();
    let (packets, bytes) = counts(find(body, 4)?)?;
    Some(Said::Counter { name, packets, bytes })
}

fn members(body: &[u8], all: &mut Vec<Said>) -> Option<()> {
    // A set without members has no list.
    let list = find(body, 3).unwrap_or_default();
    for element in attributes(list).map(value) {
        if find(element, 3).is_some_and(|flags| flags.last().is_some_and(|bits| bits & 1 != 0)) {
            continue;
        }
        let first = match *find(find(element, 1)?, 1)? {
            [a, b, c, d] => IpAddr::from([a, b, c, d]),
            ref long => IpAddr::from(<[u8; 16]>::try_from(long).ok()?),
        };
        let left_ms = find(element, 5).and_then(be64).unwrap_or(0);
        let counted = find(element, 7).and_then(|expression| counts(find(expression, 2)?));
        let (packets, bytes) = counted.unwrap_or_default();
        all.push(Said::Member { first, left_ms, packets, bytes });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SET: Set = Set { name: "banned4", kind: 7, length: 4 };

    /// As the kernel would tell of it.
    fn told(kind: u16, attributes: &Attributes) -> Vec<u8> {
        let mut packet = Vec::new();
        put(&mut packet, SUBSYSTEM << 8 | kind, 0, 1, INET, 0, &attributes.0);
        packet
    }

    proptest! {
        #[test]
        fn no_packet_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_damaged_answer_is_read_or_refused(place in 0..400_usize, bits: u8, cut in 0..400_usize) {
            let member = Member {
                first: [10, 0, 0, 0].into(), end: Some([11, 0, 0, 0].into()), lasts_ms: 9, left_ms: 5, packets: 1, bytes: 40,
            };
            let mut packet = told(12, &Message::member(SET, &member).attributes);
            packet.extend(told(18, &Message::counter("rule-7", 3, 180).attributes));
            if let Some(byte) = packet.get_mut(place) {
                *byte ^= bits;
            }
            packet.truncate(cut);
            let found = read(&packet);
            prop_assert!(found.is_none_or(|all| all.len() <= 4));
        }

        #[test]
        fn what_was_said_is_read_back(
            name in "[a-z0-9-]{1,20}", packets: u64, bytes: u64, first: [u8; 4], left in 1..1_000_000_u64,
        ) {
            let counter = told(18, &Message::counter(&name, packets, bytes).attributes);
            prop_assert_eq!(read(&counter), Some(vec![Said::Counter { name, packets, bytes }]));
            let first = IpAddr::from(first);
            let member = Member { first, end: Some(first), lasts_ms: 2_000_000, left_ms: left, packets, bytes };
            let element = told(12, &Message::member(SET, &member).attributes);
            prop_assert_eq!(read(&element), Some(vec![Said::Member { first, left_ms: left, packets, bytes }]));
        }
    }

    #[test]
    fn a_batch_is_whole_messages_and_asks_for_one_acknowledgement() {
        let (packet, sequence) = batch(&[Message::no_table(), Message::table(), Message::chain()]);
        let (mut rest, mut seen) = (&packet[..], Vec::new());
        while !rest.is_empty() {
            let buffer = NetlinkBuffer::new_checked(rest).expect("a message");
            seen.push((buffer.message_type() & 0xff, buffer.flags() & NLM_F_ACK != 0));
            rest = &rest[buffer.length() as usize..];
        }
        assert_eq!(seen, [(16, false), (26, false), (0, false), (3, true), (17, false)]);
        assert_eq!(sequence, 3);
    }
}
