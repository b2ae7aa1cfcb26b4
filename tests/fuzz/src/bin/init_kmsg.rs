//! Records of the kernel's log, in which processes may write too.
#![cfg_attr(feature = "link", no_main)]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("kmsg"));

aios_fuzz::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
