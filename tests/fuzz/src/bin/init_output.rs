//! What services write to standard output and error.
#![no_main]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("output"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
