use super::*;
use proptest::prelude::*;

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// A small whole file: one F32 tensor of 64 elements.
fn whole() -> Vec<u8> {
    let mut b = b"GGUF".to_vec();
    b.extend(3u32.to_le_bytes());
    b.extend(1u64.to_le_bytes());
    b.extend(4u64.to_le_bytes());
    text(&mut b, "general.architecture");
    b.extend(8u32.to_le_bytes());
    text(&mut b, "llama");
    text(&mut b, "llama.context_length");
    b.extend(4u32.to_le_bytes());
    b.extend(2048u32.to_le_bytes());
    text(&mut b, "tokenizer.chat_template");
    b.extend(8u32.to_le_bytes());
    text(&mut b, "{{ messages }}");
    text(&mut b, "tokenizer.ggml.tokens");
    b.extend(9u32.to_le_bytes());
    b.extend(8u32.to_le_bytes());
    b.extend(2u64.to_le_bytes());
    text(&mut b, "a");
    text(&mut b, "bc");
    text(&mut b, "weight");
    b.extend(2u32.to_le_bytes());
    b.extend(32u64.to_le_bytes());
    b.extend(2u64.to_le_bytes());
    b.extend(0u32.to_le_bytes());
    b.extend(0u64.to_le_bytes());
    b.resize(b.len().div_ceil(32) * 32 + 64 * 4, 0);
    b
}

fn examine(bytes: &[u8]) -> Result<Summary, String> {
    check_bytes(bytes, bytes.len() as u64, "file")
}

#[test]
fn a_whole_file_tells_what_it_is() {
    let summary = examine(&whole()).expect("is whole");
    assert_eq!(summary.architecture, "llama");
    assert_eq!((summary.parameters, summary.context), (64, 2048));
    assert_eq!(summary.name, "file");
    assert_eq!(summary.chat_template.as_deref(), Some("{{ messages }}"));
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused_as_truncated() {
    let bytes = whole();
    for length in 4..bytes.len() {
        let said = examine(&bytes[..length]).expect_err("is cut");
        assert!(said.contains("truncated"), "cut at {length}: {said}");
    }
}

#[test]
fn another_file_is_named_for_what_it_is_not() {
    assert!(examine(b"PK\x03\x04....").expect_err("a zip").contains("is no GGUF file"));
    let mut old = whole();
    old[4] = 1;
    assert!(examine(&old).expect_err("version 1").contains("version 1"));
}

#[test]
fn a_missing_file_is_one_sentence() {
    let error = check(Path::new("/nonexistent.gguf")).expect_err("is not there");
    assert!(error.to_string().starts_with("/nonexistent.gguf: cannot be opened"));
}

proptest! {
    /// Whatever is changed in a header, the answer is a summary or a sentence, never a panic, and soon.
    #[test]
    fn a_damaged_file_never_panics(changes in proptest::collection::vec((0usize..400, any::<u8>()), 1..8)) {
        let mut bytes = whole();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let _ = examine(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = examine(&bytes);
        if bytes.len() > 8 {
            bytes[..8].copy_from_slice(b"GGUF\x03\0\0\0");
            let _ = examine(&bytes);
        }
    }
}
