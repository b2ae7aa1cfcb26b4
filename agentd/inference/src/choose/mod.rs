//! Which tool a question asks for: embeddings first, the language model only when they are unsure.
//!
//! Every tool is known by its summary and by the ways in which people ask for it. The question's
//! nearest sentences make a shortlist. A clear winner is taken, a question that is near to nothing gets
//! no tool, and in between the language model is asked how much likelier the question makes each tool's
//! summary than no question at all does (pointwise mutual information, so that a summary is not
//! preferred for being short or common). Without a language model the shortlist alone decides.

mod memory;
pub mod rank;

pub use memory::Memory;

use crate::ask::{Asker, milliseconds};
use crate::engine::Engine;
use aios_abi::CallError;
use aios_abi::engine::Message;
use aios_abi::infer::{Choice, InferEvent, Scored, ToolBrief, Usage};
use rank::{LIMITS, Verdict};
use std::time::{Duration, Instant};

/// Time that stays for the answer when the language model takes all the rest.
const RESERVE: Duration = Duration::from_millis(500);

/// What it takes to choose.
pub(crate) struct Engines<'a> {
    pub(crate) text: &'a Engine,
    pub(crate) embed: &'a Engine,
    pub(crate) memory: &'a Memory,
}

/// Choose one of the tools, or none.
pub(crate) async fn choose(
    engines: Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: &[ToolBrief],
) -> Result<Choice, CallError> {
    if question.trim().is_empty() {
        return Err(CallError::invalid("the question is empty"));
    }
    let (shortlist, mut took) = retrieve(&engines, asker, question, tools).await?;
    asker.tell(InferEvent::Shortlist(shortlist.clone())).await?;
    let (chosen, by_model) = match rank::verdict(&LIMITS, &shortlist) {
        Verdict::Sure => (Some(0), false),
        Verdict::Nothing => (None, false),
        Verdict::Unsure => match ratios(&engines, asker, question, tools, &shortlist).await {
            Ok((ratios, time)) => {
                took += time;
                (rank::combined(&LIMITS, &shortlist, &ratios), true)
            }
            Err(error) => {
                tracing::info!("the embeddings alone choose a tool: {error}");
                (rank::alone(&LIMITS, &shortlist), false)
            }
        },
    };
    let scores: Vec<f32> = shortlist.iter().map(|s| s.score).collect();
    Ok(Choice {
        tool: chosen.and_then(|index| shortlist.get(index)).map(|s| s.name.clone()),
        by_model,
        margin: rank::margin(&scores),
        shortlist,
        usage: Usage { prompt_tokens: 0, generated_tokens: 0, ms: milliseconds(took) },
    })
}

/// The sentences by which a tool is known.
pub fn sentences(tool: &ToolBrief) -> impl Iterator<Item = &str> {
    std::iter::once(tool.summary.as_str()).chain(tool.examples.iter().map(|e| e.ask.as_str()))
}

async fn retrieve(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: &[ToolBrief],
) -> Result<(Vec<Scored>, Duration), CallError> {
    let mut took = Duration::ZERO;
    let model = engines.embed.snapshot().health.model;
    for batch in engines.memory.missing(model.as_deref(), tools.iter().flat_map(sentences)) {
        let (vectors, time) = asker.embed(engines.embed, batch.clone()).await?;
        engines.memory.learn(model.as_deref(), batch, vectors);
        took += time;
    }
    let (vectors, time) = asker.embed(engines.embed, vec![question.to_owned()]).await?;
    let question = vectors.into_iter().next().unwrap_or_default();
    let known = engines.memory.read();
    let tools = tools.iter().map(|tool| {
        (tool.name.as_str(), sentences(tool).filter_map(|sentence| known.get(sentence)).collect())
    });
    Ok((rank::shortlist(&question, tools), took + time))
}

/// How much likelier the question makes each tool of the shortlist.
async fn ratios(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: &[ToolBrief],
    shortlist: &[Scored],
) -> Result<(Vec<f32>, Duration), CallError> {
    let summaries: Vec<String> = shortlist
        .iter()
        .filter_map(|scored| tools.iter().find(|tool| tool.name == scored.name))
        .map(|tool| tool.summary.clone())
        .collect();
    let until = asker.until().checked_sub(RESERVE).unwrap_or_else(Instant::now);
    let limit = until.saturating_duration_since(Instant::now());
    let score = async {
        let (with, time) = asker.score(engines.text, until, prompt(question), summaries.clone()).await?;
        let (without, more) = asker.score(engines.text, until, prompt(""), summaries).await?;
        Ok((with.iter().zip(&without).map(|(a, b)| a - b).collect(), time + more))
    };
    tokio::time::timeout(limit, score).await.unwrap_or_else(|_| {
        Err(CallError::new(aios_abi::ErrorCode::Timeout, "the language model took too long"))
    })
}

/// What the language model reads before it judges a summary.
pub fn prompt(question: &str) -> Vec<Message> {
    let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    vec![
        message("system", "You name the one task that answers a question about this computer."),
        message("user", question),
    ]
}
