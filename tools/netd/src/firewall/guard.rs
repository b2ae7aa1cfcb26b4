//! Brute force: whoever guesses passwords is banned for a while, longer each time. Pure; times are milliseconds of a clock that
//! does not jump.

use aios_abi::firewall::Prefix;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Failed logins that lead to a ban.
const THRESHOLD: usize = 10;
/// Within so long.
const WINDOW_MS: u64 = 10 * 60_000;
/// The first ban, in seconds.
const FIRST: u32 = 60 * 60;
/// The longest.
const LONGEST: u32 = 24 * 60 * 60;
/// So long after a good login, somebody is not banned but only held up by the console itself; and so long after the last
/// attempt somebody is forgotten, with their earlier bans.
const MEMORY_MS: u64 = 48 * 60 * 60_000;
/// Senders that are remembered.
const MAX_SENDERS: usize = 4096;

/// Who has tried to log in.
#[derive(Debug, Default)]
pub(super) struct Guard {
    senders: HashMap<Prefix, Sender>,
}

#[derive(Debug, Default)]
struct Sender {
    /// The last ones, at most [`THRESHOLD`].
    failures: VecDeque<u64>,
    last_ms: u64,
    good_ms: Option<u64>,
    bans: u32,
}

/// A ban that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Of whom.
    pub(super) of: Prefix,
    /// For how long.
    pub(super) seconds: u32,
    /// Why.
    pub(super) reason: String,
}

impl Guard {
    /// Somebody logged in, or tried to.
    pub(super) fn login(&mut self, address: IpAddr, good: bool, now_ms: u64) -> Option<Due> {
        self.senders.retain(|_, sender| now_ms.saturating_sub(sender.last_ms) < MEMORY_MS);
        let address = address.to_canonical();
        // A customer of IPv6 has at least so many addresses to change between (RFC 6177).
        let of = Prefix::around(address, if address.is_ipv4() { 32 } else { 64 });
        if self.senders.len() >= MAX_SENDERS && !self.senders.contains_key(&of) {
            // Those who are let in are remembered longest, and then those who came last.
            let first = self.senders.iter().min_by_key(|(_, sender)| (sender.good_ms, sender.last_ms));
            let first = first.map(|(of, _)| *of);
            first.and_then(|of| self.senders.remove(&of));
        }
        let sender = self.senders.entry(of).or_default();
        sender.last_ms = now_ms;
        if good {
            sender.good_ms = Some(now_ms);
            sender.failures.clear();
            return None;
        }
        sender.failures.push_back(now_ms);
        sender.failures.retain(|then| now_ms.saturating_sub(*then) < WINDOW_MS);
        let good = sender.good_ms.is_some_and(|then| now_ms.saturating_sub(then) < MEMORY_MS);
        if sender.failures.len() < THRESHOLD || good || address.is_loopback() {
            while sender.failures.len() > THRESHOLD {
                sender.failures.pop_front();
            }
            return None;
        }
        let reason = format!(
            "brute force: {} failed logins at the console in {} min",
            sender.failures.len(),
            WINDOW_MS / 60_000
        );
        sender.failures.clear();
        let seconds = FIRST.checked_shl(sender.bans).unwrap_or(LONGEST).clamp(FIRST, LONGEST);
        sender.bans = (sender.bans + 1).min(16);
        Some(Due { of, seconds, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [u8; 4] = [192, 0, 2, 7];

    fn fail(guard: &mut Guard, from: impl Into<IpAddr>, times: usize, now_ms: u64) -> Option<Due> {
        let from = from.into();
        (0..times).fold(None, |due, _| guard.login(from, false, now_ms).or(due))
    }

    #[test]
    fn ten_failures_in_ten_minutes_lead_to_a_ban_and_the_next_one_is_twice_as_long() {
        let mut guard = Guard::default();
        assert_eq!(fail(&mut guard, HERE, 9, 0), None);
        assert_eq!(fail(&mut guard, HERE, 9, WINDOW_MS), None, "the first nine are too long ago");
        let due = fail(&mut guard, HERE, 1, WINDOW_MS).expect("is due");
        assert_eq!((due.of.to_string().as_str(), due.seconds), ("192.0.2.7", FIRST));
        assert!(due.reason.contains("10 failed logins"), "{}", due.reason);
        for seconds in [2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST, LONGEST, LONGEST] {
            assert_eq!(fail(&mut guard, HERE, 10, WINDOW_MS).map(|due| due.seconds), Some(seconds));
        }
        assert_eq!(fail(&mut guard, HERE, 10, WINDOW_MS + MEMORY_MS).map(|due| due.seconds), Some(FIRST));
    }

    #[test]
    fn whoever_was_let_in_and_the_machine_itself_are_not_banned() {
        let mut guard = Guard::default();
        guard.login(HERE.into(), true, 0);
        assert_eq!(fail(&mut guard, HERE, 50, MEMORY_MS - 1), None);
        assert!(fail(&mut guard, HERE, 10, MEMORY_MS + 1).is_some(), "that was long ago");
        assert_eq!(fail(&mut guard, [127, 0, 0, 1], 50, 1), None);
        assert_eq!(fail(&mut guard, [192, 0, 2, 8], 9, 1), None, "others count for themselves");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_a_mapped_address_as_ipv4() {
        let mut guard = Guard::default();
        let due =
            (0..10_u16).find_map(|n| guard.login(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]), false, 0));
        assert_eq!(due.map(|due| due.of.to_string()).as_deref(), Some("2001:db8:0:1::/64"));
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().expect("an address");
        assert_eq!(
            fail(&mut guard, mapped, 10, 0).map(|due| due.of.to_string()).as_deref(),
            Some("192.0.2.7")
        );
    }

    #[test]
    fn a_flood_of_senders_fills_no_memory_and_drives_out_nobody_who_was_let_in() {
        let mut guard = Guard::default();
        guard.login(HERE.into(), true, 0);
        (0..2 * MAX_SENDERS).for_each(|n| {
            guard.login(IpAddr::from((0x0a00_0000 + n as u32).to_be_bytes()), false, 1 + n as u64);
        });
        assert!(guard.senders.len() <= MAX_SENDERS);
        assert_eq!(fail(&mut guard, HERE, 20, 100_000), None);
    }
}
