//! What services say of themselves (sd_notify(3)): any process may send it.
#![cfg_attr(feature = "link", no_main)]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("notify"));

aios_fuzz::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
