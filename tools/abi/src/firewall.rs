//! The firewall that netd keeps in the kernel: rules about who may reach this machine, and bans that end by themselves.
//!
//! A rule holds for all packets of connections that others begin, from the moment at which it counts; answers to what this
//! machine asked, loopback, ICMP and the answers of DHCP servers always pass, and what no rule is about passes as well. Of two
//! rules that are about the same packet the one that is about fewer senders counts, then the one about fewer ports, then the
//! newer one; so the order of the rules follows from the rules ([`Rule::rank`]).

use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Rules at once.
pub const MAX_RULES: usize = 256;
/// Bans at once.
pub const MAX_BANS: usize = 4096;
/// Seconds that a ban lasts at least.
pub const MIN_BAN_SECONDS: u32 = 1;
/// Seconds that a ban lasts at most: a year.
pub const MAX_BAN_SECONDS: u32 = 366 * 24 * 60 * 60;
/// Bytes of a ban's reason.
pub const MAX_REASON: usize = 200;
/// Where the console listens (TCP). Somebody always has to reach it.
pub const CONSOLE_PORT: u16 = 443;

/// An address, or all addresses that share their first bits; `192.0.2.7` or `2001:db8::/32` as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// These addresses. Errors: more bits than an address has, and bits that are set beyond the prefix.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, String> {
        // The same machine, as a socket of both families names it (RFC 4291, section 2.5.5.2).
        let (address, length) = match (address.to_canonical(), address, length.checked_sub(96)) {
            (IpAddr::V4(mapped), IpAddr::V6(_), Some(rest)) => (IpAddr::V4(mapped), rest),
            _ => (address, length),
        };
        if length > bits(address) {
            return Err(format!("{address}/{length}: an address of this kind has {} bits", bits(address)));
        }
        let first = Self { address, length }.first();
        match first == address {
            true => Ok(Self { address, length }),
            false => Err(format!(
                "{address}/{length} has bits set beyond its first {length}; is {first}/{length} meant?"
            )),
        }
    }

    /// One address.
    pub fn one(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, length: bits(address) }
    }

    /// All addresses that share so many bits with this one.
    pub fn around(address: IpAddr, length: u8) -> Self {
        let whole = Self { address, length: length.min(bits(address)) };
        Self { address: whole.first(), ..whole }
    }

    /// The first address.
    pub fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - self.length.min(32))).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - self.length.min(128))).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }

    /// The address after the last one; none when that is the last of all.
    pub fn end(&self) -> Option<IpAddr> {
        match self.first() {
            IpAddr::V4(first) => {
                let size = 1_u32.checked_shl(u32::from(32 - self.length))?;
                first.to_bits().checked_add(size).map(|end| Ipv4Addr::from_bits(end).into())
            }
            IpAddr::V6(first) => {
                let size = 1_u128.checked_shl(u32::from(128 - self.length))?;
                first.to_bits().checked_add(size).map(|end| Ipv6Addr::from_bits(end).into())
            }
        }
    }

    /// How many bits are shared.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether it is IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let length = self.length.min(other.length);
        self.is_ipv4() == other.is_ipv4()
            && Self::around(self.address, length) == Self::around(other.address, length)
    }

    /// Whether this address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.overlaps(&Self::one(address))
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length == bits(self.address) {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.length),
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is neither an address such as 192.0.2.7 nor a prefix such as 192.0.2.0/24 or 2001:db8::/32"
            )
        };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        match length {
            Some(length) => Self::new(address, length),
            None => Ok(Self::one(address)),
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It passes.
    Allow,
    /// It is thrown away, and the sender hears nothing.
    Deny,
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
}

/// Ports of this machine, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ports {
    /// Of which protocol.
    pub transport: Transport,
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.transport == Transport::Tcp { "TCP" } else { "UDP" };
        match (self.first, self.last) {
            (0, u16::MAX) => write!(f, "all of {name}"),
            (first, last) if first == last => write!(f, "{name} port {first}"),
            (first, last) => write!(f, "{name} ports {first} to {last}"),
        }
    }
}

/// Who may reach what. A rule that says nothing of something is about all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// What happens.
    pub action: Action,
    /// To packets of these senders.
    pub from: Option<Prefix>,
    /// To these ports.
    pub ports: Option<Ports>,
    /// That come in by this interface; it need not be there yet.
    pub interface: Option<String>,
}

/// The place of a rule among others: the least counts first.
pub type Rank = (Reverse<Option<u8>>, bool, u32, Reverse<u32>);

impl Rule {
    /// What is wrong with it, in one sentence.
    pub fn check(&self) -> Result<(), String> {
        if let Some(Ports { first, last, .. }) = self.ports
            && first > last
        {
            return Err(format!("the ports end ({last}) before they begin ({first})"));
        }
        match &self.interface {
            Some(name) if !is_interface(name) => Err(format!(
                "{name:?} is no name of an interface: 1 to 15 letters, digits, `-`, `_`, `.`, `:` or `@`"
            )),
            _ => Ok(()),
        }
    }

    /// Its place, with its number among those that are about equally much.
    pub fn rank(&self, id: u32) -> Rank {
        let senders = self.from.map(|prefix| prefix.length());
        let ports = self.ports.map_or(1 << 16, |ports| u32::from(ports.last.saturating_sub(ports.first)));
        (Reverse(senders), self.interface.is_none(), ports, Reverse(id))
    }

    /// Whether it is about the console.
    pub fn about_console(&self) -> bool {
        self.ports.is_none_or(|ports| {
            ports.transport == Transport::Tcp && (ports.first..=ports.last).contains(&CONSOLE_PORT)
        })
    }

    /// Whether the other is about exactly the same packets.
    pub fn same_packets(&self, other: &Self) -> bool {
        (self.from, self.ports, &self.interface) == (other.from, other.ports, &other.interface)
    }
}

/// As the kernel takes them (`dev_valid_name`), without what would not be seen on paper.
fn is_interface(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    (1..=15).contains(&name.len()) && name.chars().all(fits) && name != "." && name != ".."
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.action == Action::Allow { "allow " } else { "deny " })?;
        match &self.ports {
            Some(ports) => write!(f, "{ports}")?,
            None => f.write_str("everything")?,
        }
        match &self.from {
            Some(prefix) => write!(f, " from {prefix}")?,
            None => f.write_str(" from everybody")?,
        }
        self.interface.as_ref().map_or(Ok(()), |name| write!(f, " on {name}"))
    }
}

/// Nothing from some addresses passes until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ban {
    /// Its end, in milliseconds since 1970.
    pub until_ms: u64,
    /// How many seconds it lasts altogether.
    pub seconds: u32,
    /// Why, in a few words.
    pub reason: String,
}

impl Ban {
    /// What is wrong with a ban of these addresses, in one sentence.
    pub fn check(&self, of: &Prefix) -> Result<(), String> {
        let least = if of.is_ipv4() { 8 } else { 16 };
        let own = [
            Prefix::around(Ipv4Addr::LOCALHOST.into(), 8),
            Prefix::around(Ipv4Addr::UNSPECIFIED.into(), 8),
            Prefix::one(Ipv6Addr::LOCALHOST.into()),
            Prefix::one(Ipv6Addr::UNSPECIFIED.into()),
        ];
        if own.iter().any(|own| own.overlaps(of)) {
            return Err(format!("{of} is this machine itself, which cannot be banned"));
        }
        if of.length() < least {
            let text = format!("{of} is too much for a ban, which takes a prefix of {least} bits at least");
            return Err(format!("{text}; firewall.deny has no such limit"));
        }
        if !(MIN_BAN_SECONDS..=MAX_BAN_SECONDS).contains(&self.seconds) {
            let text = format!("a ban lasts {MIN_BAN_SECONDS} to {MAX_BAN_SECONDS} seconds");
            return Err(format!("{text}; what is to last for ever is a rule (firewall.deny)"));
        }
        if self.reason.len() > MAX_REASON || self.reason.chars().any(char::is_control) {
            return Err(format!(
                "a ban's reason has at most {MAX_REASON} bytes, without line breaks and such"
            ));
        }
        Ok(())
    }
}

/// A question about the firewall, or a change of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirewallRequest {
    /// All rules and bans, with what the kernel has counted.
    List,
    /// Change a rule or a ban.
    Change(FirewallChange),
    /// Change it so that netd takes it back by itself unless it is confirmed ([`crate::netconf`]).
    Try {
        /// The change.
        change: FirewallChange,
        /// Seconds until it is taken back.
        seconds: u16,
    },
    /// Somebody logged in from this address, or tried to. Only from the console.
    Login {
        /// Whose address.
        address: IpAddr,
        /// Whether it was let in.
        good: bool,
    },
}

/// One rule or one ban, before and after. Refused when it is not as it was said to be before, so that nobody undoes what
/// another has done meanwhile; what is already as it shall be stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirewallChange {
    /// A rule is made, changed or removed.
    Rule {
        /// Its number.
        id: u32,
        /// As it was; none if it was not there.
        before: Option<Rule>,
        /// As it shall be; none if it shall not be there.
        after: Option<Rule>,
    },
    /// A ban begins, is changed or ends.
    Ban {
        /// Of these addresses.
        of: Prefix,
        /// As it was. One whose time is over counts as none.
        before: Option<Ban>,
        /// As it shall be.
        after: Option<Ban>,
    },
}

impl FirewallChange {
    /// Whether somebody might reach the console no longer who could before, as far as rules go: so it is to be tried first.
    pub fn may_cut_off(&self) -> bool {
        let closes = |before: &Option<Rule>, after: &Option<Rule>| {
            let is = |rule: &Option<Rule>, action| {
                rule.as_ref().is_some_and(|rule| rule.action == action && rule.about_console())
            };
            is(before, Action::Allow) || is(after, Action::Deny)
        };
        matches!(self, Self::Rule { before, after, .. } if before != after && closes(before, after))
    }

    /// What takes it back.
    pub fn reversed(self) -> Self {
        match self {
            Self::Rule { id, before, after } => Self::Rule { id, before: after, after: before },
            Self::Ban { of, before, after } => Self::Ban { of, before: after, after: before },
        }
    }
}

impl fmt::Display for FirewallChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { id, after: Some(rule), .. } => write!(f, "rule {id}: {rule}"),
            Self::Rule { id, before: Some(rule), .. } => write!(f, "no rule {id} any more: {rule}"),
            Self::Rule { id, .. } => write!(f, "rule {id}"),
            Self::Ban { of, after: Some(ban), .. } => write!(f, "ban {of} for {} s", ban.seconds),
            Self::Ban { of, .. } => write!(f, "no ban of {of}"),
        }
    }
}

/// What the kernel has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets, with their headers.
    pub bytes: u64,
}

/// A rule in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleNow {
    /// Its number, which no other rule ever gets.
    pub id: u32,
    /// What it says.
    pub rule: Rule,
    /// Packets that it was about, since it was made or since boot.
    pub count: Count,
}

/// A ban in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanNow {
    /// Whose.
    pub of: Prefix,
    /// What it says.
    pub ban: Ban,
    /// Milliseconds until the kernel ends it.
    pub left_ms: u64,
    /// Packets that were thrown away.
    pub count: Count,
}

/// The firewall as it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallNow {
    /// Rules, in the order in which they count.
    pub rules: Vec<RuleNow>,
    /// Bans by address; those whose time is over are not among them.
    pub bans: Vec<BanNow>,
    /// What was counted besides, in the order in which it is looked at: bans, answers, and so on.
    pub rest: Vec<(String, Count)>,
    /// The number that the next rule gets.
    pub next_id: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn prefixes_are_read_and_what_is_none_is_refused_with_a_cure() {
        for text in ["192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0", "fe80::1"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("192.0.2.7/32").to_string(), "192.0.2.7");
        assert_eq!(prefix("::ffff:192.0.2.7"), prefix("192.0.2.7"));
        assert_eq!(prefix("::ffff:192.0.2.0/120"), prefix("192.0.2.0/24"));
        let table = [
            ("10.0.0.5/8", "is 10.0.0.0/8 meant?"),
            ("10.0.0.0/33", "has 32 bits"),
            ("::/129", "has 128 bits"),
            ("gateway.lan", "neither an address"),
            ("10.0.0.0/", "neither an address"),
            ("", "neither an address"),
        ];
        for (text, expected) in table {
            let error = text.parse::<Prefix>().expect_err(text);
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn a_prefix_knows_its_ends_and_whom_it_holds() {
        let end = |text: &str| prefix(text).end().map(|end| end.to_string());
        assert_eq!(end("10.0.0.0/8").as_deref(), Some("11.0.0.0"));
        assert_eq!(end("192.0.2.7").as_deref(), Some("192.0.2.8"));
        assert_eq!((end("255.0.0.0/8"), end("0.0.0.0/0"), end("::/0")), (None, None, None));
        assert_eq!(end("2001:db8::/32").as_deref(), Some("2001:db9::"));
        assert!(prefix("10.0.0.0/8").overlaps(&prefix("10.1.2.3")));
        assert!(prefix("10.1.2.3").overlaps(&prefix("10.0.0.0/8")));
        assert!(!prefix("10.0.0.0/9").overlaps(&prefix("10.128.0.0/9")));
        assert!(!prefix("0.0.0.0/0").overlaps(&prefix("::/0")));
    }

    #[test]
    fn whoever_is_about_less_counts_first_and_then_whoever_is_newer() {
        let rule = |from: Option<&str>, ports: Option<(u16, u16)>, interface: Option<&str>| Rule {
            action: Action::Deny,
            from: from.map(prefix),
            ports: ports.map(|(first, last)| Ports { transport: Transport::Tcp, first, last }),
            interface: interface.map(Into::into),
        };
        let in_order = [
            (1, rule(Some("192.0.2.7"), None, None)),
            (2, rule(Some("192.0.2.0/24"), Some((22, 22)), None)),
            (9, rule(Some("192.0.2.0/24"), None, None)),
            (8, rule(Some("192.0.2.0/24"), None, None)),
            (3, rule(Some("0.0.0.0/0"), None, None)),
            (4, rule(None, None, Some("eth1"))),
            (5, rule(None, Some((22, 22)), None)),
            (6, rule(None, Some((1, 1024)), None)),
            (7, rule(None, Some((0, 65_535)), None)),
            (10, rule(None, None, None)),
        ];
        let ranks: Vec<_> = in_order.iter().map(|(id, rule)| rule.rank(*id)).collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
    }

    #[test]
    fn nobody_bans_this_machine_or_half_the_world() {
        let ban = Ban { until_ms: 0, seconds: 60, reason: "a test".into() };
        assert_eq!(ban.check(&prefix("192.0.2.7")), Ok(()));
        for own in ["127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0/0", "::/0", "64.0.0.0/7", "2000::/3"] {
            assert!(ban.check(&prefix(own)).is_err(), "{own}");
        }
        let long = Ban { reason: "x".repeat(201), ..ban.clone() };
        let lines = Ban { reason: "a\nb".into(), ..ban.clone() };
        let for_ever = Ban { seconds: u32::MAX, ..ban };
        assert!([long, lines, for_ever].iter().all(|ban| ban.check(&prefix("192.0.2.7")).is_err()));
    }
}
