//! First program of the machine that the appliance is measured against: says what the clock reads,
//! by the clock and at the point of its life at which the appliance's PID 1 reads its own.
//!
//! `stamp WORD` prints `peer: WORD MILLISECONDS`. As PID 1 it then becomes `/bin/init`.

#![forbid(unsafe_code)]

use rustix::time::{ClockId, clock_gettime};
use std::os::unix::process::CommandExt;

fn main() -> std::io::Result<()> {
    let now = clock_gettime(ClockId::Boottime);
    let word = std::env::args().nth(1).unwrap_or_else(|| "init".to_owned());
    println!("peer: {word} {}", now.tv_sec * 1000 + now.tv_nsec / 1_000_000);
    if std::process::id() == 1 {
        return Err(std::process::Command::new("/bin/init").exec());
    }
    Ok(())
}
