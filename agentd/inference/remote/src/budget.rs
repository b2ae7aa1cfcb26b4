//! The budget: what was spent this month, what may still be charged, and whether one more request may be sent.
//!
//! Pure: no clock, no file. A request is reserved with the most that it can cost before it is sent, and settled when it is
//! known what it did cost. What is reserved counts as spent until then, in each month in which it is open, because nobody
//! knows in which of them a server charges for it.

use crate::money::Micro;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A clock that shows an earlier year has not been set yet.
const FIRST_YEAR: i16 = 2024;

/// A month of the calendar (UTC), in months since the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Month(u32);

impl Month {
    /// The month of this moment, in seconds since 1970; none when the clock cannot have been set.
    pub fn of(seconds: i64) -> Option<Self> {
        let date = jiff::Timestamp::from_second(seconds).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
        let months = u32::try_from(date.year()).ok()? * 12 + u32::try_from(date.month() - 1).ok()?;
        (date.year() >= FIRST_YEAR).then_some(Self(months))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0 / 12, self.0 % 12 + 1)
    }
}

/// What a person allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In one month.
    pub per_month: Micro,
    /// For one request.
    pub per_request: Micro,
}

/// A reservation. There is one settlement for each.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// Why a request may not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It could cost more than one request may.
    Request {
        /// What it could cost.
        worst: Micro,
        /// What one may.
        limit: Micro,
    },
    /// It could cost more than is left of the month.
    Month {
        /// What it could cost.
        worst: Micro,
        /// What was spent.
        spent: Micro,
        /// What requests that are under way could cost.
        reserved: Micro,
        /// What one month may cost.
        limit: Micro,
        /// The month that counts; a clock that was in the future once has taken it there.
        month: Month,
    },
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Budget {
    /// The newest month that the clock has shown.
    month: Month,
    /// Spent in it.
    spent: Micro,
    /// Requests that were settled in it.
    requests: u64,
    /// What is reserved, by ticket.
    open: BTreeMap<u64, Micro>,
    /// The next ticket.
    next: u64,
}

impl Budget {
    /// A new life after a crash: nobody knows what became of the requests that were open, so they are spent.
    pub fn recover(&mut self, now: Option<Month>) {
        // The month first: they may have been charged in the one that has begun since.
        self.turn(now);
        let lost = self.reserved();
        self.requests += self.open.len() as u64;
        self.open.clear();
        self.spent = self.spent.plus(lost);
    }

    /// May a request be sent that costs this at worst? The reservation counts once it is on the disk.
    ///
    /// # Errors
    /// It could cost more than is allowed; nothing has changed then but perhaps the month.
    pub fn reserve(&mut self, now: Option<Month>, limits: Limits, worst: Micro) -> Result<Ticket, Refusal> {
        self.turn(now);
        if worst > limits.per_request {
            return Err(Refusal::Request { worst, limit: limits.per_request });
        }
        let (spent, reserved) = (self.spent, self.reserved());
        // Amounts that are too large to be added are no reason to go on.
        let sum = spent.0.checked_add(reserved.0).and_then(|sum| sum.checked_add(worst.0));
        if sum.is_none_or(|sum| sum > limits.per_month.0) {
            let limit = limits.per_month;
            return Err(Refusal::Month { worst, spent, reserved, limit, month: self.month });
        }
        let ticket = self.next;
        self.next += 1;
        self.open.insert(ticket, worst);
        Ok(Ticket(ticket))
    }

    /// A request is over and did cost this, which may be more than was reserved: it is counted in full.
    pub fn settle(&mut self, now: Option<Month>, ticket: &Ticket, actual: Micro) {
        self.turn(now);
        if self.open.remove(&ticket.0).is_some() {
            self.spent = self.spent.plus(actual);
            self.requests += 1;
        }
    }

    /// Spent in the month that counts.
    pub fn spent(&self, now: Option<Month>) -> Micro {
        if now.is_some_and(|now| now > self.month) { Micro::ZERO } else { self.spent }
    }

    /// What requests that are under way could cost.
    pub fn reserved(&self) -> Micro {
        self.open.values().fold(Micro::ZERO, |sum, one| sum.plus(*one))
    }

    /// Requests that were settled in the month that counts.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// The month that counts.
    pub fn month(&self) -> Month {
        self.month
    }

    /// A month never comes back: with a clock that was set back, or not at all, the newest one goes on.
    fn turn(&mut self, now: Option<Month>) {
        if let Some(now) = now.filter(|now| *now > self.month) {
            self.month = now;
            self.spent = Micro::ZERO;
            self.requests = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { per_month: Micro(1_000), per_request: Micro(400) };

    fn month(text: &str) -> Option<Month> {
        let (year, month) = text.split_once('-')?;
        Some(Month(year.parse::<u32>().ok()? * 12 + month.parse::<u32>().ok()? - 1))
    }

    #[test]
    fn months_are_those_of_the_calendar_and_a_clock_that_is_not_set_shows_none() {
        for (seconds, shown) in [
            (1_704_067_199, None),
            (1_704_067_200, Some("2024-01")),
            (1_709_251_199, Some("2024-02")),
            (1_709_251_200, Some("2024-03")),
            (1_798_761_599, Some("2026-12")),
            (1_798_761_600, Some("2027-01")),
            (0, None),
            (-1, None),
            (i64::MAX, None),
            (i64::MIN, None),
        ] {
            assert_eq!(Month::of(seconds).map(|month| month.to_string()).as_deref(), shown, "{seconds}");
        }
    }

    #[test]
    fn what_is_reserved_is_not_there_twice_and_what_was_not_used_comes_back() {
        let (now, mut budget) = (month("2026-11"), Budget::default());
        let first = budget.reserve(now, LIMITS, Micro(400)).expect("there is enough");
        let second = budget.reserve(now, LIMITS, Micro(400)).expect("there is enough");
        let refused = budget.reserve(now, LIMITS, Micro(201)).expect_err("too much");
        let expected = Refusal::Month {
            worst: Micro(201),
            spent: Micro(0),
            reserved: Micro(800),
            limit: Micro(1_000),
            month: now.expect("a month"),
        };
        assert_eq!(refused, expected);
        budget.settle(now, &first, Micro(10));
        budget.settle(now, &first, Micro(10));
        assert_eq!((budget.spent(now), budget.reserved(), budget.requests()), (Micro(10), Micro(400), 1));
        budget.reserve(now, LIMITS, Micro(201)).expect("there is enough again");
        budget.settle(now, &second, Micro(5_000));
        assert_eq!(budget.spent(now), Micro(5_010), "counted in full");
        assert!(budget.reserve(now, LIMITS, Micro(1)).is_err());
        let refused = budget.reserve(now, LIMITS, Micro(401));
        assert_eq!(refused, Err(Refusal::Request { worst: Micro(401), limit: Micro(400) }));
    }

    #[test]
    fn a_new_month_begins_with_what_is_still_open_and_the_old_one_does_not_come_back() {
        let mut budget = Budget::default();
        let (november, december) = (month("2026-11"), month("2026-12"));
        let spent = budget.reserve(november, LIMITS, Micro(400)).expect("there is enough");
        budget.settle(november, &spent, Micro(400));
        let open = budget.reserve(november, LIMITS, Micro(400)).expect("there is enough");
        assert_eq!(budget.spent(december), Micro(0));
        let other = budget.reserve(december, LIMITS, Micro(400)).expect("a new month");
        assert!(budget.reserve(december, LIMITS, Micro(201)).is_err(), "the open one still counts");
        budget.settle(december, &open, Micro(300));
        // The clock is set back, and lost.
        for now in [november, None] {
            assert!(budget.reserve(now, LIMITS, Micro(400)).is_err());
        }
        budget.settle(None, &other, Micro(400));
        assert_eq!((budget.month().to_string().as_str(), budget.spent(november)), ("2026-12", Micro(700)));
    }

    #[test]
    fn requests_that_were_open_at_a_crash_are_spent() {
        let (now, mut budget) = (month("2026-11"), Budget::default());
        for _ in 0..2 {
            budget.reserve(now, LIMITS, Micro(300)).expect("there is enough");
        }
        budget.recover(now);
        assert_eq!((budget.spent(now), budget.reserved(), budget.requests()), (Micro(600), Micro(0), 2));
        assert!(budget.reserve(now, LIMITS, Micro(401)).is_err());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Reserve(u64),
        /// One of those that are open, and which part of its reservation it costs, in percent.
        Settle(usize, u64),
        Crash,
        /// A clock that shows this month; none is one that was not set.
        Clock(Option<u32>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u64..500).prop_map(Step::Reserve),
            5 => (any::<usize>(), 0_u64..=100).prop_map(|(which, percent)| Step::Settle(which, percent)),
            1 => Just(Step::Crash),
            2 => proptest::option::of(24_300_u32..24_306).prop_map(Step::Clock),
        ]
    }

    /// A request as the server sees it, which charges when it likes while it is open.
    struct Sent {
        ticket: Ticket,
        worst: u64,
        months: Vec<Month>,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever happens, and however unluckily servers charge: no month costs more than is allowed. The server that
        /// charges is honest, that is, never takes more than the reservation.
        #[test]
        fn no_history_costs_more_in_a_month_than_is_allowed(steps in proptest::collection::vec(step(), 1..120)) {
            let (mut budget, mut now) = (Budget::default(), None);
            let mut open: Vec<Sent> = Vec::new();
            // For each month all that can have been charged in it.
            let mut charged: BTreeMap<Month, u64> = BTreeMap::new();
            let mut charge = |sent: &Sent, actual: u64| {
                for month in &sent.months {
                    *charged.entry(*month).or_default() += actual;
                }
            };
            for step in steps {
                let newest = budget.month();
                match step {
                    Step::Reserve(worst) => {
                        let known = (budget.spent(now), budget.reserved());
                        match budget.reserve(now, LIMITS, Micro(worst)) {
                            Ok(ticket) => {
                                prop_assert!(known.0.0 + known.1.0 + worst <= LIMITS.per_month.0);
                                prop_assert!(worst <= LIMITS.per_request.0);
                                open.push(Sent { ticket, worst, months: Vec::new() });
                            }
                            Err(Refusal::Request { .. }) => prop_assert!(worst > LIMITS.per_request.0),
                            Err(Refusal::Month { .. }) => {
                                prop_assert!(known.0.0 + known.1.0 + worst > LIMITS.per_month.0);
                            }
                        }
                    }
                    Step::Settle(which, percent) if !open.is_empty() => {
                        let mut sent = open.swap_remove(which % open.len());
                        let actual = sent.worst * percent / 100;
                        budget.settle(now, &sent.ticket, Micro(actual));
                        sent.months.push(budget.month());
                        sent.months.dedup();
                        charge(&sent, actual);
                    }
                    Step::Settle(..) => {}
                    Step::Crash => {
                        // What is on the disk is all that is left.
                        let disk = serde_json::to_vec(&budget).expect("is written");
                        budget = serde_json::from_slice(&disk).expect("is read");
                        budget.recover(now);
                        for mut sent in open.drain(..) {
                            sent.months.push(budget.month());
                            sent.months.dedup();
                            charge(&sent, sent.worst);
                        }
                    }
                    Step::Clock(shown) => now = shown.map(Month),
                }
                prop_assert!(budget.month() >= newest, "a month came back");
                for sent in &mut open {
                    if sent.months.last() != Some(&budget.month()) {
                        sent.months.push(budget.month());
                    }
                }
            }
            // The worst end: all that is open is charged in full.
            for sent in open.drain(..) {
                charge(&sent, sent.worst);
            }
            for (month, sum) in charged {
                prop_assert!(sum <= LIMITS.per_month.0, "{month} costs {sum}");
            }
        }
    }
}
