//! `/v1/messages`, as Anthropic describes it ("Messages", "Streaming messages", "Tool use").

use super::openai::Failure;
use super::{End, Seen, role, shown_word, thousandths};
use crate::config::Settings;
use crate::money::Usage;
use aios_abi::CallError;
use aios_abi::engine::Generate;
use serde::Deserialize;
use serde_json::{Value, json};

/// The tool that a model is made to call: its arguments are the answer.
const TOOL: &str = "answer";

pub(super) fn body(
    settings: &Settings,
    generate: &Generate,
    schema: Option<Value>,
    max_tokens: u32,
) -> Result<Value, CallError> {
    let (mut system, mut messages) = (Vec::new(), Vec::new());
    for message in &generate.messages {
        match role(message)? {
            "system" => system.push(message.content.as_str()),
            role => messages.push(json!({ "role": role, "content": message.content })),
        }
    }
    if messages.is_empty() {
        return Err(CallError::invalid(
            "a conversation of system messages alone cannot be answered; add one of the user",
        ));
    }
    if !generate.prefix.is_empty() {
        messages.push(json!({ "role": "assistant", "content": generate.prefix }));
    }
    let mut body = json!({
        "model": settings.model,
        "messages": messages,
        "max_tokens": max_tokens,
        "stream": true,
    });
    if !system.is_empty() {
        body["system"] = system.join("\n\n").into();
    }
    if settings.sampling {
        // There is no seed.
        body["temperature"] = thousandths(generate.sampling.temperature_milli);
        if generate.sampling.top_p_milli > 0 {
            body["top_p"] = thousandths(generate.sampling.top_p_milli);
        }
    }
    if !generate.stop.is_empty() {
        body["stop_sequences"] = json!(generate.stop);
    }
    if let Some(schema) = schema {
        if schema.get("type").is_none_or(|kind| kind != "object") {
            return Err(CallError::invalid(
                "this server follows schemas of objects alone; put the answer into a property of one",
            ));
        }
        body["tools"] =
            json!([{ "name": TOOL, "description": "The answer, and nothing else.", "input_schema": schema }]);
        body["tool_choice"] = json!({ "type": "tool", "name": TOOL, "disable_parallel_tool_use": true });
    }
    Ok(body)
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Begun,
    },
    ContentBlockStart {
        content_block: Block,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    ContentBlockStop,
    MessageDelta {
        #[serde(default)]
        delta: Ended,
        usage: Option<RawUsage>,
    },
    MessageStop,
    Error {
        error: Failure,
    },
    /// `ping`, and what comes with later versions.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Begun {
    usage: Option<RawUsage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    ToolUse,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Json { partial_json: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize, Default)]
struct Ended {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct RawUsage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl RawUsage {
    /// With what was said before; numbers only grow.
    fn after(&self, before: Usage) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or(0).max(before.cached);
        let stored = self.cache_creation_input_tokens.unwrap_or(0).max(before.stored);
        // What was read freshly, without the two.
        let fresh = self.input_tokens.unwrap_or(0).saturating_add(cached).saturating_add(stored);
        let generated = self.output_tokens.unwrap_or(0).max(before.generated);
        Usage { prompt: fresh.max(before.prompt), cached, stored, generated }
    }
}

pub(super) fn event(is_json: bool, data: &[u8], seen: &mut Seen) -> Result<String, &'static str> {
    let event: Event =
        serde_json::from_slice(data).map_err(|_| "an event is not what a message consists of")?;
    match event {
        Event::MessageStart { message } => {
            // Of what is written it knows next to nothing yet.
            seen.begun = message.usage.map(|usage| usage.after(Usage::default())).unwrap_or_default();
        }
        Event::ContentBlockStart { content_block: Block::ToolUse } => seen.in_tool = true,
        Event::ContentBlockDelta { delta: Delta::Text { text } } if !is_json => return Ok(text),
        Event::ContentBlockDelta { delta: Delta::Json { partial_json } } if is_json && seen.in_tool => {
            return Ok(partial_json);
        }
        Event::MessageDelta { delta, usage } => {
            if let Some(usage) = usage.filter(|usage| usage.output_tokens.is_some()) {
                seen.usage = Some(usage.after(seen.usage.unwrap_or(seen.begun)));
            }
            if let Some(reason) = delta.stop_reason {
                seen.end = Some(match reason.as_str() {
                    "end_turn" | "stop_sequence" => End::Complete,
                    "tool_use" if is_json => End::Complete,
                    "max_tokens" | "model_context_window_exceeded" => End::Cut,
                    other => End::Refused(shown_word(other).unwrap_or("a reason without a name").to_owned()),
                });
            }
        }
        Event::MessageStop => seen.is_over = true,
        Event::Error { error } => seen.failed = Some(error.word()),
        Event::ContentBlockStart { .. }
        | Event::ContentBlockDelta { .. }
        | Event::ContentBlockStop
        | Event::Other => {}
    }
    Ok(String::new())
}
