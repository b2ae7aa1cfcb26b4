//! Packets between broker, workshop and workers, and files of undo data with what each tool makes of them.
#![cfg_attr(feature = "link", no_main)]

use aios_abi::frame;
use aios_fuzz::fuzz_target;
use aios_toold::{tool, undo, worker};

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
