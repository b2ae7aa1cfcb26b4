//! Packets between broker, workshop and workers, and files of undo data with what each tool makes of them.
#![no_main]

use aios_abi::frame;
use aios_toold::{tool, undo, worker};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    worker::foreign(bytes);
    worker::foreign(&[&[frame::VERSION][..], bytes].concat());
    undo::read(bytes);
    // Behind the hash that nobody can guess.
    let hash = blake3::hash(bytes);
    let Some(saved) = undo::read(&[bytes, hash.as_bytes()].concat()) else { return };
    for tool in tool::all() {
        let _ = tool.code.undo_paths(&saved.kept);
    }
    let again = postcard::to_stdvec(&saved).expect("encodes");
    let hash = blake3::hash(&again);
    assert_eq!(undo::read(&[&again[..], hash.as_bytes()].concat()), Some(saved));
});
