//! Records of the kernel's log, in which processes may write too.
#![no_main]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("kmsg"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
