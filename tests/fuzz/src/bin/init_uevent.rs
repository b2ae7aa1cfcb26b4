//! Events of the kernel about devices, in which names of devices stand.
#![no_main]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("uevent"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
