//! The superblock of the data disk, which may be anybody's.
#![cfg_attr(feature = "link", no_main)]

use std::sync::LazyLock;

static PARSE: LazyLock<fn(&[u8])> = LazyLock::new(|| aios_fuzz::foreign("ext4"));

aios_fuzz::fuzz_target!(|bytes: &[u8]| PARSE(bytes));
