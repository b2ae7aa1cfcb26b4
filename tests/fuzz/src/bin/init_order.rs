//! What the owner ordered in recovery mode, read from the data disk.
#![cfg_attr(feature = "link", no_main)]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("order"));

aios_fuzz::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
