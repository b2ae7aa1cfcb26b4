//! One request of a client, while engines work on it.

use crate::engine::{Delivery, Engine, Job, Work};
use crate::queue::{Caller, Class, Order};
use aios_abi::CallError;
use aios_abi::engine::{Cost, Form, Generate, Message, Reading};
use aios_abi::infer::{Infer, InferEvent, Usage};
use aios_abi::server::Context;
use aios_abi::who::uid;
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

/// A text that was written.
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) cost: Cost,
    took: Duration,
}

impl Written {
    /// What it cost, as callers are told.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.cost.prompt,
            reused_tokens: self.cost.reused,
            generated_tokens: self.cost.generated,
            ms: milliseconds(self.took),
            price_micro: self.cost.price_micro,
        }
    }
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
        let meta = &context.meta;
        let class = match (&meta.person, &meta.incident) {
            (Some(_), _) => Class::Person,
            // Whoever else says so is not believed: the agent alone works on incidents.
            (None, Some(_)) if matches!(context.peer.uid, uid::ROOT | uid::AGENTD) => Class::Incident,
            (None, _) => Class::Background,
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
        until: Instant,
        generate: Generate,
        watch: Watch,
    ) -> Result<Written, CallError> {
        let outcome = self.work(engine, until, Work::Generate(generate), watch).await?;
        let Delivery::Done(cost) = outcome.end else { return Err(confused()) };
        Ok(Written { text: outcome.text, cost, took: outcome.took })
    }

    /// Have sentences embedded: as many vectors as sentences, all of one length.
    pub(crate) async fn embed(
        &self,
        engine: &Engine,
        texts: Vec<String>,
        adapted: bool,
    ) -> Result<(Vec<Vec<f32>>, Duration), CallError> {
        let count = texts.len();
        let outcome = self.work(engine, self.until, Work::Embed { texts, adapted }, Watch::End).await?;
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

    /// Have a question read for what it says in each blank of a form.
    pub(crate) async fn read(
        &self,
        engine: &Engine,
        form: Form,
        question: &str,
    ) -> Result<(Reading, Duration), CallError> {
        let work = Work::Read { form, question: question.to_owned() };
        let outcome = self.work(engine, self.until, work, Watch::End).await?;
        match outcome.end {
            Delivery::Reading(reading) => Ok((reading, outcome.took)),
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
        let caller = Caller {
            uid: self.context.peer.uid,
            person: self.context.meta.person.as_ref().map(|person| person.name.clone()),
        };
        let order = Order { class: self.class, caller, until, weight: weight(&work) };
        let outcome = self.watched(engine.submit(order, work), watch).await;
        match &outcome {
            Ok(Outcome { end: Delivery::Done(cost), took, .. }) => engine.books().answered(cost, *took),
            Ok(Outcome { took, .. }) => engine.books().answered(&Cost::default(), *took),
            Err(_) => engine.books().failed(),
        }
        outcome
    }

    async fn watched(&self, mut job: Job, watch: Watch) -> Result<Outcome, CallError> {
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

/// About how many tokens a request takes, which is how callers are weighed against each other.
fn weight(work: &Work) -> u32 {
    // A token of English has about four bytes; it is read several times faster than one is written.
    const BYTES: usize = 16;
    let read = |messages: &[Message]| messages.iter().map(|m| m.content.len()).sum::<usize>() / BYTES;
    let tokens = match work {
        Work::Generate(generate) => {
            read(&generate.messages) + generate.prefix.len() / BYTES + generate.max_tokens as usize
        }
        Work::Embed { texts, .. } => texts.iter().map(String::len).sum::<usize>() / BYTES,
        Work::Score { messages, continuations, .. } => {
            read(messages) + continuations.iter().map(String::len).sum::<usize>() / BYTES
        }
        Work::Read { question, .. } => question.len() / BYTES,
    };
    u32::try_from(tokens).unwrap_or(u32::MAX)
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
