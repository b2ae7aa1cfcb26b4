//! What netd keeps on the disk, with what it writes anew, and what the kernel says of the firewall.
//!
//! netd is a program without a library, so its sources are compiled in here.
#![cfg_attr(feature = "link", no_main)]
#![allow(dead_code, unused_imports)]

#[path = "../../../../tools/netd/src/config.rs"]
mod config;
#[path = "../../../../tools/netd/src/firewall/file.rs"]
mod file;
#[path = "../../../../tools/netd/src/firewall/nft.rs"]
mod nft;
#[path = "../../../../tools/netd/src/firewall/state.rs"]
mod state;

use aios_fuzz::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let _ = nft::read(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let place = Path::new("/data/netd/settings.toml");
    if let Ok(settings) = config::read_settings(place, text) {
        let again = config::write_settings(&settings).expect("is written");
        assert_eq!(config::read_settings(place, &again), Ok(settings));
    }
    // Behind the hash that nobody can guess.
    let marked = format!("{}{}\n{text}", file::MARK, blake3::hash(bytes).to_hex());
    if let Ok(state) = file::parse(marked.as_bytes(), 0) {
        let again = file::text(&state).expect("is written");
        assert_eq!(file::parse(again.as_bytes(), 0), Ok(state));
    }
});
