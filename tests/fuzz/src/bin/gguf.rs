//! Model files.
#![cfg_attr(feature = "link", no_main)]

use aios_fuzz::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(summary) = aios_gguf::check_bytes(bytes, bytes.len() as u64, "file") {
        assert_eq!(summary.bytes, bytes.len() as u64);
    }
    let _ = aios_gguf::shape::Vocabulary::of(bytes, bytes.len() as u64);
    // What was trained for the choice of tools.
    let _ = aios_inferd::choose::Head::of(bytes);
    // A file that is cut while it is read: its length was something else a moment ago.
    let _ = aios_gguf::check_bytes(bytes, u64::MAX, "file");
});
