//! When what is planned is due. Pure: the time is an argument.

use super::{Entry, Past, When};
use aios_unit::Calendar;
use std::time::Duration;

/// Now, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970. May be set.
    pub wall: u64,
    /// Since the machine started. Never jumps.
    pub boot: Duration,
}

/// When an entry is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At this second since 1970.
    Wall(u64),
    /// At this time since the machine started.
    Boot(Duration),
}

impl Due {
    /// Whether it is time.
    pub fn is_now(self, now: Now) -> bool {
        match self {
            Self::Wall(at) => at <= now.wall,
            Self::Boot(at) => at <= now.boot,
        }
    }

    /// Seconds until then.
    pub fn seconds_from(self, now: Now) -> u64 {
        match self {
            Self::Wall(at) => at.saturating_sub(now.wall),
            Self::Boot(at) => at.saturating_sub(now.boot).as_secs(),
        }
    }
}

/// The next time after `now`: for an entry that is new, was enabled, or has just begun a run.
pub fn then(entry: &Entry, now: Now) -> Option<Due> {
    match &entry.when {
        // A moment of the calendar that was found at the check comes again.
        When::At(text) => calendar(text)?.next_after(now.wall).map(Due::Wall),
        When::EverySeconds(pause) => Some(Due::Boot(now.boot + Duration::from_secs(*pause))),
    }
}

/// The first time after the broker was started. Whether it should have run while nobody could look at it is known from when it
/// ran last; that is caught up once, or not at all.
pub fn first(entry: &Entry, past: &Past, now: Now) -> Option<Due> {
    let last = past.began.unwrap_or(past.since).max(past.since);
    match &entry.when {
        When::At(text) => {
            let missed = calendar(text)?.next_after(last).is_some_and(|moment| moment <= now.wall);
            if missed && entry.catch_up { Some(Due::Wall(now.wall)) } else { then(entry, now) }
        }
        When::EverySeconds(pause) => {
            let pause = (*pause).max(1);
            let left = match now.wall.checked_sub(last) {
                Some(gone) if gone >= pause && entry.catch_up => 0,
                // In step with the runs before.
                Some(gone) => pause - gone % pause,
                // The clock was set back.
                None => pause,
            };
            Some(Due::Boot(now.boot + Duration::from_secs(left)))
        }
    }
}

/// After somebody has set the clock: moments of the calendar are found anew, pauses go on.
pub fn after_setting(entry: &Entry, past: &Past, due: Option<Due>, now: Now) -> Option<Due> {
    match entry.when {
        When::At(_) => first(entry, past, now),
        When::EverySeconds(_) => due,
    }
}

fn calendar(text: &str) -> Option<Calendar> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::entry;
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-21T10:48:12Z
    const NOW: u64 = 1_795_258_092;

    fn now(wall: u64) -> Now {
        Now { wall, boot: Duration::from_secs(wall - 1_000_000_000) }
    }

    fn ran(began: u64) -> Past {
        Past { began: Some(began), ..Past::default() }
    }

    #[test]
    fn what_was_missed_is_caught_up_once_or_not_at_all() {
        let mut nightly = entry(When::At("30 3 * * *".into()));
        let yesterday = ran(NOW - 86_400);
        let tomorrow = NOW / 86_400 * 86_400 + 86_400 + 3 * 3600 + 1800;
        assert_eq!(first(&nightly, &yesterday, now(NOW)), Some(Due::Wall(tomorrow)));
        nightly.catch_up = true;
        assert_eq!(first(&nightly, &yesterday, now(NOW)), Some(Due::Wall(NOW)));
        assert_eq!(first(&nightly, &ran(NOW), now(NOW + 60)), Some(Due::Wall(tomorrow)));
        // One that is new has missed nothing.
        let new = Past { since: NOW, ..Past::default() };
        assert_eq!(first(&nightly, &new, now(NOW + 60)), Some(Due::Wall(tomorrow)));
    }

    #[test]
    fn pauses_go_on_in_step_and_do_not_see_the_clock() {
        let mut hourly = entry(When::EverySeconds(3600));
        let boot = |due: Option<Due>| due.expect("comes").seconds_from(now(NOW));
        assert_eq!(boot(first(&hourly, &ran(NOW - 600), now(NOW))), 3000);
        assert_eq!(boot(first(&hourly, &ran(NOW - 2 * 3600 - 600), now(NOW))), 3000);
        assert_eq!(boot(first(&hourly, &ran(NOW + 500_000), now(NOW))), 3600);
        hourly.catch_up = true;
        assert_eq!(boot(first(&hourly, &ran(NOW - 2 * 3600 - 600), now(NOW))), 0);
        let due = then(&hourly, now(NOW));
        let set = Now { wall: NOW + 1_000_000, ..now(NOW) };
        assert_eq!(after_setting(&hourly, &ran(NOW), due, set), due);
    }

    #[test]
    fn when_the_clock_is_set_moments_are_found_anew() {
        let mut nightly = entry(When::At("30 3 * * *".into()));
        let due = then(&nightly, now(NOW));
        let later = now(NOW + 3 * 86_400);
        let skipped = after_setting(&nightly, &ran(NOW), due, later).expect("comes");
        assert!(!skipped.is_now(later));
        nightly.catch_up = true;
        assert!(after_setting(&nightly, &ran(NOW), due, later).expect("comes").is_now(later));
        // Set back, it does not wait for the day that it had been.
        let earlier = now(NOW - 300 * 86_400);
        let due = after_setting(&nightly, &ran(NOW), due, earlier).expect("comes");
        assert!(due.seconds_from(earlier) <= 86_400);
    }

    proptest! {
        /// A machine that is on for a while and off for a while, with a clock that is set now and then.
        #[test]
        fn nothing_runs_twice_for_one_moment_and_nothing_waits_for_ever(
            hours in 0..24_u64,
            catch_up: bool,
            days in proptest::collection::vec((1..200_000_u64, any::<bool>()), 1..30),
        ) {
            let mut daily = entry(When::At(format!("0 {hours} * * *")));
            daily.catch_up = catch_up;
            let calendar: Calendar = format!("0 {hours} * * *").parse().expect("a time");
            let mut past = Past { since: NOW, ..Past::default() };
            let mut wall = NOW;
            let mut due = then(&daily, now(wall));
            let mut ran_at = Vec::new();
            for (seconds, on) in days {
                let until = wall + seconds;
                while let (true, Some(Due::Wall(at))) = (on, due) {
                    if at > until {
                        break;
                    }
                    wall = wall.max(at);
                    prop_assert!(due.expect("is due").is_now(now(wall)));
                    past.began = Some(wall);
                    ran_at.push(wall);
                    due = then(&daily, now(wall));
                }
                wall = until;
                if !on {
                    due = first(&daily, &past, now(wall));
                }
                let next = due.expect("always comes").seconds_from(now(wall));
                prop_assert!(next <= 86_400, "{next}");
            }
            // Between two runs lies a moment of the calendar.
            for pair in ran_at.windows(2) {
                let moment = calendar.next_after(pair[0]).expect("comes");
                prop_assert!(moment <= pair[1], "{pair:?}");
            }
        }
    }
}
