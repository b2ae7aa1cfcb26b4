//! The inference protocol behind its socket.

use crate::ask::{Asker, Watch};
use crate::choose::{self, Head, Memory};
use crate::engine::Engine;
use crate::fill::{self, Filled};
use crate::learn::Learned;
use crate::models::Models;
use crate::tiers::Tiers;
use aios_abi::CallError;
use aios_abi::engine::Generate;
use aios_abi::infer::{Complete, Completion, Infer, InferEvent, InferReply, InferRequest, InferStatus};
use aios_abi::server::{Context, Handler};
use aios_abi::who::uid;
use std::sync::Arc;

/// Bytes of a question.
pub const MAX_QUESTION: usize = 4_000;
/// Tools to choose from.
pub const MAX_TOOLS: usize = 512;
/// Tokens of a completion.
pub const MAX_TOKENS: u32 = 1_024;
/// Texts at which a completion ends.
pub const MAX_STOPS: usize = 16;
/// Sentences that are embedded at once.
pub const MAX_TEXTS: usize = 256;
/// Bytes of a prompt, and of a sentence to embed. The engine says itself when its context is too small.
pub const MAX_PROMPT: usize = 64 * 1024;

/// Answers the requests of the inference protocol. `Status` never waits for an engine.
pub struct Server {
    models: Arc<Models>,
    learned: Arc<Learned>,
    memory: Memory,
}

impl Server {
    /// Serve with these engines; they may still be loading. The trained layer belongs to the encoder.
    pub fn new(tiers: Tiers, embed: Engine, head: Option<Head>) -> Self {
        Self::with_models(Models::fixed(tiers), Learned::fixed(embed, head))
    }

    /// The same with models that can be exchanged, and an encoder that can learn.
    pub fn with_models(models: Arc<Models>, learned: Arc<Learned>) -> Self {
        Self { models, learned, memory: Memory::default() }
    }

    fn status(&self) -> InferStatus {
        let embed = self.learned.chooser().embed.snapshot();
        let tiers = self.models.tiers();
        let queued = u32::try_from(tiers.queued() + embed.queued).unwrap_or(u32::MAX);
        InferStatus { tiers: tiers.status(), embed: embed.health, queued }
    }

    async fn complete(&self, asker: &Asker<'_>, request: Complete) -> Result<InferReply, CallError> {
        let Complete { tier, messages, prefix, grammar, max_tokens, sampling, stop } = request;
        if max_tokens == 0 {
            return Err(CallError::invalid("max_tokens = 0 asks for no text; at least 1 is needed"));
        }
        let length = messages.iter().map(|message| message.role.len() + message.content.len()).sum::<usize>();
        at_most("the prompt in bytes", length + prefix.len(), MAX_PROMPT)?;
        at_most("texts at which the answer ends", stop.len(), MAX_STOPS)?;
        let max_tokens = max_tokens.min(MAX_TOKENS);
        let generate =
            Generate { messages, prefix, grammar, max_tokens, sampling, stop, ..Generate::default() };
        let tiers = self.models.tiers();
        let engine = tiers.engine(tier);
        let written = asker.generate(engine, asker.until(), generate, Watch::Pieces).await?;
        Ok(InferReply::Completion(Completion {
            is_cut: written.cost.is_cut,
            model: engine.snapshot().health.model.unwrap_or_default(),
            usage: written.usage(),
            text: written.text,
        }))
    }

    async fn embed(&self, asker: &Asker<'_>, texts: Vec<String>) -> Result<InferReply, CallError> {
        at_most("sentences", texts.len(), MAX_TEXTS)?;
        for text in &texts {
            at_most("a sentence in bytes", text.len(), MAX_PROMPT)?;
        }
        if texts.is_empty() {
            return Ok(InferReply::Embeddings(Vec::new()));
        }
        Ok(InferReply::Embeddings(asker.embed(&self.learned.chooser().embed, texts, false).await?.0))
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
                let (tiers, chooser) = (self.models.tiers(), self.learned.chooser());
                let engines = choose::Engines {
                    tiers: &tiers,
                    embed: &chooser.embed,
                    memory: &self.memory,
                    head: chooser.head.as_ref(),
                };
                choose::choose(engines, &asker, &question, &tools).await.map(InferReply::Choice)
            }
            InferRequest::Fill { question, tool, known } => {
                at_most("the question in bytes", question.len(), MAX_QUESTION)?;
                let (tiers, chooser) = (self.models.tiers(), self.learned.chooser());
                let filled = fill::fill(&tiers, &chooser.embed, &asker, &question, &tool, &known).await?;
                let Filled { args, log_likelihood, certainty, tier, usage } = filled;
                Ok(InferReply::Filled { args, certainty, log_likelihood, tier, usage })
            }
            InferRequest::Complete(request) => self.complete(&asker, request).await,
            InferRequest::Embed { texts } => self.embed(&asker, texts).await,
            InferRequest::Models => Ok(InferReply::Models(self.models.list())),
            InferRequest::Switch { tier, to } => {
                is_broker(&context)?;
                let tell = |text| context.send(InferEvent::Progress { text, percent: None });
                self.models.switch(tier, to, tell).await.map(InferReply::Switched)
            }
            InferRequest::Learned => Ok(InferReply::Adapted(self.learned.told())),
            InferRequest::Learn { lessons } => {
                is_broker(&context)?;
                let tell = |text, percent| context.send(InferEvent::Progress { text, percent });
                self.learned.learn(&lessons, tell).await.map(InferReply::Adapted)
            }
            InferRequest::Adapt { to } => {
                is_broker(&context)?;
                self.learned.adapt(to).await.map(InferReply::Adapted)
            }
        }
    }
}

fn is_broker(context: &Context<Infer>) -> Result<(), CallError> {
    let own = rustix::process::geteuid().as_raw();
    match [uid::ROOT, uid::TOOLD, own].contains(&context.peer.uid) {
        true => Ok(()),
        false => Err(CallError::denied(
            "only the tool broker changes models and what was learned; call model.activate or model.learn",
        )),
    }
}

fn at_most(what: &str, is: usize, limit: usize) -> Result<(), CallError> {
    if is > limit {
        return Err(CallError::invalid(format!("{what}: {is} are too many, at most {limit} are taken")));
    }
    Ok(())
}
