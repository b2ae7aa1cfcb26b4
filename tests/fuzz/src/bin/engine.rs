//! The byte stream between inferd and an engine worker, from either side.
#![cfg_attr(feature = "link", no_main)]

use aios_abi::engine::{Decoder, EngineEvent, EngineRequest, encode};
use aios_fuzz::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

/// The frames of a stream that arrives in pieces of this length; bad ones are `None`.
fn frames<T: Serialize + DeserializeOwned>(stream: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
    for bytes in stream.chunks(piece) {
        decoder.feed::<T>(bytes, |frame| frames.push(frame.ok().map(|f| encode(&f).expect("encodes"))));
    }
    frames
}

fn check<T: Serialize + DeserializeOwned>(stream: &[u8], piece: usize) {
    let whole = frames::<T>(stream, stream.len().max(1));
    assert_eq!(frames::<T>(stream, piece), whole, "it matters how the stream is cut");
    let good: Vec<Vec<u8>> = whole.into_iter().flatten().collect();
    let again: Vec<Vec<u8>> = frames::<T>(&good.concat(), piece).into_iter().flatten().collect();
    assert_eq!(again, good);
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = (usize::from(input.0).max(1), input.1);
    check::<EngineRequest>(stream, piece);
    check::<EngineEvent>(stream, piece);
});
