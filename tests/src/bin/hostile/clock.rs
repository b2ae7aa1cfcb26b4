//! A wall clock that jumps.

use crate::Outcome;
use rustix::time::{ClockId, clock_gettime, clock_settime};

/// Move the clock by so many seconds.
pub(crate) fn jump(seconds: i64) -> Outcome {
    let mut time = clock_gettime(ClockId::Realtime);
    time.tv_sec += seconds;
    clock_settime(ClockId::Realtime, time)?;
    println!("hostile: clock: moved by {seconds} s");
    Ok(())
}
