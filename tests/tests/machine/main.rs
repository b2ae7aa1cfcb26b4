//! The booted image, as its owner and its enemies meet it. Every test boots a machine of its own.
//! One file a subject; what they share is the crate `aios_tests`.

mod calls;
mod changes;
mod console;
mod data;
mod disk;
mod engines;
mod extensions;
mod faults;
mod kexec;
mod models;
mod network;
mod openai;
mod policy;
mod power;
mod recovery;
mod sandbox;
mod services;
mod sticks;

use anyhow::Result;
use std::time::{SystemTime, UNIX_EPOCH};

/// Numbers at random that the same seed gives again: xorshift64 (G. Marsaglia, "Xorshift RNGs").
pub(crate) struct Random(u64);

impl Random {
    /// Of this moment, or what `AIOS_SEED` says.
    pub(crate) fn seed() -> Result<u64> {
        match std::env::var("AIOS_SEED") {
            Ok(seed) => Ok(seed.parse()?),
            Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos().into()),
        }
    }

    pub(crate) fn new(seed: u64) -> Self {
        // From 0 there would be nothing but zeros.
        Self(seed | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() >> 33).map_or(0, |number| number % bound)
    }

    pub(crate) fn one<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// A JSON string without its quotes; anything else as JSON.
pub(crate) fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
