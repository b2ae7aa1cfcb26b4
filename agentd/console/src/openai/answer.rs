//! What comes back (API reference, "The chat completion object", "The chat completion chunk object", "The completion
//! object"). Pure: from what inferd said to JSON.

use super::reader::{Piece, Reader};
use super::tools::Shape;
use crate::state::unix_ms;
use crate::store::random;
use aios_abi::CallError;
use aios_abi::infer::{Completion, Usage};
use serde_json::{Value, json};

/// Puts one answer into the API's words, at once or in pieces.
pub(super) trait Telling: Send + 'static {
    /// All of it.
    fn whole(self, completion: &Completion) -> Value;
    /// What pieces begin with.
    fn begin(&mut self) -> Vec<Value>;
    /// The next words of the model.
    fn next(&mut self, text: &str) -> Vec<Value>;
    /// The end, and what was held back until now.
    fn end(&mut self, completion: &Completion) -> Vec<Value>;
}

/// What all pieces of an answer have in common.
#[derive(Debug, Clone)]
pub(super) struct Head {
    id: String,
    created: u64,
    model: String,
    /// Whether the last piece counts tokens.
    usage: bool,
}

impl Head {
    /// Of a new answer, whose id begins so.
    pub(super) fn new(kind: &str, model: String, usage: bool) -> Result<Self, CallError> {
        Ok(Self { id: id(kind)?, created: unix_ms() / 1000, model, usage })
    }

    fn piece(&self, object: &str, choices: Value) -> Value {
        let Self { id, created, model, .. } = self;
        let mut piece =
            json!({ "id": id, "object": object, "created": created, "model": model, "choices": choices });
        if self.usage {
            piece["usage"] = Value::Null;
        }
        piece
    }

    /// The last piece, if it was asked for.
    fn count(&self, object: &str, used: &Usage) -> Option<Value> {
        let mut piece = self.piece(object, json!([]));
        piece["usage"] = usage(used);
        self.usage.then_some(piece)
    }

    fn all(self, object: &str, choice: Value, used: &Usage) -> Value {
        let Self { id, created, model, .. } = self;
        json!({
            "id": id, "object": object, "created": created, "model": model, "choices": [choice], "usage": usage(used)
        })
    }
}

/// Something new's name: random, as those of the API are.
fn id(kind: &str) -> Result<String, CallError> {
    Ok(format!("{kind}{}", aios_abi::audit::hex(&random::<12>()?)))
}

/// What an answer cost.
fn usage(usage: &Usage) -> Value {
    let Usage { prompt_tokens, reused_tokens, generated_tokens, .. } = *usage;
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": generated_tokens,
        "total_tokens": u64::from(prompt_tokens) + u64::from(generated_tokens),
        "prompt_tokens_details": { "cached_tokens": reused_tokens }
    })
}

/// What a piece of a conversation's answer is called.
const CHUNK: &str = "chat.completion.chunk";

/// An answer in a conversation.
#[derive(Debug)]
pub(super) struct Chat {
    head: Head,
    reader: Reader,
    call_id: String,
    called: bool,
}

impl Chat {
    /// An answer of this shape.
    pub(super) fn new(head: Head, shape: &Shape) -> Result<Self, CallError> {
        Ok(Self { head, reader: Reader::of(shape), call_id: id("call_")?, called: false })
    }

    fn why_it_ended(&self, completion: &Completion) -> &'static str {
        match (completion.is_cut, self.called) {
            (true, _) => "length",
            (false, true) => "tool_calls",
            (false, false) => "stop",
        }
    }

    fn delta(&self, delta: Value, end: Option<&str>) -> Value {
        self.head
            .piece(CHUNK, json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": end }]))
    }

    fn deltas(&mut self, pieces: Vec<Piece>) -> Vec<Value> {
        let mut deltas = Vec::new();
        for piece in pieces {
            let delta = match piece {
                Piece::Text(text) => json!({ "content": text }),
                Piece::Call(name) => {
                    self.called = true;
                    let function = json!({ "name": name, "arguments": "" });
                    let id = &self.call_id;
                    json!({ "tool_calls": [{ "index": 0, "id": id, "type": "function", "function": function }] })
                }
                Piece::Arguments(part) => {
                    json!({ "tool_calls": [{ "index": 0, "function": { "arguments": part } }] })
                }
            };
            deltas.push(self.delta(delta, None));
        }
        deltas
    }
}

impl Telling for Chat {
    fn whole(mut self, completion: &Completion) -> Value {
        let mut pieces = self.reader.read(&completion.text);
        pieces.extend(self.reader.end());
        let (mut words, mut call): (String, Option<(String, String)>) = Default::default();
        for piece in pieces {
            match (piece, &mut call) {
                (Piece::Text(text), _) => words.push_str(&text),
                (Piece::Call(name), call) => *call = Some((name, String::new())),
                (Piece::Arguments(part), Some((_, arguments))) => arguments.push_str(&part),
                (Piece::Arguments(_), None) => {}
            }
        }
        self.called = call.is_some();
        let content = (!words.is_empty() || !self.called).then_some(words);
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if let Some((name, arguments)) = call {
            let function = json!({ "name": name, "arguments": arguments });
            message["tool_calls"] = json!([{ "id": self.call_id, "type": "function", "function": function }]);
        }
        let end = self.why_it_ended(completion);
        let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": end });
        self.head.all("chat.completion", choice, &completion.usage)
    }

    fn begin(&mut self) -> Vec<Value> {
        vec![self.delta(json!({ "role": "assistant", "content": "" }), None)]
    }

    fn next(&mut self, text: &str) -> Vec<Value> {
        let pieces = self.reader.read(text);
        self.deltas(pieces)
    }

    fn end(&mut self, completion: &Completion) -> Vec<Value> {
        let pieces = self.reader.end();
        let mut deltas = self.deltas(pieces);
        deltas.push(self.delta(json!({}), Some(self.why_it_ended(completion))));
        deltas.extend(self.head.count(CHUNK, &completion.usage));
        deltas
    }
}

/// What the answer to a text is called, and each piece of it.
const TEXT: &str = "text_completion";

/// What follows a text.
#[derive(Debug)]
pub(super) struct Text {
    head: Head,
    /// What the answer begins with before the model's own words.
    echo: String,
}

impl Text {
    /// An answer that begins so.
    pub(super) fn new(head: Head, echo: String) -> Self {
        Self { head, echo }
    }

    fn choice(text: &str, end: Option<&Completion>) -> Value {
        let end = end.map(|completion| if completion.is_cut { "length" } else { "stop" });
        json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": end })
    }
}

impl Telling for Text {
    fn whole(self, completion: &Completion) -> Value {
        let choice = Self::choice(&(self.echo + &completion.text), Some(completion));
        self.head.all(TEXT, choice, &completion.usage)
    }

    fn begin(&mut self) -> Vec<Value> {
        let echo = std::mem::take(&mut self.echo);
        if echo.is_empty() { Vec::new() } else { self.next(&echo) }
    }

    fn next(&mut self, text: &str) -> Vec<Value> {
        vec![self.head.piece(TEXT, json!([Self::choice(text, None)]))]
    }

    fn end(&mut self, completion: &Completion) -> Vec<Value> {
        let last = self.head.piece(TEXT, json!([Self::choice("", Some(completion))]));
        [last].into_iter().chain(self.head.count(TEXT, &completion.usage)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tools::tests::{shape, two};
    use super::*;

    fn completion(text: &str, is_cut: bool) -> Completion {
        let usage = Usage { prompt_tokens: 9, reused_tokens: 4, generated_tokens: 3, ..Usage::default() };
        Completion { text: text.into(), is_cut, model: "m".into(), usage }
    }

    fn chat(choice: &str, usage: bool) -> Chat {
        let head = Head::new("chatcmpl-", "m".into(), usage).expect("random");
        let shape = shape(json!({ "tools": two(), "tool_choice": choice })).expect("fits");
        Chat::new(head, &shape).expect("random")
    }

    #[test]
    fn words_end_with_stop_and_what_was_cut_with_length() {
        let answer = chat("none", false).whole(&completion("Noon.", false));
        let choice = &answer["choices"][0];
        assert_eq!(choice["message"], json!({ "role": "assistant", "content": "Noon.", "refusal": null }));
        assert_eq!(
            (&choice["finish_reason"], &answer["object"]),
            (&json!("stop"), &json!("chat.completion"))
        );
        let counted = json!({
            "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
            "prompt_tokens_details": { "cached_tokens": 4 }
        });
        assert_eq!(answer["usage"], counted);
        let cut = chat("none", false).whole(&completion("", true));
        assert_eq!(cut["choices"][0]["finish_reason"], "length");
        assert_eq!(cut["choices"][0]["message"]["content"], "");
    }

    #[test]
    fn a_call_is_told_as_one() {
        let answer = chat("required", false).whole(&completion(r#"{"name": "now", "arguments": {}}"#, false));
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        assert_eq!(choice["message"]["content"], Value::Null);
        let call = &choice["message"]["tool_calls"][0];
        assert_eq!(call["function"], json!({ "name": "now", "arguments": "{}" }));
        assert!(call["id"].as_str().is_some_and(|id| id.starts_with("call_")));
        let cut = chat("required", false).whole(&completion(r#"{"name": "now", "arguments": {"#, true));
        assert_eq!(cut["choices"][0]["finish_reason"], "length");
        assert_eq!(cut["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{");
    }

    #[test]
    fn a_call_comes_in_pieces_with_its_name_first() {
        let mut chat = chat("auto", true);
        let text = "Let me look.\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}";
        let mut chunks = chat.begin();
        for at in 0..text.len() {
            chunks.extend(chat.next(&text[at..=at]));
        }
        chunks.extend(chat.end(&completion(text, false)));
        let (words, mut arguments) = ("Let me look.".to_owned(), String::new());
        let said: String =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(said, words);
        let calls: Vec<&Value> = chunks
            .iter()
            .filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0"))
            .inspect(|call| arguments.push_str(call["function"]["arguments"].as_str().expect("a text")))
            .collect();
        assert_eq!((calls[0]["function"]["name"].as_str(), arguments.as_str()), (Some("now"), "{}"));
        assert!(calls[1..].iter().all(|call| call.get("id").is_none()));
        let [.., end, count] = &chunks[..] else { panic!("too few") };
        assert_eq!(
            (&end["choices"][0]["finish_reason"], &end["usage"]),
            (&json!("tool_calls"), &Value::Null)
        );
        assert_eq!((&count["choices"], &count["usage"]["total_tokens"]), (&json!([]), &json!(12)));
    }

    #[test]
    fn a_text_goes_on_after_its_echo() {
        let head = || Head::new("cmpl-", "m".into(), false).expect("random");
        let whole = Text::new(head(), "Once".into()).whole(&completion(" upon", false));
        assert_eq!(whole["choices"][0]["text"], "Once upon");
        let mut text = Text::new(head(), "Once".into());
        let chunks = [text.begin(), text.next(" upon"), text.end(&completion(" upon", true))].concat();
        let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
        assert_eq!((said.as_str(), chunks.len()), ("Once upon", 3));
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "length");
        assert!(chunks[0].get("usage").is_none());
    }
}
