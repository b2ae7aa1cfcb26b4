//! Which tool a question asks for: embeddings first, the language model only when they are unsure.
//!
//! Every tool is known by its summary and by the ways in which people ask for it. The question's
//! nearest sentences make a shortlist. A clear winner is taken, a question that is near to nothing gets
//! no tool, and in between the language model is asked how likely the question is as one more way to ask
//! for each of the best tools. (The other direction, how likely each tool is after the question, needs a
//! model that follows instructions; this one asks a small model for what it can: continue a list. The
//! question is the same for all tools, so nothing has to be normalised. Min et al., "Noisy Channel
//! Language Model Prompting", 2022.) Without a language model the shortlist alone decides.
//!
//! Where the tools were [learned](trained), by a layer over the vectors and by an adapter of the language
//! model, these two decide instead. Where they are not [sure enough](crate::certainty), the [tiers](crate::tiers)
//! above are [asked].

mod adapted;
mod asked;
pub mod head;
mod memory;
pub mod rank;
mod trained;

pub use head::Head;
pub use memory::Memory;

use crate::ask::{Asker, milliseconds};
use crate::certainty;
use crate::engine::Engine;
use crate::tiers::{Decided, RESERVE, Tiers};
use aios_abi::CallError;
use aios_abi::engine::{Adapter, Message};
use aios_abi::infer::{Choice, InferEvent, Scored, Tier, ToolBrief, Usage};
use aios_words::mask;
use asked::Which;
use rank::{LIMITS, Verdict};
use std::time::{Duration, Instant};

/// Examples of a tool that the language model reads.
const MAX_EXAMPLES: usize = 6;

/// What it takes to choose.
pub(crate) struct Engines<'a> {
    pub(crate) tiers: &'a Tiers,
    pub(crate) embed: &'a Engine,
    pub(crate) memory: &'a Memory,
    pub(crate) head: Option<&'a Head>,
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
    let adapter = engines.tiers.operational.snapshot().adapter;
    let choice = operational(&engines, asker, question, tools, adapter.as_deref()).await?;
    let decided = Decided {
        value: choice.tool.clone(),
        certainty: choice.certainty,
        tier: Tier::Operational,
        usage: choice.usage,
    };
    let which = Which { question, tools, shortlist: &choice.shortlist };
    let Decided { value: tool, certainty, tier, usage } =
        engines.tiers.escalate(asker, decided, &which).await;
    let learned = learned(adapter.as_deref(), tool.as_deref());
    Ok(Choice { tool, certainty, tier, learned, usage, ..choice })
}

/// With what this machine always has.
async fn operational(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: &[ToolBrief],
    adapter: Option<&Adapter>,
) -> Result<Choice, CallError> {
    let mut took = Duration::ZERO;
    if let Some(head) = engines.head
        && let Some(judged) = trained::judge(engines, asker, head, question, tools, &mut took).await?
    {
        return trained::choose(engines, asker, question, tools, judged, adapter, took).await;
    }
    let vector = embedded(engines, asker, question, false, &mut took).await?;
    let (shortlist, time) = retrieve(engines, asker, &vector, tools).await?;
    took += time;
    asker.tell(InferEvent::Shortlist(shortlist.clone())).await?;
    let verdict = rank::verdict(&LIMITS, &shortlist);
    let decided = match verdict {
        Verdict::Sure | Verdict::Nothing => Ok((alone(verdict, &shortlist), Duration::ZERO)),
        Verdict::Unsure => by_likelihood(engines, asker, question, tools, &shortlist).await,
    };
    let by_model = verdict == Verdict::Unsure && decided.is_ok();
    let tool = match decided {
        Ok((tool, time)) => {
            took += time;
            tool
        }
        Err(error) => {
            tracing::info!("the embeddings alone choose a tool: {error}");
            alone(verdict, &shortlist)
        }
    };
    let scores: Vec<f32> = shortlist.iter().map(|s| s.score).collect();
    let margin = rank::margin(&scores);
    Ok(Choice {
        tool,
        by_model,
        learned: false,
        margin,
        certainty: certainty::NEAREST.of([scores.first().copied().unwrap_or(-1.0), margin]),
        tier: Tier::Operational,
        signals: None,
        shortlist,
        usage: Usage { ms: milliseconds(took), ..Usage::default() },
    })
}

/// Whether the adapter knows the tool.
fn learned(adapter: Option<&Adapter>, tool: Option<&str>) -> bool {
    adapter.zip(tool).is_some_and(|(adapter, tool)| adapter.tools.iter().any(|known| known == tool))
}

/// Without a language model.
fn alone(verdict: Verdict, shortlist: &[Scored]) -> Option<String> {
    let index = match verdict {
        Verdict::Sure => Some(0),
        Verdict::Nothing => None,
        Verdict::Unsure => rank::alone(&LIMITS, shortlist),
    };
    index.and_then(|index| shortlist.get(index)).map(|scored| scored.name.clone())
}

/// With a language model that was not trained for it.
async fn by_likelihood(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: &[ToolBrief],
    shortlist: &[Scored],
) -> Result<(Option<String>, Duration), CallError> {
    let (likelihoods, took) = likelihoods(engines, asker, question, tools, shortlist).await?;
    let index = rank::combined(&LIMITS, shortlist, &likelihoods);
    Ok((index.and_then(|index| shortlist.get(index)).map(|scored| scored.name.clone()), took))
}

/// The sentences by which a tool is known, as they are embedded.
pub fn sentences(tool: &ToolBrief) -> impl Iterator<Item = String> {
    std::iter::once(&tool.summary).chain(tool.examples.iter().map(|e| &e.ask)).map(|sentence| mask(sentence))
}

/// The question's vector.
async fn embedded(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    adapted: bool,
    took: &mut Duration,
) -> Result<Vec<f32>, CallError> {
    let (vectors, time) = asker.embed(engines.embed, vec![mask(question)], adapted).await?;
    *took += time;
    Ok(vectors.into_iter().next().unwrap_or_default())
}

/// The tools whose sentences are nearest.
async fn retrieve(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &[f32],
    tools: &[ToolBrief],
) -> Result<(Vec<Scored>, Duration), CallError> {
    let mut took = Duration::ZERO;
    let model = engines.embed.snapshot().health.model;
    // Of several questions at once one has the sentences embedded, and the others find them.
    let learning = engines.memory.learning().await;
    for batch in engines.memory.missing(model.as_deref(), tools.iter().flat_map(sentences)) {
        let (vectors, time) = asker.embed(engines.embed, batch.clone(), false).await?;
        engines.memory.learn(model.as_deref(), batch, vectors);
        took += time;
    }
    drop(learning);
    let known = engines.memory.read();
    let tools = tools.iter().map(|tool| {
        (tool.name.as_str(), sentences(tool).filter_map(|sentence| known.get(&sentence)).collect())
    });
    Ok((rank::shortlist(question, tools), took))
}

/// How likely the question is for each of the best tools, as a natural logarithm.
async fn likelihoods(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: &[ToolBrief],
    shortlist: &[Scored],
) -> Result<(Vec<f32>, Duration), CallError> {
    let until = asker.until().checked_sub(RESERVE).unwrap_or_else(Instant::now);
    let limit = until.saturating_duration_since(Instant::now());
    let judge = async {
        let (mut likelihoods, mut took) = (Vec::new(), Duration::ZERO);
        for scored in shortlist.iter().take(rank::JUDGED) {
            let Some(tool) = tools.iter().find(|tool| tool.name == scored.name) else { continue };
            let continuations = vec![question.to_owned()];
            let (scores, time) =
                asker.score(&engines.tiers.operational, until, prompt(tool), continuations, false).await?;
            likelihoods.extend(scores);
            took += time;
        }
        Ok((likelihoods, took))
    };
    tokio::time::timeout(limit, judge).await.unwrap_or_else(|_| Err(too_slow()))
}

/// The end of a language model's part in a choice; the rest decides alone.
fn too_slow() -> CallError {
    CallError::new(aios_abi::ErrorCode::Timeout, "the language model took too long")
}

/// What the language model reads before it judges a question.
pub fn prompt(tool: &ToolBrief) -> Vec<Message> {
    let mut content = format!("{}. How do people ask for this?\n", tool.summary.trim_end_matches('.'));
    for example in tool.examples.iter().take(MAX_EXAMPLES) {
        content.push_str(&example.ask);
        content.push('\n');
    }
    content.push_str("One more:");
    vec![Message { role: "user".into(), content }]
}
