//! The superblock of the data disk, which may be anybody's.
#![no_main]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("ext4"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
