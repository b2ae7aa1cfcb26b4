//! Model files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(summary) = aios_gguf::check_bytes(bytes, bytes.len() as u64, "file") {
        assert_eq!(summary.bytes, bytes.len() as u64);
    }
    // A file that is cut while it is read: its length was something else a moment ago.
    let _ = aios_gguf::check_bytes(bytes, u64::MAX, "file");
});
