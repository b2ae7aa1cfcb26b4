//! One request of a client, while engines work on it.

use crate::engine::{Delivery, Engine, Work};
use crate::queue::Class;
use aios_abi::CallError;
use aios_abi::engine::{Generate, Message};
use aios_abi::infer::{Infer, InferEvent, Usage};
use aios_abi::server::Context;
use std::time::{Duration, Instant};

/// How long a request without a deadline of its own may take.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// Who asks, until when, and where events go.
pub(crate) struct Asker<'a> {
    context: &'a Context<Infer>,
    class: Class,
    until: Instant,
}

/// Whether the caller sees a text while it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Each piece is sent on.
    Pieces,
    /// Only the end counts.
    End,
}

struct Outcome {
    text: String,
    end: Delivery,
    took: Duration,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(context: &'a Context<Infer>) -> Self {
        let limit = match context.meta.deadline_ms {
            0 => DEFAULT_DEADLINE,
            ms => Duration::from_millis(ms.into()),
        };
        let class = match context.meta.person {
            Some(_) => Class::Person,
            None => Class::Background,
        };
        Self { context, class, until: Instant::now() + limit }
    }

    /// When the answer is worth nothing any more.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Tell the caller something.
    pub(crate) async fn tell(&self, event: InferEvent) -> Result<(), CallError> {
        self.context.send(event).await
    }

    /// Have a text written.
    pub(crate) async fn generate(
        &self,
        engine: &Engine,
        generate: Generate,
        watch: Watch,
    ) -> Result<(String, Usage), CallError> {
        let outcome = self.work(engine, self.until, Work::Generate(generate), watch).await?;
        let Delivery::Done { prompt_tokens, generated_tokens, .. } = outcome.end else {
            return Err(confused());
        };
        Ok((outcome.text, Usage { prompt_tokens, generated_tokens, ms: milliseconds(outcome.took) }))
    }

    /// Have sentences embedded: as many vectors as sentences, all of one length.
    pub(crate) async fn embed(
        &self,
        engine: &Engine,
        texts: Vec<String>,
    ) -> Result<(Vec<Vec<f32>>, Duration), CallError> {
        let count = texts.len();
        let outcome = self.work(engine, self.until, Work::Embed(texts), Watch::End).await?;
        match outcome.end {
            Delivery::Embeddings(vectors) if vectors.len() == count => Ok((vectors, outcome.took)),
            _ => Err(confused()),
        }
    }

    /// Have continuations judged: as many log-likelihoods as continuations.
    pub(crate) async fn score(
        &self,
        engine: &Engine,
        until: Instant,
        messages: Vec<Message>,
        continuations: Vec<String>,
        adapted: bool,
    ) -> Result<(Vec<f32>, Duration), CallError> {
        let count = continuations.len();
        let work = Work::Score { messages, continuations, adapted };
        let outcome = self.work(engine, until, work, Watch::End).await?;
        match outcome.end {
            Delivery::Scores(scores) if scores.len() == count => Ok((scores, outcome.took)),
            _ => Err(confused()),
        }
    }

    async fn work(
        &self,
        engine: &Engine,
        until: Instant,
        work: Work,
        watch: Watch,
    ) -> Result<Outcome, CallError> {
        let mut job = engine.submit(self.class, until, work);
        let mut started = Instant::now();
        let mut text = String::new();
        loop {
            match job.next().await? {
                Delivery::Queued { ahead } => self.tell(InferEvent::Queued { ahead }).await?,
                Delivery::Started => started = Instant::now(),
                Delivery::Text(piece) => {
                    text.push_str(&piece);
                    if watch == Watch::Pieces {
                        self.tell(InferEvent::Text(piece)).await?;
                    }
                }
                end => return Ok(Outcome { text, end, took: started.elapsed() }),
            }
        }
    }
}

/// A duration as it stands in [`Usage`].
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// A worker that answers something else than was asked.
fn confused() -> CallError {
    CallError::failed(
        "the engine worker's answer does not belong to the question; use programs of one release",
    )
}
