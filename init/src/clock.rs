//! The time for which the machine has been awake since the kernel started.

use crate::supervisor::Now;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// CLOCK_MONOTONIC: never jumps, counts from the kernel's start, and stands still while the machine sleeps: nobody is late
/// because of that.
pub(crate) fn now() -> Duration {
    of(ClockId::Monotonic)
}

/// CLOCK_BOOTTIME: the same with the time of its sleep.
pub(crate) fn with_sleep() -> Duration {
    of(ClockId::Boottime)
}

fn of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The same, and what the calendar says.
pub(crate) fn both() -> Now {
    Now { boot: now(), wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
}

/// Milliseconds, as the ABI has times.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
