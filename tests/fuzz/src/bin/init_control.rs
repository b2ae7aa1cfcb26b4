//! Requests at init's socket, where any process may ask.
#![no_main]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("control"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
