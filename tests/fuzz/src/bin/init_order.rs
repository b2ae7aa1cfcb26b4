//! What the owner ordered in recovery mode, read from the data disk.
#![no_main]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("order"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
