//! The two languages that servers speak: how a request is written down, and what their events say.

mod anthropic;
mod openai;

use crate::config::{Kind, Settings};
use crate::money::{Micro, Usage};
use aios_abi::CallError;
use aios_abi::engine::{Generate, Grammar, Message};
use serde_json::Value;

/// Tokens that a server may put around each message. Templates use up to a dozen.
const AROUND_MESSAGE: u64 = 64;
/// Tokens that a server may put around the whole: a system prompt of its own, or how a tool is called (Anthropic: 346).
const AROUND_ALL: u64 = 1024;

/// A request as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// JSON.
    pub body: Vec<u8>,
    /// Tokens that it may have at most: a token is at least one byte long, whatever the model.
    pub most_prompt: u64,
    /// Tokens that the answer may have.
    pub max_tokens: u32,
    /// The answer is to be JSON.
    pub is_json: bool,
}

impl Request {
    /// Write a request down for the server of these settings.
    ///
    /// # Errors
    /// What this server cannot do.
    pub fn new(settings: &Settings, generate: &Generate) -> Result<Self, CallError> {
        if generate.messages.is_empty() {
            return Err(CallError::invalid(
                "the strategic tier answers conversations; a text without one cannot be gone on with",
            ));
        }
        if generate.max_tokens == 0 {
            return Err(CallError::invalid(
                "an answer of at most 0 tokens cannot be asked for; write at least 1",
            ));
        }
        let schema = match &generate.grammar {
            None => None,
            Some(Grammar::Lark(_)) => {
                return Err(CallError::invalid(
                    "the strategic tier cannot follow a grammar; ask for a JSON schema, or ask a tier of this machine",
                ));
            }
            Some(Grammar::Schema(text)) => Some(
                serde_json::from_str::<Value>(text)
                    .map_err(|e| CallError::invalid(format!("the schema is no JSON: {e}")))?,
            ),
        };
        if schema.is_some() && !generate.prefix.is_empty() {
            return Err(CallError::invalid(
                "the strategic tier cannot begin an answer that follows a schema; leave one of both out",
            ));
        }
        let max_tokens = generate.max_tokens.min(settings.max_tokens);
        let is_json = schema.is_some();
        let body = match settings.kind {
            Kind::Openai => openai::body(settings, generate, schema, max_tokens)?,
            Kind::Anthropic => anthropic::body(settings, generate, schema, max_tokens)?,
        };
        let body = serde_json::to_vec(&body)
            .map_err(|e| CallError::invalid(format!("the request cannot be written as JSON: {e}")))?;
        // JSON writes a byte of text as one byte or more.
        let around = AROUND_ALL + AROUND_MESSAGE * (generate.messages.len() as u64 + 1);
        let most_prompt = body.len() as u64 + around;
        Ok(Self { body, most_prompt, max_tokens, is_json })
    }

    /// The most that it can cost.
    pub fn worst(&self, settings: &Settings) -> Micro {
        settings.prices.most(self.most_prompt, self.max_tokens.into())
    }
}

/// Why an answer ended, as the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The model had finished.
    Complete,
    /// The most tokens that were allowed ended it.
    Cut,
    /// It was refused, or not written for another reason, in the server's word.
    Refused(String),
}

/// What is known of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Why it ended; none while it goes on.
    pub end: Option<End>,
    /// What it cost; none until the server has said all of it.
    pub usage: Option<Usage>,
    /// Nothing comes after this.
    pub is_over: bool,
    /// The server's word for a failure that it told in the stream.
    pub failed: Option<String>,
    /// What Anthropic's servers say at the beginning of what was read.
    begun: Usage,
    /// A tool is being called, which is how they write JSON.
    in_tool: bool,
}

/// One event of the stream. What it adds to the answer comes back.
///
/// # Errors
/// It is not what such a server sends: what is wrong with it.
pub(crate) fn event(kind: Kind, is_json: bool, data: &[u8], seen: &mut Seen) -> Result<String, &'static str> {
    match kind {
        Kind::Openai => openai::event(data, seen),
        Kind::Anthropic => anthropic::event(is_json, data, seen),
    }
}

/// The server's word for what is wrong, in the body of an answer that is none. Both languages write it alike.
pub(crate) fn failure(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        error: openai::Failure,
    }
    serde_json::from_slice::<Body>(body).ok()?.error.shown()
}

/// A server's short word for what is wrong, if it is one that can be shown: texts may hold the key or pieces of what was said.
pub(crate) fn shown_word(word: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    (!word.is_empty() && word.len() <= 64 && word.chars().all(plain)).then_some(word)
}

/// The role of a message, checked.
fn role(message: &Message) -> Result<&str, CallError> {
    match message.role.as_str() {
        role @ ("system" | "user" | "assistant") => Ok(role),
        other => Err(CallError::invalid(format!(
            "a message says that it is of the role {other:?}; there are system, user and assistant"
        ))),
    }
}

/// A number of thousandths.
fn thousandths(milli: u32) -> Value {
    Value::from(f64::from(milli) / 1000.0)
}

#[cfg(test)]
pub(crate) mod tests;
