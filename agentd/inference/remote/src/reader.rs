//! An answer while it arrives: from the bytes of a stream to text, the end, and what it cost. Pure; whatever a server sends,
//! what is held and what is passed on is bounded.

use crate::config::Kind;
use crate::dialect::{self, End, Seen};
use crate::money::Usage;
use crate::sse::{LONGEST, Parser, TooLong};
use aios_abi::{CallError, ErrorCode};

/// The longest tokens that are known have 128 bytes (OpenAI's `o200k_base`). A text that is longer than its tokens can be was
/// written by a server that does not keep to the limit.
const LONGEST_TOKEN: usize = 128;
/// Bytes of the stream for each token: names of fields, identifiers, signs of life.
const AROUND_TOKEN: usize = 4096;

/// Why reading ended before the answer did: for people, after "the server's answer was broken off: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

impl From<TooLong> for Broken {
    fn from(_: TooLong) -> Self {
        Self(format!("an event is longer than {LONGEST} bytes"))
    }
}

/// An answer that arrives.
#[derive(Debug)]
pub struct Reader {
    kind: Kind,
    is_json: bool,
    max_tokens: u32,
    events: Parser,
    seen: Seen,
    /// Bytes of the stream that may still come.
    left: usize,
    /// Bytes of the answer's text.
    written: usize,
    /// The text, where it has to be JSON in the end.
    text: String,
}

impl Reader {
    /// Of a server that speaks this language and was asked for so many tokens, as JSON or as it likes.
    pub fn new(kind: Kind, is_json: bool, max_tokens: u32) -> Self {
        let left = LONGEST + AROUND_TOKEN.saturating_mul(max_tokens as usize);
        let (events, seen) = (Parser::default(), Seen::default());
        Self { kind, is_json, max_tokens, events, seen, left, written: 0, text: String::new() }
    }

    /// Take in a piece of the stream, and give each piece of text to `on_text`.
    ///
    /// # Errors
    /// It is not what such a server sends, or more than was asked for. What it costs may be known all the same.
    pub fn push(&mut self, piece: &[u8], mut on_text: impl FnMut(String)) -> Result<(), Broken> {
        let too_much = || Broken("it is far longer than what was asked for".to_owned());
        self.left = self.left.checked_sub(piece.len()).ok_or_else(too_much)?;
        let most = LONGEST_TOKEN.saturating_mul(self.max_tokens as usize);
        let Self { kind, is_json, events, seen, written, text: whole, .. } = self;
        events.push(piece, |data| {
            if seen.is_over || data.is_empty() {
                return Ok(());
            }
            let text = dialect::event(*kind, *is_json, data, seen).map_err(|what| Broken(what.to_owned()))?;
            *written += text.len();
            if *written > most {
                return Err(too_much());
            }
            if !text.is_empty() {
                if *is_json {
                    whole.push_str(&text);
                }
                on_text(text);
            }
            Ok(())
        })
    }

    /// Nothing more needs to be read.
    pub fn is_over(&self) -> bool {
        self.seen.is_over || self.seen.failed.is_some()
    }

    /// What it costs, as far as the server has said.
    pub fn usage(&self) -> Option<Usage> {
        self.seen.usage
    }

    /// The stream has ended: was that all of the answer? True when the most tokens ended it.
    ///
    /// # Errors
    /// The server failed or refused in the middle, or it is no JSON that should be.
    pub fn finish(&self) -> Result<bool, CallError> {
        if let Some(word) = &self.seen.failed {
            return Err(CallError::unavailable(format!(
                "the server failed in the middle of its answer ({word})"
            )));
        }
        let is_cut = match &self.seen.end {
            None => return Err(CallError::unavailable("the server's answer ended in the middle")),
            Some(End::Refused(word)) => {
                return Err(CallError::failed(format!(
                    "the server did not write the answer to its end ({word})"
                )));
            }
            Some(End::Complete) => false,
            Some(End::Cut) => true,
        };
        if self.is_json && serde_json::from_str::<serde::de::IgnoredAny>(&self.text).is_err() {
            let why = match is_cut {
                true => "it was cut at the most tokens that were allowed; allow more",
                false => "this server does not follow schemas",
            };
            return Err(CallError::new(ErrorCode::Failed, format!("the server's answer is no JSON: {why}")));
        }
        Ok(is_cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(kind: Kind, is_json: bool, stream: &[u8], size: usize) -> (String, Result<(), Broken>, Reader) {
        let (mut reader, mut text) = (Reader::new(kind, is_json, 100), String::new());
        let result =
            stream.chunks(size.max(1)).try_for_each(|piece| reader.push(piece, |more| text.push_str(&more)));
        (text, result, reader)
    }

    const OPENAI: &str = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"content":"Gr"},"finish_reason":null}],"usage":null}

data: {"choices":[{"index":0,"delta":{"content":"üße"},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23,"prompt_tokens_details":{"cached_tokens":5}}}

data: [DONE]

"#;

    const ANTHROPIC: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","role":"assistant","content":[],"usage":{"input_tokens":20,"cache_read_input_tokens":5,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Grüße"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":3}}

event: message_stop
data: {"type":"message_stop"}

"#;

    const TOOL: &str = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":400,"output_tokens":1}}}

data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"answer","input":{}}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a\": [1,"}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":" 2]}"}}

data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}

data: {"type":"message_stop"}

"#;

    #[test]
    fn answers_of_both_languages_are_read_however_they_are_cut() {
        for size in 1..200 {
            let (text, result, reader) = read(Kind::Openai, false, OPENAI.as_bytes(), size);
            assert_eq!((text.as_str(), result, reader.is_over()), ("Grüße", Ok(()), true));
            assert_eq!(reader.finish(), Ok(false));
            assert_eq!(reader.usage(), Some(Usage { prompt: 20, cached: 5, stored: 0, generated: 3 }));
            let (text, result, reader) = read(Kind::Anthropic, false, ANTHROPIC.as_bytes(), size);
            assert_eq!((text.as_str(), result, reader.is_over()), ("Grüße", Ok(()), true));
            assert_eq!(reader.finish(), Ok(true));
            assert_eq!(reader.usage(), Some(Usage { prompt: 25, cached: 5, stored: 0, generated: 3 }));
            let (text, result, reader) = read(Kind::Anthropic, true, TOOL.as_bytes(), size);
            assert_eq!((text.as_str(), result), ("{\"a\": [1, 2]}", Ok(())));
            assert_eq!((reader.finish(), reader.usage().map(|usage| usage.generated)), (Ok(false), Some(9)));
        }
    }

    #[test]
    fn a_stream_that_ends_early_is_no_answer_and_tells_no_cost() {
        for (kind, stream, from) in [
            (Kind::Openai, OPENAI, "data: {\"choices\":[{\"index\":0,\"delta\":{},"),
            (Kind::Anthropic, ANTHROPIC, "event: message_delta"),
        ] {
            let cut = stream.split(from).next().expect("a beginning");
            let (_, result, reader) = read(kind, false, cut.as_bytes(), 7);
            assert_eq!((result, reader.usage()), (Ok(()), None));
            assert!(reader.finish().expect_err("cut").message.contains("in the middle"));
        }
    }

    #[test]
    fn what_goes_wrong_is_said_in_a_word_that_can_be_shown() {
        for (kind, stream, expected) in [
            (
                Kind::Openai,
                "data: {\"error\":{\"message\":\"your prompt SECRET\",\"code\":\"server_error\"}}\n\n",
                "(server_error)",
            ),
            (
                Kind::Openai,
                "data: {\"error\":{\"code\":500,\"type\":\"Sk SECRET\"}}\n\n",
                "(an error without a name)",
            ),
            (
                Kind::Openai,
                "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n",
                "(content_filter)",
            ),
            (
                Kind::Openai,
                "data: {\"choices\":[{\"delta\":{\"refusal\":\"SECRET\"},\"finish_reason\":\"stop\"}]}\n\n",
                "(refusal)",
            ),
            (
                Kind::Anthropic,
                "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"SECRET\"}}\n\n",
                "(overloaded_error)",
            ),
            (
                Kind::Anthropic,
                "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\"}}\n\n",
                "(refusal)",
            ),
        ] {
            let (_, result, reader) = read(kind, false, stream.as_bytes(), 9);
            let why = reader.finish().expect_err(stream).message;
            assert!(result.is_ok() && why.contains(expected) && !why.contains("SECRET"), "{why}");
        }
        let (_, _, reader) = read(Kind::Openai, true, OPENAI.as_bytes(), 100);
        assert!(reader.finish().expect_err("no JSON").message.contains("no JSON"));
    }

    #[test]
    fn what_is_no_answer_or_never_ends_is_given_up() {
        for kind in [Kind::Openai, Kind::Anthropic] {
            for stream in ["data: nonsense\n\n", "data: [1]\n\n", "data: {\"choices\":7,\"type\":7}\n\n"] {
                let (_, result, _) = read(kind, false, stream.as_bytes(), 100);
                assert!(result.expect_err(stream).0.contains("is not what"), "{stream}");
            }
        }
        let piece =
            "data: {\"choices\":[{\"delta\":{\"content\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}}]}\n\n";
        let (text, result, _) = read(Kind::Openai, false, piece.repeat(1000).as_bytes(), 4096);
        assert!(result.is_err() && text.len() <= 100 * LONGEST_TOKEN);
        let (_, result, _) = read(Kind::Openai, false, &b": still here\n\n".repeat(200_000), 4096);
        assert!(result.is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(stream in proptest::collection::vec(any::<u8>(), 0..400), size in 1_usize..100, is_json: bool) {
            for kind in [Kind::Openai, Kind::Anthropic] {
                let _ = read(kind, is_json, &stream, size).2.finish();
            }
        }

        /// Whole streams with some bytes that are others: near to what is right.
        #[test]
        fn nor_do_streams_with_mistakes(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8), size in 1_usize..100,
        ) {
            for (kind, is_json, whole) in [(Kind::Openai, false, OPENAI), (Kind::Anthropic, false, ANTHROPIC), (Kind::Anthropic, true, TOOL)] {
                let mut stream = whole.as_bytes().to_vec();
                for (place, byte) in &changes {
                    let place = place.index(stream.len());
                    stream[place] = *byte;
                }
                let (text, _, reader) = read(kind, is_json, &stream, size);
                let _ = reader.finish();
                let (again, _, _) = read(kind, is_json, &stream, stream.len());
                prop_assert_eq!(text, again);
            }
        }
    }
}
