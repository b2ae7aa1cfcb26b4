//! An address without a server: RFC 3927, as a state machine without I/O.
//!
//! Candidates follow from the hardware address, so that a machine tends to have the same one after each
//! start; each is probed before it is used and given up as soon as somebody else is heard with it.

use crate::arp::Arp;
use crate::rng::Rng;
use std::net::Ipv4Addr;

// Section 9.
const PROBE_WAIT: u64 = 1_000;
const PROBES: u32 = 3;
const PROBE_MIN: u64 = 1_000;
const PROBE_MAX: u64 = 2_000;
const ANNOUNCE_WAIT: u64 = 2_000;
const ANNOUNCEMENTS: u32 = 2;
const ANNOUNCE_INTERVAL: u64 = 2_000;
const MAX_CONFLICTS: u32 = 10;
const RATE_LIMIT: u64 = 60_000;

/// What the machine wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Broadcast this.
    Send(Arp),
    /// Use this address.
    Bind(Ipv4Addr),
    /// Stop using the address.
    Unbind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    Probing { address: Ipv4Addr, sent: u32, next: u64 },
    Bound { address: Ipv4Addr, announced: u32, next: Option<u64> },
}

/// One interface's link-local address.
#[derive(Debug)]
pub(crate) struct LinkLocal {
    mac: [u8; 6],
    state: State,
    conflicts: u32,
    rng: Rng,
}

impl LinkLocal {
    /// Of the interface with this hardware address.
    pub(crate) fn new(mac: [u8; 6]) -> Self {
        let seed = mac.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        Self { mac, state: State::Off, conflicts: 0, rng: Rng::new(seed) }
    }

    /// Whether it is wanted.
    pub(crate) fn is_on(&self) -> bool {
        self.state != State::Off
    }

    /// When the machine wants to be asked again.
    pub(crate) fn wake(&self) -> Option<u64> {
        match self.state {
            State::Off => None,
            State::Probing { next, .. } => Some(next),
            State::Bound { next, .. } => next,
        }
    }

    /// An address is wanted.
    pub(crate) fn start(&mut self, now: u64) {
        if !self.is_on() {
            self.probe_another(now);
        }
    }

    /// No address is wanted any more.
    pub(crate) fn stop(&mut self) -> Option<Action> {
        let bound = matches!(self.state, State::Bound { .. });
        self.state = State::Off;
        bound.then_some(Action::Unbind)
    }

    fn probe_another(&mut self, now: u64) {
        // 169.254.1.0 to 169.254.254.255 (section 2.1).
        let host = 256 + self.rng.below(65_024) as u32;
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(169, 254, 0, 0).to_bits() + host);
        let wait = if self.conflicts >= MAX_CONFLICTS { RATE_LIMIT } else { self.rng.below(PROBE_WAIT) };
        self.state = State::Probing { address, sent: 0, next: now + wait };
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: u64) -> Vec<Action> {
        if self.wake().is_none_or(|wake| now < wake) {
            return Vec::new();
        }
        match self.state {
            State::Off => Vec::new(),
            State::Probing { address, sent, .. } if sent < PROBES => {
                let pause = if sent + 1 == PROBES {
                    ANNOUNCE_WAIT
                } else {
                    PROBE_MIN + self.rng.below(PROBE_MAX - PROBE_MIN)
                };
                self.state = State::Probing { address, sent: sent + 1, next: now + pause };
                vec![self.send(Ipv4Addr::UNSPECIFIED, address)]
            }
            State::Probing { address, .. } => {
                self.conflicts = 0;
                self.state = State::Bound { address, announced: 1, next: Some(now + ANNOUNCE_INTERVAL) };
                vec![Action::Bind(address), self.send(address, address)]
            }
            State::Bound { address, announced, .. } => {
                let announced = announced + 1;
                let next = (announced < ANNOUNCEMENTS).then_some(now + ANNOUNCE_INTERVAL);
                self.state = State::Bound { address, announced, next };
                vec![self.send(address, address)]
            }
        }
    }

    /// An ARP packet was heard.
    pub(crate) fn heard(&mut self, now: u64, arp: &Arp) -> Option<Action> {
        if arp.mac == self.mac {
            return None;
        }
        match self.state {
            // Section 2.2.1.
            State::Probing { address, .. } if arp.claims(address, self.mac) => {
                self.conflicts += 1;
                self.probe_another(now);
                None
            }
            // Given up at once (section 2.5, a).
            State::Bound { address, .. } if arp.sender == address => {
                self.conflicts += 1;
                self.probe_another(now);
                Some(Action::Unbind)
            }
            _ => None,
        }
    }

    fn send(&self, sender: Ipv4Addr, target: Ipv4Addr) -> Action {
        Action::Send(Arp { mac: self.mac, sender, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// Let it run until it has nothing more to do.
    fn run(machine: &mut LinkLocal, mut now: u64) -> (Vec<Action>, u64) {
        let mut all = Vec::new();
        while let Some(wake) = machine.wake() {
            now = wake;
            all.extend(machine.tick(now));
        }
        (all, now)
    }

    #[test]
    fn an_address_is_probed_three_times_then_used_and_announced_twice() {
        let mut machine = LinkLocal::new(MAC);
        machine.start(0);
        let (actions, now) = run(&mut machine, 0);
        let [
            Action::Send(a),
            Action::Send(b),
            Action::Send(c),
            Action::Bind(address),
            Action::Send(d),
            Action::Send(e),
        ] = actions[..]
        else {
            panic!("{actions:?}")
        };
        assert!([a, b, c].iter().all(|probe| probe.sender.is_unspecified() && probe.target == address));
        assert!([d, e].iter().all(|announced| announced.sender == address && announced.target == address));
        assert!((5_000..10_000).contains(&now), "took {now} ms");
        assert!(address.is_link_local() && !matches!(address.octets(), [_, _, 0 | 255, _]));
    }

    #[test]
    fn the_same_machine_tries_the_same_address_first() {
        let bound = |mac| {
            let mut machine = LinkLocal::new(mac);
            machine.start(0);
            run(&mut machine, 0).0.into_iter().find(|action| matches!(action, Action::Bind(_)))
        };
        assert_eq!(bound(MAC), bound(MAC));
        assert_ne!(bound(MAC), bound(OTHER));
    }

    #[test]
    fn an_address_that_somebody_has_is_left_alone() {
        let mut machine = LinkLocal::new(MAC);
        machine.start(0);
        let wake = machine.wake().expect("wakes");
        let [Action::Send(probe)] = machine.tick(wake)[..] else { panic!("no probe") };
        assert_eq!(
            machine.heard(wake, &Arp { mac: OTHER, sender: probe.target, target: probe.target }),
            None
        );
        let (actions, _) = run(&mut machine, wake);
        assert!(!actions.contains(&Action::Bind(probe.target)), "{actions:?}");
    }

    #[test]
    fn a_conflict_later_gives_the_address_up() {
        let mut machine = LinkLocal::new(MAC);
        machine.start(0);
        let (actions, now) = run(&mut machine, 0);
        let Some(Action::Bind(address)) = actions.into_iter().find(|a| matches!(a, Action::Bind(_))) else {
            panic!("not bound")
        };
        let claim = Arp { mac: OTHER, sender: address, target: address };
        assert_eq!(machine.heard(now, &claim), Some(Action::Unbind));
        assert!(machine.wake().is_some());
        // Our own packets, which we hear as well, are no conflict.
        assert_eq!(machine.heard(now, &Arp { mac: MAC, ..claim }), None);
    }

    #[test]
    fn a_hostile_neighbour_slows_the_search_down() {
        let mut machine = LinkLocal::new(MAC);
        machine.start(0);
        let mut now = 0;
        for _ in 0..20 {
            now = machine.wake().expect("wakes");
            for action in machine.tick(now) {
                if let Action::Send(probe) = action {
                    machine.heard(now, &Arp { mac: OTHER, sender: probe.target, target: probe.target });
                }
            }
        }
        assert!(now > 8 * RATE_LIMIT, "only {now} ms");
    }
}
