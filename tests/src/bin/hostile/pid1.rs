//! Attacks on PID 1 itself, as only root can try them.

use crate::{Outcome, sockets, sys};
use rustix::process::{Pid, Signal, kill_process};

/// Send PID 1 a signal that means a fault in its own program, so many times; after each one, wait until it
/// answers again.
pub(crate) fn signal(name: &str, count: u32) -> Outcome {
    let signal = match name {
        "SEGV" => Signal::SEGV,
        "ABRT" => Signal::ABORT,
        "BUS" => Signal::BUS,
        _ => return Err(std::io::Error::other("no such signal here")),
    };
    for n in 1..=count {
        println!("hostile: signal: SIG{name} to PID 1, {n} of {count}");
        kill_process(Pid::INIT, signal)?;
        let begun = std::time::Instant::now();
        // While it executes itself anew, a connection may end without an answer.
        let answered = (0..1000).find_map(|_| sockets::time_of_answer().ok());
        let after = begun.elapsed().as_millis();
        println!("hostile: signal: it answered again after {after} ms: {}", answered.is_some());
    }
    println!("hostile: signal: done");
    Ok(())
}

/// Hold PID 1 fast for ever.
pub(crate) fn seize() -> Outcome {
    println!("hostile: seize: PID 1 stands still from now on");
    sys::seize(1)?;
    sys::pause();
    Ok(())
}
