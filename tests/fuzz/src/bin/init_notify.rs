//! What services say of themselves (sd_notify(3)): any process may send it.
#![no_main]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("notify"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
