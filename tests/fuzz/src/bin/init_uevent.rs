//! Events of the kernel about devices, in which names of devices stand.
#![cfg_attr(feature = "link", no_main)]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("uevent"));

aios_fuzz::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
