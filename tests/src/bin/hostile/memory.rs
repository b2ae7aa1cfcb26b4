//! All memory of the machine, or nearly all.

use crate::{Outcome, sys};
use aios_gguf::Free;
use std::io::Error;

/// Take memory until so many percent of the machine's are left to others, and keep it.
pub(crate) fn crowd(left: u32) -> Outcome {
    let mut taken = Vec::new();
    loop {
        let free = Free::now()?;
        if free.available * 100 <= free.total * u64::from(left) {
            println!("hostile: crowd: {} MiB are taken", taken.len());
            sys::pause();
        }
        // Written to, so that it is memory and not only a promise.
        taken.push(vec![1_u8; 1 << 20]);
    }
}

/// Write to more memory than the service's limit allows, again and again: the kernel makes it wait.
pub(crate) fn narrow(mebibytes: u32) -> Outcome {
    println!("hostile: narrow: begins");
    let size = usize::try_from(mebibytes).map_err(Error::other)? << 20;
    loop {
        std::hint::black_box(vec![1_u8; size]);
    }
}

/// Take memory with three processes until there is none, in so many runs; after that be content.
pub(crate) fn eat(times: u32) -> Outcome {
    let counter = std::env::var("STATE_DIRECTORY").map_err(Error::other)? + "/runs";
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
