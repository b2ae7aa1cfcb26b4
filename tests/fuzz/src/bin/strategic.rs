//! What a server of the strategic tier sends, and the settings that name it.
#![cfg_attr(feature = "link", no_main)]

use aios_engine_remote::config::{Kind, Settings};
use aios_engine_remote::key::Key;
use aios_engine_remote::reader::Reader;
use aios_fuzz::fuzz_target;
use std::path::Path;

/// Text, usage and end of a stream that arrives in pieces of this length.
fn read(kind: Kind, is_json: bool, stream: &[u8], piece: usize) -> String {
    const TOKENS: u32 = 8;
    let (mut reader, mut text) = (Reader::new(kind, is_json, TOKENS), String::new());
    let pushed = stream.chunks(piece).try_for_each(|bytes| reader.push(bytes, |more| text.push_str(&more)));
    assert!(text.len() <= 128 * TOKENS as usize, "more than was asked for is passed on");
    let end = reader.finish();
    if let Err(error) = &end {
        assert!(!error.message.contains('\n'), "{error}");
    }
    format!("{text:?} {:?} {pushed:?} {end:?}", reader.usage())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = (usize::from(input.0).max(1), input.1);
    for kind in [Kind::Openai, Kind::Anthropic] {
        for is_json in [false, true] {
            let whole = read(kind, is_json, stream, stream.len().max(1));
            assert_eq!(read(kind, is_json, stream, piece), whole, "it matters how the stream is cut");
        }
    }
    let Ok(text) = std::str::from_utf8(stream) else { return };
    let _ = Key::read(text);
    match Settings::parse(Path::new("/data/config/strategic.toml"), text) {
        Ok(settings) => {
            assert!(settings.limits.per_request <= settings.limits.per_month);
            assert!(settings.key_file.is_none_or(|file| file.starts_with("/data/config")));
            assert!(settings.allow_http || settings.url.scheme() == "https");
        }
        Err(sentence) => assert!(!sentence.contains('\n'), "{sentence}"),
    }
});
