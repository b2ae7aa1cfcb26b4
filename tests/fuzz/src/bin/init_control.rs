//! Requests at init's socket, where any process may ask.
#![cfg_attr(feature = "link", no_main)]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("control"));

aios_fuzz::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
