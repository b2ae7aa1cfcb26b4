//! The inference protocol behind its socket.

use crate::ask::{Asker, Watch};
use crate::choose::{self, Head, Memory};
use crate::engine::Engine;
use crate::fill;
use aios_abi::CallError;
use aios_abi::engine::{Generate, Message};
use aios_abi::infer::{Completion, Infer, InferReply, InferRequest, InferStatus};
use aios_abi::server::{Context, Handler};
use std::sync::Arc;

/// Bytes of a question.
pub const MAX_QUESTION: usize = 4_000;
/// Tools to choose from.
pub const MAX_TOOLS: usize = 512;
/// Tokens of a completion.
pub const MAX_TOKENS: u32 = 1_024;
/// Sentences that are embedded at once.
pub const MAX_TEXTS: usize = 256;
/// Bytes of a prompt, and of a sentence to embed. The engine says itself when its context is too small.
pub const MAX_PROMPT: usize = 64 * 1024;

/// Answers the requests of the inference protocol. `Status` never waits for an engine.
pub struct Server {
    text: Engine,
    embed: Engine,
    memory: Memory,
    head: Option<Head>,
}

impl Server {
    /// Serve with these two engines; they may still be loading. The trained layer belongs to the encoder.
    pub fn new(text: Engine, embed: Engine, head: Option<Head>) -> Self {
        Self { text, embed, memory: Memory::default(), head }
    }

    fn status(&self) -> InferStatus {
        let (text, embed) = (self.text.snapshot(), self.embed.snapshot());
        let queued = u32::try_from(text.queued + embed.queued).unwrap_or(u32::MAX);
        InferStatus { text: text.health, embed: embed.health, queued }
    }

    async fn complete(
        &self,
        asker: &Asker<'_>,
        system: String,
        prompt: String,
        max_tokens: u32,
    ) -> Result<InferReply, CallError> {
        if max_tokens == 0 {
            return Err(CallError::invalid("max_tokens = 0 asks for no text; at least 1 is needed"));
        }
        at_most("the prompt in bytes", system.len() + prompt.len(), MAX_PROMPT)?;
        let mut messages = Vec::new();
        if !system.is_empty() {
            messages.push(Message { role: "system".into(), content: system });
        }
        messages.push(Message { role: "user".into(), content: prompt });
        let generate = Generate {
            id: 0,
            messages,
            prefix: String::new(),
            grammar: None,
            adapted: false,
            max_tokens: max_tokens.min(MAX_TOKENS),
            temperature_milli: 0,
            seed: 0,
        };
        let (text, usage) = asker.generate(&self.text, generate, Watch::Pieces).await?;
        Ok(InferReply::Completion(Completion { text, usage }))
    }

    async fn embed(&self, asker: &Asker<'_>, texts: Vec<String>) -> Result<InferReply, CallError> {
        at_most("sentences", texts.len(), MAX_TEXTS)?;
        for text in &texts {
            at_most("a sentence in bytes", text.len(), MAX_PROMPT)?;
        }
        if texts.is_empty() {
            return Ok(InferReply::Embeddings(Vec::new()));
        }
        Ok(InferReply::Embeddings(asker.embed(&self.embed, texts).await?.0))
    }
}

impl Handler<Infer> for Server {
    async fn handle(
        self: Arc<Self>,
        context: Context<Infer>,
        request: InferRequest,
    ) -> Result<InferReply, CallError> {
        let asker = Asker::new(&context);
        match request {
            InferRequest::Status => Ok(InferReply::Status(self.status())),
            InferRequest::Choose { question, tools } => {
                at_most("the question in bytes", question.len(), MAX_QUESTION)?;
                at_most("tools", tools.len(), MAX_TOOLS)?;
                let engines = choose::Engines {
                    text: &self.text,
                    embed: &self.embed,
                    memory: &self.memory,
                    head: self.head.as_ref(),
                };
                choose::choose(engines, &asker, &question, &tools).await.map(InferReply::Choice)
            }
            InferRequest::Fill { question, tool, known } => {
                at_most("the question in bytes", question.len(), MAX_QUESTION)?;
                let (args, usage) = fill::fill(&self.text, &asker, &question, &tool, &known).await?;
                Ok(InferReply::Filled { args, usage })
            }
            InferRequest::Complete { system, prompt, max_tokens } => {
                self.complete(&asker, system, prompt, max_tokens).await
            }
            InferRequest::Embed { texts } => self.embed(&asker, texts).await,
        }
    }
}

fn at_most(what: &str, is: usize, limit: usize) -> Result<(), CallError> {
    if is > limit {
        return Err(CallError::invalid(format!("{what}: {is} are too many, at most {limit} are taken")));
    }
    Ok(())
}
