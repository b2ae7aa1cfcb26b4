//! The kernel's command line, which a boot loader or a person writes.
#![cfg_attr(feature = "link", no_main)]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("cmdline"));

aios_fuzz::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
