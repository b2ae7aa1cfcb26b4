//! `/v1/chat/completions`, as OpenAI describes it ("Create chat completion", "The chat completion chunk object") and others
//! copied it.

use super::{End, Seen, role, shown_word, thousandths};
use crate::config::{LimitField, Settings};
use crate::money::Usage;
use aios_abi::CallError;
use aios_abi::engine::Generate;
use serde::Deserialize;
use serde_json::{Value, json};

/// The name that a schema must have.
const NAME: &str = "answer";

pub(super) fn body(
    settings: &Settings,
    generate: &Generate,
    schema: Option<Value>,
    max_tokens: u32,
) -> Result<Value, CallError> {
    let mut messages = Vec::with_capacity(generate.messages.len() + 1);
    for message in &generate.messages {
        messages.push(json!({ "role": role(message)?, "content": message.content }));
    }
    if !generate.prefix.is_empty() {
        if !settings.prefill {
            return Err(CallError::invalid(
                "an answer cannot be begun for this server; if it is vLLM or llama-server, which can, write prefill = true",
            ));
        }
        messages.push(json!({ "role": "assistant", "content": generate.prefix }));
    }
    let mut body = json!({
        "model": settings.model,
        "messages": messages,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if !generate.prefix.is_empty() {
        // vLLM goes on with a last message when it is told; llama-server does anyway, and repeats it unless it is told.
        body["continue_final_message"] = true.into();
        body["add_generation_prompt"] = false.into();
    }
    let limit = match settings.limit_field {
        LimitField::MaxTokens => "max_tokens",
        LimitField::MaxCompletionTokens => "max_completion_tokens",
    };
    body[limit] = max_tokens.into();
    if settings.sampling {
        body["temperature"] = thousandths(generate.sampling.temperature_milli);
        if generate.sampling.top_p_milli > 0 {
            body["top_p"] = thousandths(generate.sampling.top_p_milli);
        }
        if generate.sampling.temperature_milli > 0 {
            body["seed"] = generate.sampling.seed.into();
        }
    }
    if !generate.stop.is_empty() {
        body["stop"] = json!(generate.stop);
    }
    if let Some(schema) = schema {
        let strict = is_strict(&schema);
        body["response_format"] = json!({
            "type": "json_schema",
            "json_schema": { "name": NAME, "strict": strict, "schema": schema },
        });
    }
    Ok(body)
}

/// Whether OpenAI takes this schema as `strict`: each object names all that it holds, and requires it ("Structured model
/// outputs", supported schemas). A schema that is not is followed as well as the model can, and checked by whoever asked.
fn is_strict(schema: &Value) -> bool {
    let Value::Object(map) = schema else {
        return schema.as_array().is_none_or(|all| all.iter().all(is_strict));
    };
    let is_object = map.get("type").is_some_and(|kind| kind == "object") || map.contains_key("properties");
    let closed = map.get("additionalProperties") == Some(&Value::Bool(false));
    let required = map.get("required").and_then(Value::as_array);
    let complete = map.get("properties").and_then(Value::as_object).is_none_or(|properties| {
        properties.keys().all(|name| required.is_some_and(|all| all.iter().any(|one| one == name)))
    });
    (!is_object || (closed && complete)) && map.values().all(is_strict)
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<RawUsage>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct RawUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

/// What is wrong, in the words of either language.
#[derive(Deserialize)]
pub(super) struct Failure {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    code: Option<Value>,
}

impl Failure {
    /// A word for it that can be shown.
    pub(super) fn shown(&self) -> Option<String> {
        let code = self.code.as_ref().and_then(Value::as_str).and_then(shown_word);
        code.or(self.kind.as_deref().and_then(shown_word)).map(str::to_owned)
    }

    /// The same, for a sentence that needs one.
    pub(super) fn word(&self) -> String {
        self.shown().unwrap_or_else(|| "an error without a name".to_owned())
    }
}

pub(super) fn event(data: &[u8], seen: &mut Seen) -> Result<String, &'static str> {
    if data == b"[DONE]" {
        seen.is_over = true;
        return Ok(String::new());
    }
    let chunk: Chunk =
        serde_json::from_slice(data).map_err(|_| "an event is not what a chat completion consists of")?;
    if let Some(failure) = chunk.error {
        seen.failed = Some(failure.word());
        return Ok(String::new());
    }
    if let Some(usage) = chunk.usage {
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        // Some servers count up with each piece: what comes last counts, and never less than before.
        let before = seen.usage.unwrap_or_default();
        seen.usage = Some(Usage {
            prompt: usage.prompt_tokens.max(before.prompt),
            cached,
            stored: 0,
            generated: usage.completion_tokens.max(before.generated),
        });
    }
    let Some(choice) = chunk.choices.into_iter().find(|choice| choice.index == 0) else {
        return Ok(String::new());
    };
    if choice.delta.refusal.is_some_and(|text| !text.is_empty()) {
        seen.end = Some(End::Refused("refusal".to_owned()));
    }
    if let Some(reason) = choice.finish_reason
        && seen.end.is_none()
    {
        seen.end = Some(match reason.as_str() {
            "stop" => End::Complete,
            "length" => End::Cut,
            other => End::Refused(shown_word(other).unwrap_or("a reason without a name").to_owned()),
        });
    }
    Ok(choice.delta.content.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_strict_when_each_object_names_and_requires_all_it_holds() {
        let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
        assert!(is_strict(&closed) && is_strict(&json!({"type": "string"})));
        let mut optional = closed.clone();
        optional["required"] = json!([]);
        let mut open = closed.clone();
        open["additionalProperties"] = json!(true);
        for loose in [optional, open] {
            assert!(!is_strict(&loose), "{loose}");
            let inside = json!({"type": "object", "properties": {"b": loose}, "required": ["b"], "additionalProperties": false});
            assert!(!is_strict(&inside), "{inside}");
        }
    }
}
