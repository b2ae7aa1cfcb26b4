//! How long a service that died has to wait.

use std::time::Duration;

/// A run that was ready for this long wipes the slate of earlier deaths.
pub(super) const STABLE: Duration = Duration::from_secs(60);
/// Deaths in a row from which on a service counts as flapping.
pub(super) const DEGRADED_AFTER: u32 = 5;
/// A run that was called by a socket and ended sooner has probably left the caller where he was.
pub(super) const IDLE_RUN: Duration = Duration::from_secs(1);
/// So many of them in a row are an error: the caller would call it for ever.
pub(super) const IDLE_RUNS: u32 = 20;
/// The second death in a row waits this long, each further one twice as long as the one before.
const FIRST: Duration = Duration::from_millis(25);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(60);

/// A machine without memory is given this long, each time twice as long, before it has to bear the service
/// again: what is started at once takes the memory that was just won.
const STARVED: Duration = Duration::from_secs(2);

/// The pause after so many deaths in a row: none after the first, unless the machine was out of memory.
pub(super) fn delay(failures: u32, starved: bool, random: &mut Random) -> Duration {
    let pause = match failures.checked_sub(2) {
        _ if starved => STARVED.saturating_mul(1 << failures.saturating_sub(1).min(16)),
        None => return Duration::ZERO,
        Some(doublings) => FIRST.saturating_mul(1 << doublings.min(16)),
    };
    // Between 75 and 100 percent, so that what died together does not come back together.
    pause.min(LONGEST).mul_f64(0.75 + 0.25 * random.fraction())
}

/// xorshift64*: enough to spread pauses.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// At least 0, less than 1.
    pub(super) fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        f64::from(u32::try_from(bits).unwrap_or(0)) / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_nothing_to_a_minute_and_no_further() {
        let mut random = Random::new(7);
        assert_eq!(delay(1, false, &mut random), Duration::ZERO);
        let second = delay(2, false, &mut random);
        assert!((18..=25).contains(&second.as_millis()), "{second:?}");
        for failures in 14..200 {
            let pause = delay(failures, false, &mut random);
            assert!((45..=60).contains(&pause.as_secs()), "{pause:?}");
        }
    }

    #[test]
    fn a_machine_without_memory_is_given_time() {
        let mut random = Random::new(7);
        for failures in 1..100 {
            let pause = delay(failures, true, &mut random);
            assert!((1.5..=60.0).contains(&pause.as_secs_f64()), "{pause:?}");
        }
    }
}
