//! All memory of the machine.

use crate::{Outcome, sys};

/// Take memory with three processes until there is none, in so many runs; after that be content.
pub(crate) fn eat(times: u32) -> Outcome {
    let counter = std::env::var("STATE_DIRECTORY").map_err(std::io::Error::other)? + "/runs";
    let runs: u32 = std::fs::read_to_string(&counter).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    if runs >= times {
        println!("hostile: eat: content after {runs} meals");
        sys::pause();
    }
    std::fs::write(&counter, (runs + 1).to_string())?;
    println!("hostile: eat: meal {} begins", runs + 1);
    for _ in 0..2 {
        if sys::fork()?.is_none() {
            break;
        }
    }
    let mut taken = Vec::new();
    loop {
        // Written to, so that it is memory and not only a promise.
        taken.push(vec![1_u8; 4 << 20]);
    }
}
