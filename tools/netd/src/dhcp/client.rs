//! When a DHCP client says what: RFC 2131, section 4.4, as a state machine without I/O.
//!
//! Time is in milliseconds since an arbitrary start. The machine never waits: it says in
//! [`Client::wake`] when it wants to be asked again.

use super::{Answer, Lease, Message};
use crate::rng::Rng;
use std::net::Ipv4Addr;

/// Pause before the second message; it doubles up to [`LAST_PAUSE`] (RFC 2131, section 4.1).
const FIRST_PAUSE: u64 = 4_000;
const LAST_PAUSE: u64 = 64_000;
/// Requests that a server may leave unanswered before another one is sought.
const REQUESTS: u32 = 3;
/// The shortest pause between two requests to extend a lease (RFC 2131, section 4.4.5).
const EXTEND_PAUSE: u64 = 60_000;
/// After a refusal the search starts anew, but not at once: a server that always refuses must not
/// be flooded.
const AFTER_NAK: u64 = 1_000;

/// A new address is asked for by ARP this often before it is used, and with this pause (RFC 2131, section
/// 4.4.1; shorter than RFC 5227 has it, because a server has looked as well).
const PROBES: u32 = 2;
const PROBE_PAUSE: u64 = 400;
/// After an address had to be declined (RFC 2131, section 3.1, point 5).
const AFTER_DECLINE: u64 = 10_000;

/// What the machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send to everybody on the link.
    Broadcast {
        /// Transaction.
        xid: u32,
        /// Seconds since the search began.
        secs: u16,
        /// What to say.
        message: Message,
    },
    /// Send from the leased address to the server that leased it.
    Unicast {
        /// Transaction.
        xid: u32,
        /// Where to.
        server: Ipv4Addr,
        /// What to say.
        message: Message,
    },
    /// Ask the link who has this address.
    Probe(Ipv4Addr),
    /// Tell the link that this address is ours.
    Announce(Ipv4Addr),
    /// Use this lease.
    Bind(Lease),
    /// The lease is over; stop using its address.
    Unbind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// No cable.
    Off,
    /// Nothing is said before `next`.
    Pause { next: u64 },
    /// A DISCOVER is out.
    Selecting { next: u64, tries: u32 },
    /// A REQUEST for an offer is out.
    Requesting { offer: Lease, next: u64, tries: u32 },
    /// A REQUEST for the address of before the cable was out.
    Rebooting { next: u64, tries: u32 },
    /// The lease is ours if nobody else is heard with its address.
    Checking { lease: Lease, next: u64, sent: u32 },
    /// All is well until T1.
    Bound,
    /// A REQUEST to extend is out: to the server until T2, to all after it.
    Extending { next: u64 },
}

/// One interface's DHCP client.
#[derive(Debug)]
pub(crate) struct Client {
    state: State,
    xid: u32,
    began: u64,
    /// The lease in use and when it was asked for; its times count from there.
    lease: Option<(Lease, u64)>,
    asked: u64,
    rng: Rng,
}

impl Client {
    /// A client of an interface whose cable is out.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: State::Off, xid: 0, began: 0, lease: None, asked: 0, rng: Rng::new(seed) }
    }

    /// The lease in use.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref().map(|(lease, _)| lease)
    }

    /// Whether an answer is expected.
    pub(crate) fn listens(&self) -> bool {
        !matches!(self.state, State::Off | State::Pause { .. } | State::Checking { .. } | State::Bound)
    }

    /// The address that is about to be used; who else has it is of interest now.
    pub(crate) fn checking(&self) -> Option<Ipv4Addr> {
        match &self.state {
            State::Checking { lease, .. } => Some(lease.address),
            _ => None,
        }
    }

    /// Whether no server answers.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Selecting { tries: 1.., .. })
    }

    /// The transaction that answers must carry.
    pub(crate) fn xid(&self) -> u32 {
        self.xid
    }

    /// When the machine wants to be asked again.
    pub(crate) fn wake(&self) -> Option<u64> {
        let next = match &self.state {
            State::Off => None,
            State::Pause { next }
            | State::Selecting { next, .. }
            | State::Requesting { next, .. }
            | State::Rebooting { next, .. }
            | State::Checking { next, .. }
            | State::Extending { next } => Some(*next),
            State::Bound => self.at(0),
        };
        // A lease ends when it ends, whatever else is going on.
        match (next, self.at(2)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// T1, T2 or the end of the lease in use.
    fn at(&self, which: usize) -> Option<u64> {
        let (lease, since) = self.lease.as_ref()?;
        Some(since + 1_000 * u64::from(*lease.seconds.get(which)?))
    }

    /// The cable went in or out.
    pub(crate) fn carrier(&mut self, now: u64, up: bool) -> Vec<Action> {
        if !up {
            // The address is kept: a cable that comes back in a moment must not cost connections.
            self.state = State::Off;
            return Vec::new();
        }
        if self.state != State::Off {
            return Vec::new();
        }
        self.began = now;
        self.xid = self.rng.next_u32();
        if self.lease.is_some() {
            // Another network may hang on this cable now; RFC 2131, section 3.2.
            self.reboot(now, 0)
        } else {
            self.discover(now, 0)
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.at(2).is_some_and(|end| now >= end) {
            self.lease = None;
            actions.push(Action::Unbind);
            if self.state != State::Off {
                self.began = now;
                actions.extend(self.discover(now, 0));
            }
            return actions;
        }
        if self.wake().is_none_or(|wake| now < wake) {
            return actions;
        }
        actions.extend(match self.state.clone() {
            State::Off => Vec::new(),
            State::Pause { .. } => self.discover(now, 0),
            State::Selecting { tries, .. } => self.discover(now, tries + 1),
            State::Requesting { tries, .. } if tries + 1 >= REQUESTS => self.discover(now, 0),
            State::Requesting { offer, tries, .. } => self.request(now, offer, tries + 1),
            State::Rebooting { tries, .. } if tries + 1 >= REQUESTS => {
                // Nobody answers: the lease may be used to its end (section 3.2, point 4).
                self.state = State::Bound;
                self.tick(now)
            }
            State::Rebooting { tries, .. } => self.reboot(now, tries + 1),
            State::Checking { lease, sent, .. } if sent < PROBES => self.check(now, lease, sent),
            State::Checking { lease, .. } => {
                let announce = Action::Announce(lease.address);
                vec![self.bind(lease), announce]
            }
            State::Bound => {
                self.began = now;
                self.xid = self.rng.next_u32();
                self.extend(now)
            }
            State::Extending { .. } => self.extend(now),
        });
        actions
    }

    /// A server answered in this transaction.
    pub(crate) fn answer(&mut self, now: u64, answer: Answer) -> Vec<Action> {
        match (answer, self.state.clone()) {
            (Answer::Offer(offer), State::Selecting { .. }) => self.request(now, offer, 0),
            (Answer::Ack(lease), State::Requesting { .. }) => self.check(now, lease, 0),
            (Answer::Ack(lease), State::Rebooting { .. } | State::Extending { .. }) => vec![self.bind(lease)],
            (Answer::Nak, State::Requesting { .. } | State::Rebooting { .. } | State::Extending { .. }) => {
                self.state = State::Pause { next: now + AFTER_NAK };
                self.lease.take().map(|_| Action::Unbind).into_iter().collect()
            }
            // A late or repeated answer.
            _ => Vec::new(),
        }
    }

    /// Somebody else was heard with the address that is being checked.
    pub(crate) fn conflict(&mut self, now: u64) -> Vec<Action> {
        let State::Checking { lease: Lease { address, server, .. }, .. } = self.state else {
            return Vec::new();
        };
        self.state = State::Pause { next: now + AFTER_DECLINE };
        vec![self.broadcast(now, Message::Decline { address, server })]
    }

    fn check(&mut self, now: u64, lease: Lease, sent: u32) -> Vec<Action> {
        let probe = Action::Probe(lease.address);
        self.state = State::Checking { lease, next: now + PROBE_PAUSE, sent: sent + 1 };
        vec![probe]
    }

    fn bind(&mut self, lease: Lease) -> Action {
        self.lease = Some((lease.clone(), self.asked));
        self.state = State::Bound;
        Action::Bind(lease)
    }

    fn discover(&mut self, now: u64, tries: u32) -> Vec<Action> {
        // Repeated under the same number: the offer of a slow server still counts.
        if tries == 0 {
            self.xid = self.rng.next_u32();
        }
        self.state = State::Selecting { next: now + self.pause(tries), tries };
        vec![self.broadcast(now, Message::Discover)]
    }

    fn request(&mut self, now: u64, offer: Lease, tries: u32) -> Vec<Action> {
        let message = Message::Select { address: offer.address, server: offer.server };
        self.asked = now;
        self.state = State::Requesting { offer, next: now + self.pause(tries), tries };
        vec![self.broadcast(now, message)]
    }

    fn reboot(&mut self, now: u64, tries: u32) -> Vec<Action> {
        let Some(address) = self.lease().map(|lease| lease.address) else { return self.discover(now, 0) };
        self.asked = now;
        self.state = State::Rebooting { next: now + self.pause(tries), tries };
        vec![self.broadcast(now, Message::Reboot { address })]
    }

    fn extend(&mut self, now: u64) -> Vec<Action> {
        let Some((address, server)) = self.lease().map(|lease| (lease.address, lease.server)) else {
            return self.discover(now, 0);
        };
        let t2 = self.at(1).unwrap_or(now);
        // Half of what is left until T2, then until the end, but no shorter than a minute.
        let until = if now < t2 { t2 } else { self.at(2).unwrap_or(now) };
        let next = (now + ((until.saturating_sub(now)) / 2).max(EXTEND_PAUSE)).min(until.max(now + 1));
        self.asked = now;
        self.state = State::Extending { next };
        let message = Message::Extend { address };
        if now < t2 {
            vec![Action::Unicast { xid: self.xid, server, message }]
        } else {
            vec![self.broadcast(now, message)]
        }
    }

    fn broadcast(&self, now: u64, message: Message) -> Action {
        let secs = u16::try_from(now.saturating_sub(self.began) / 1_000).unwrap_or(u16::MAX);
        Action::Broadcast { xid: self.xid, secs, message }
    }

    /// Twice as long each time, give or take a second.
    fn pause(&mut self, tries: u32) -> u64 {
        let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(8)).min(LAST_PAUSE);
        pause - 1_000 + self.rng.below(2_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lease(last: u8) -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 0, 2, last),
            prefix: 24,
            server: Ipv4Addr::new(10, 0, 2, 2),
            routes: vec![(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(10, 0, 2, 2))],
            dns: vec![Ipv4Addr::new(10, 0, 2, 3)],
            domain: None,
            seconds: [1_800, 3_150, 3_600],
        }
    }

    fn bound() -> Client {
        let mut client = Client::new(1);
        client.carrier(0, true);
        client.answer(10, Answer::Offer(lease(15)));
        assert_eq!(confirm(&mut client, 20, 15).last(), Some(&Action::Announce(lease(15).address)));
        client
    }

    /// The server confirms, and nobody else has the address.
    fn confirm(client: &mut Client, now: u64, last: u8) -> Vec<Action> {
        let mut actions = client.answer(now, Answer::Ack(lease(last)));
        while let Some(wake) = client.checking().and_then(|_| client.wake()) {
            actions.extend(client.tick(wake));
        }
        actions
    }

    #[test]
    fn a_lease_is_had_in_four_messages() {
        let mut client = Client::new(1);
        assert!(matches!(
            client.carrier(0, true)[..],
            [Action::Broadcast { message: Message::Discover, secs: 0, .. }]
        ));
        let select = client.answer(10, Answer::Offer(lease(15)));
        let [Action::Broadcast { message: Message::Select { address, .. }, xid, .. }] = select[..] else {
            panic!("{select:?}")
        };
        assert_eq!((address, xid), (lease(15).address, client.xid()));
        let address = lease(15).address;
        assert_eq!(
            confirm(&mut client, 20, 15),
            [
                Action::Probe(address),
                Action::Probe(address),
                Action::Bind(lease(15)),
                Action::Announce(address)
            ]
        );
        assert!(!client.listens());
        assert_eq!(client.wake(), Some(10 + 1_800_000));
    }

    #[test]
    fn an_unanswered_discover_is_repeated_ever_more_slowly_and_for_ever() {
        let mut client = Client::new(7);
        client.carrier(0, true);
        let mut last = 0;
        for pause in [4, 8, 16, 32, 64, 64, 64] {
            let now = client.wake().expect("wakes");
            assert!((now - last).abs_diff(pause * 1_000) <= 1_000, "{} is not about {pause} s", now - last);
            assert!(matches!(client.tick(now)[..], [Action::Broadcast { message: Message::Discover, .. }]));
            last = now;
        }
    }

    #[test]
    fn a_server_that_offers_but_never_confirms_does_not_hold_the_client() {
        let mut client = Client::new(1);
        client.carrier(0, true);
        client.answer(5, Answer::Offer(lease(15)));
        let mut said = Vec::new();
        for _ in 0..3 {
            let now = client.wake().expect("wakes");
            said.extend(client.tick(now));
        }
        assert!(
            matches!(said.last(), Some(Action::Broadcast { message: Message::Discover, .. })),
            "{said:?}"
        );
    }

    #[test]
    fn a_lease_is_renewed_with_its_server_then_with_any_then_given_up() {
        let mut client = bound();
        let mut said = Vec::new();
        while client.lease().is_some() {
            let now = client.wake().expect("wakes");
            said.extend(client.tick(now).into_iter().map(|action| (now, action)));
        }
        let t2 = 10 + 3_150_000;
        assert!(matches!(said[0], (now, Action::Unicast { .. }) if now == 10 + 1_800_000));
        for (now, action) in &said {
            match action {
                Action::Unicast { message: Message::Extend { .. }, .. } => assert!(*now < t2),
                Action::Broadcast { message: Message::Extend { .. }, .. } => assert!(*now >= t2),
                Action::Unbind => assert_eq!(*now, 10 + 3_600_000),
                Action::Broadcast { message: Message::Discover, .. } => assert_eq!(*now, 10 + 3_600_000),
                other => panic!("{other:?}"),
            }
        }
        assert!(said.len() < 40, "{} messages for one lease", said.len());
    }

    #[test]
    fn a_renewed_lease_counts_from_when_it_was_asked_for() {
        let mut client = bound();
        let now = client.wake().expect("T1");
        client.tick(now);
        assert_eq!(client.answer(now + 30, Answer::Ack(lease(15))), [Action::Bind(lease(15))]);
        assert_eq!(client.wake(), Some(now + 1_800_000));
    }

    #[test]
    fn a_refusal_takes_the_address_away_and_starts_anew_after_a_breath() {
        let mut client = bound();
        let now = client.wake().expect("T1");
        client.tick(now);
        assert_eq!(client.answer(now, Answer::Nak), [Action::Unbind]);
        assert_eq!(client.wake(), Some(now + AFTER_NAK));
        assert!(matches!(
            client.tick(now + AFTER_NAK)[..],
            [Action::Broadcast { message: Message::Discover, .. }]
        ));
    }

    #[test]
    fn a_cable_that_comes_back_asks_for_the_same_address() {
        let mut client = bound();
        assert!(client.carrier(1_000, false).is_empty());
        assert!(client.lease().is_some());
        let said = client.carrier(2_000, true);
        assert!(matches!(said[..], [Action::Broadcast { message: Message::Reboot { .. }, .. }]));
        // Another network: refused, searched, found.
        assert_eq!(client.answer(2_100, Answer::Nak), [Action::Unbind]);
        client.tick(3_100);
        client.answer(3_200, Answer::Offer(lease(77)));
        assert!(confirm(&mut client, 3_300, 77).contains(&Action::Bind(lease(77))));
    }

    #[test]
    fn an_address_that_somebody_has_is_declined_and_another_one_sought_later() {
        let mut client = Client::new(1);
        client.carrier(0, true);
        client.answer(10, Answer::Offer(lease(15)));
        client.answer(20, Answer::Ack(lease(15)));
        assert_eq!(client.checking(), Some(lease(15).address));
        let said = client.conflict(30);
        assert!(matches!(said[..], [Action::Broadcast { message: Message::Decline { .. }, .. }]), "{said:?}");
        assert_eq!((client.lease(), client.wake()), (None, Some(30 + AFTER_DECLINE)));
        assert!(client.conflict(40).is_empty());
        let said = client.tick(30 + AFTER_DECLINE);
        assert!(matches!(said[..], [Action::Broadcast { message: Message::Discover, .. }]), "{said:?}");
    }

    #[test]
    fn a_lease_ends_even_while_the_cable_is_out() {
        let mut client = bound();
        client.carrier(1_000, false);
        let end = client.wake().expect("the end");
        assert_eq!(client.tick(end), [Action::Unbind]);
        assert_eq!(client.wake(), None);
    }

    #[test]
    fn answers_that_nobody_asked_for_change_nothing() {
        let mut client = bound();
        for answer in [Answer::Nak, Answer::Offer(lease(9)), Answer::Ack(lease(9))] {
            assert!(client.answer(30, answer).is_empty());
        }
        assert_eq!(client.lease(), Some(&lease(15)));
    }

    proptest! {
        /// Whatever happens in whatever order: no panic, no flood, and nothing is bound twice over.
        #[test]
        fn any_history_keeps_the_peace(seed: u64, steps in prop::collection::vec((0u8..7, 0u64..100_000), 1..200)) {
            let mut client = Client::new(seed);
            let mut now = 0;
            let mut messages = 0;
            for (what, wait) in steps {
                now += wait;
                let actions = match what {
                    0 => client.carrier(now, true),
                    1 => client.carrier(now, false),
                    2 => client.answer(now, Answer::Offer(lease(15))),
                    3 => client.answer(now, Answer::Ack(lease(15))),
                    4 => client.answer(now, Answer::Nak),
                    5 => client.conflict(now),
                    _ => client.tick(now),
                };
                prop_assert!(actions.len() <= 2);
                messages += actions.iter().filter(|a| matches!(a, Action::Broadcast { .. } | Action::Unicast { .. })).count();
                if let Some(wake) = client.wake() {
                    let more = client.tick(now);
                    prop_assert!(wake > now || more.len() <= 2);
                    if wake > now { prop_assert!(more.is_empty()); }
                }
            }
            prop_assert!(messages <= 250);
        }
    }
}
