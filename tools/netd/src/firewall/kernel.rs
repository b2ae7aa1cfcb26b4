//! The firewall in the kernel: one table of nf_tables, `inet aios`. Other tables are left alone.

use super::nft::{self, Field, Member, Message, Said, Set, Step};
use super::state::State;
use aios_abi::firewall::{Action, Ban, Count, Ports, Prefix, Rule, Transport};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, socket_with, sockopt,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

const BANNED4: Set = Set { name: "banned4", kind: 7, length: 4 };
const BANNED6: Set = Set { name: "banned6", kind: 8, length: 16 };
/// What is counted besides the rules, in the order in which it is looked at.
pub(super) const REST: [&str; 6] = ["loopback", "banned", "answers", "icmp", "dhcp", "other"];
/// Bytes of the largest batch: all rules and all bans anew.
const LARGEST: usize = 4 << 20;
/// Bytes of the largest packet in which the kernel tells of a list.
const PACKET: usize = 64 << 10;
/// How often a list is asked for that somebody else changes meanwhile.
const ATTEMPTS: u8 = 5;

/// What the kernel has counted and how long bans still last there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    counters: BTreeMap<String, Count>,
    members: BTreeMap<IpAddr, (u64, Count)>,
}

impl Counted {
    pub(super) fn of_rule(&self, id: u32) -> Count {
        self.named(&rule_counter(id))
    }

    pub(super) fn named(&self, name: &str) -> Count {
        self.counters.get(name).copied().unwrap_or_default()
    }

    /// Milliseconds that are left of a ban, and what it threw away; none when it is over.
    pub(super) fn of_ban(&self, of: &Prefix) -> Option<(u64, Count)> {
        self.members.get(&of.first()).copied()
    }
}

/// Make the table as the state says, whatever it was before; what was counted stays.
pub(super) fn install(state: &State, counted: &Counted, now_ms: u64) -> Result<(), String> {
    let mut messages = vec![Message::no_table(), Message::table(), Message::chain()];
    messages.extend([BANNED4, BANNED6].map(Message::set));
    let names = REST.iter().map(ToString::to_string).chain(state.rules.keys().map(|id| rule_counter(*id)));
    messages.extend(names.map(|name| {
        let Count { packets, bytes } = counted.named(&name);
        Message::counter(&name, packets, bytes)
    }));
    messages.extend(rules(state));
    for (of, ban) in &state.bans {
        let (_, count) = counted.of_ban(of).unwrap_or_default();
        messages.push(member(of, ban, count, now_ms));
    }
    commit(&messages)
}

/// Lead from one state to the next.
pub(super) fn change(from: &State, to: &State, now_ms: u64) -> Result<(), String> {
    let mut messages = Vec::new();
    if from.rules != to.rules {
        let new = to.rules.keys().filter(|id| !from.rules.contains_key(id));
        messages.extend(new.map(|id| Message::counter(&rule_counter(*id), 0, 0)));
        messages.push(Message::no_rules());
        messages.extend(rules(to));
        let gone = from.rules.keys().filter(|id| !to.rules.contains_key(id));
        messages.extend(gone.map(|id| Message::no_counter(&rule_counter(*id))));
    }
    for (of, _) in from.bans.iter().filter(|(of, ban)| to.bans.get(of) != Some(ban)) {
        messages.push(Message::no_member(set(of), of.first(), of.end()));
    }
    for (of, ban) in to.bans.iter().filter(|(of, ban)| from.bans.get(of) != Some(ban)) {
        messages.push(member(of, ban, Count::default(), now_ms));
    }
    if messages.is_empty() { Ok(()) } else { commit(&messages) }
}

fn rule_counter(id: u32) -> String {
    format!("rule-{id}")
}

fn set(of: &Prefix) -> Set {
    if of.is_ipv4() { BANNED4 } else { BANNED6 }
}

fn member(of: &Prefix, ban: &Ban, Count { packets, bytes }: Count, now_ms: u64) -> Message {
    let lasts_ms = u64::from(ban.seconds) * 1_000;
    // A clock that was set back does not make it longer.
    let left_ms = ban.until_ms.saturating_sub(now_ms).min(lasts_ms);
    let member = Member { first: of.first(), end: of.end(), lasts_ms, left_ms, packets, bytes };
    Message::member(set(of), &member)
}

const IPV4: u8 = 2;
const IPV6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// All rules of the chain.
fn rules(state: &State) -> Vec<Message> {
    let is = |field, value: u8| Step::Is(field, vec![value]);
    let port = |field, port: u16| Step::Is(field, port.to_be_bytes().into());
    let count = |name: &str| Step::Count(name.into());
    let dhcp = |family, from, to| {
        let who = [is(Field::Family, family), is(Field::Transport, UDP)];
        let ports = [port(Field::FromPort, from), port(Field::ToPort, to)];
        [&who[..], &ports, &[count("dhcp"), Step::Accept]].concat()
    };
    let mut all = vec![
        vec![on("lo"), count("loopback"), Step::Accept],
        vec![is(Field::Family, IPV4), Step::In(Field::Sender4, BANNED4.name), count("banned"), Step::Drop],
        vec![is(Field::Family, IPV6), Step::In(Field::Sender6, BANNED6.name), count("banned"), Step::Drop],
        // To what this machine began. Packets of what others began go on: a rule holds for them at once.
        vec![is(Field::Direction, 1), count("answers"), Step::Accept],
        vec![is(Field::Transport, ICMP), count("icmp"), Step::Accept],
        vec![is(Field::Transport, ICMPV6), count("icmp"), Step::Accept],
        dhcp(IPV4, 67, 68),
        dhcp(IPV6, 547, 546),
    ];
    all.extend(state.in_order().into_iter().map(|(id, rule)| steps(id, rule)));
    all.push(vec![count("other")]);
    all.iter().map(|steps| Message::rule(steps)).collect()
}

/// It came by the interface of this name.
fn on(name: &str) -> Step {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(16, 0);
    Step::Is(Field::Interface, padded)
}

fn steps(id: u32, rule: &Rule) -> Vec<Step> {
    let mut steps: Vec<Step> = rule.interface.iter().map(|name| on(name)).collect();
    if let Some(from) = rule.from {
        let (family, field) = match from.is_ipv4() {
            true => (IPV4, Field::Sender4),
            false => (IPV6, Field::Sender6),
        };
        steps.push(Step::Is(Field::Family, vec![family]));
        let (mask, first) = match from.first() {
            IpAddr::V4(first) => (mask(from.length(), 4), first.octets().to_vec()),
            IpAddr::V6(first) => (mask(from.length(), 16), first.octets().to_vec()),
        };
        if from.length() > 0 {
            steps.push(Step::Begins(field, mask, first));
        }
    }
    if let Some(Ports { transport, first, last }) = rule.ports {
        let number = if transport == Transport::Tcp { TCP } else { UDP };
        steps.push(Step::Is(Field::Transport, vec![number]));
        if (first, last) != (0, u16::MAX) {
            steps.push(Step::Within(Field::ToPort, first.to_be_bytes().into(), last.to_be_bytes().into()));
        }
    }
    steps.push(Step::Count(rule_counter(id)));
    steps.push(if rule.action == Action::Allow { Step::Accept } else { Step::Drop });
    steps
}

/// So many bits set, the rest not.
fn mask(bits: u8, bytes: usize) -> Vec<u8> {
    let ones = |byte: usize| (usize::from(bits).saturating_sub(byte * 8)).min(8);
    (0..bytes).map(|byte| 0xff_u8.checked_shl(8 - ones(byte) as u32).unwrap_or(0)).collect()
}

fn open() -> Result<OwnedFd, String> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER));
    let socket = socket.map_err(|error| match error {
        Errno::PROTONOSUPPORT => "the kernel has no nf_tables: its modules are not loaded".to_owned(),
        error => format!("the kernel's firewall cannot be asked: {error}"),
    })?;
    for set in [sockopt::set_socket_send_buffer_size_force, sockopt::set_socket_recv_buffer_size_force] {
        set(&socket, LARGEST)
            .map_err(|_| "the firewall takes the capability CAP_NET_ADMIN, which this process lacks")?;
    }
    Ok(socket)
}

fn meaning(error: i32) -> String {
    match Errno::from_raw_os_error(error) {
        Errno::PERM => "the firewall takes the capability CAP_NET_ADMIN, which this process lacks".into(),
        Errno::NOENT => {
            "the table `inet aios` is gone from the kernel; restart netd, which makes it anew".into()
        }
        Errno::OPNOTSUPP | Errno::INVAL => {
            format!("the kernel knows no such rules ({error}): is the module nf_tables loaded?")
        }
        error => format!("the kernel refused the firewall's change: {error}"),
    }
}

fn send(socket: &OwnedFd, packet: &[u8]) -> Result<(), String> {
    let sent = rustix::net::send(socket, packet, SendFlags::empty());
    sent.map(drop).map_err(|e| format!("the kernel does not take the firewall's change: {e}"))
}

/// What the kernel has said; it works while it is written to, so it is all there at once.
fn hear(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<Vec<Said>>, String> {
    match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
        Ok((_, length)) => {
            let packet = buffer.get(..length).ok_or("the kernel's answer is too long")?;
            nft::read(packet).map(Some).ok_or_else(|| "the kernel's answer cannot be understood".into())
        }
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(format!("the kernel does not answer about the firewall: {error}")),
    }
}

/// All of them or none.
fn commit(messages: &[Message]) -> Result<(), String> {
    let socket = open()?;
    let (packet, sequence) = nft::batch(messages);
    send(&socket, &packet)?;
    let (mut buffer, mut done) = (vec![0; PACKET], false);
    while let Some(said) = hear(&socket, &mut buffer)? {
        for one in said {
            match one {
                Said::Outcome(about, 0) => done |= about == sequence,
                Said::Outcome(_, error) => return Err(meaning(error)),
                _ => {}
            }
        }
    }
    if done { Ok(()) } else { Err("the kernel did not say whether the firewall was changed".into()) }
}

/// A whole list.
fn list(question: &[u8]) -> Result<Vec<Said>, String> {
    let socket = open()?;
    let mut buffer = vec![0; PACKET];
    for _ in 0..ATTEMPTS {
        send(&socket, question)?;
        let mut all = Vec::new();
        loop {
            let said = hear(&socket, &mut buffer)?.ok_or("the kernel's list of the firewall has no end")?;
            let end = said.iter().find_map(|one| match one {
                Said::End(error) | Said::Outcome(_, error) => Some(*error),
                _ => None,
            });
            all.extend(said);
            match end {
                Some(0) => break,
                Some(error) => return Err(meaning(error)),
                None => {}
            }
        }
        if !all.contains(&Said::Torn) {
            return Ok(all);
        }
    }
    Err("somebody keeps changing the kernel's firewall; try again".into())
}

/// What was counted until now.
pub(super) fn counted() -> Result<Counted, String> {
    let mut counted = Counted::default();
    let questions = [nft::ask_counters(), nft::ask_members(BANNED4), nft::ask_members(BANNED6)];
    for question in questions {
        for said in list(&question)? {
            match said {
                Said::Counter { name, packets, bytes } => {
                    counted.counters.insert(name, Count { packets, bytes });
                }
                Said::Member { first, left_ms, packets, bytes } => {
                    counted.members.insert(first, (left_ms, Count { packets, bytes }));
                }
                _ => {}
            }
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_its_first_bits_set() {
        assert_eq!(mask(0, 4), [0; 4]);
        assert_eq!(mask(9, 4), [0xff, 0x80, 0, 0]);
        assert_eq!(mask(32, 4), [0xff; 4]);
        assert_eq!(mask(127, 16)[14..], [0xff, 0xfe]);
    }
}
