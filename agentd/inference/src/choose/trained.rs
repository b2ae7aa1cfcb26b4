//! The choice of what was trained: a layer over sentence vectors, and a language model's adapter.
//!
//! Both learned from the same questions and err in different ways. When the likeliest tool of both is the same, that
//! is the answer; else the candidates of both are judged by the sum of what both say.

use super::head::Head;
use super::rank::{self, CALLS, LIMITS, Verdict};
use super::{Engines, adapted, embedded, retrieve};
use crate::ask::{Asker, milliseconds};
use crate::certainty;
use crate::tiers::RESERVE;
use aios_abi::CallError;
use aios_abi::engine::Adapter;
use aios_abi::infer::{Choice, InferEvent, Scored, Tier, ToolBrief, Usage};
use std::time::{Duration, Instant};

/// What the layer says, likeliest first: names with the natural logarithm of their probability.
pub(super) type Judged = Vec<(String, f32)>;

/// Ask the layer; nothing when the encoder does not make the vectors that it knows, or when a tool that it never saw
/// is clearly nearer than those that it likes best.
pub(super) async fn judge(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    head: &Head,
    question: &str,
    tools: &[ToolBrief],
    took: &mut Duration,
) -> Result<Option<Judged>, CallError> {
    let encoder = engines.embed.snapshot().adapter;
    if head.encoder().is_some_and(|needed| encoder.is_none_or(|adapter| adapter.name != needed)) {
        return Ok(None);
    }
    let vector = embedded(engines, asker, question, head.encoder().is_some(), took).await?;
    let judged = head.judge(&vector, tools.iter().map(|tool| tool.name.as_str()));
    let best: Vec<&str> = judged.iter().take(rank::SHORTLIST).map(|(tool, _)| *tool).collect();
    let (known, new): (Vec<&ToolBrief>, Vec<&ToolBrief>) =
        tools.iter().partition(|tool| head.knows(&tool.name));
    if known.is_empty() || judged.is_empty() {
        return Ok(None);
    }
    if !new.is_empty() {
        let rivals = known.into_iter().filter(|tool| best.contains(&tool.name.as_str()));
        let rivals: Vec<ToolBrief> = new.iter().copied().chain(rivals).cloned().collect();
        let plain = match head.encoder() {
            Some(_) => embedded(engines, asker, question, false, took).await?,
            None => vector,
        };
        let (nearest, time) = retrieve(engines, asker, &plain, &rivals).await?;
        *took += time;
        let is_new = nearest.first().is_some_and(|first| !head.knows(&first.name));
        if is_new && rank::verdict(&LIMITS, &nearest) == Verdict::Sure {
            return Ok(None);
        }
    }
    Ok(Some(judged.into_iter().map(|(tool, likely)| (tool.to_owned(), likely)).collect()))
}

/// Choose one of the tools, or none.
pub(super) async fn choose(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: &[ToolBrief],
    judged: Judged,
    adapter: Option<&Adapter>,
    mut took: Duration,
) -> Result<Choice, CallError> {
    let shortlist: Vec<Scored> = judged
        .iter()
        .filter(|(tool, _)| tool != Adapter::NONE)
        .take(rank::SHORTLIST)
        .map(|(tool, likely)| Scored { name: tool.clone(), score: likely.exp() })
        .collect();
    asker.tell(InferEvent::Shortlist(shortlist.clone())).await?;
    let likely: Vec<f32> = judged.iter().map(|(_, likely)| likely.exp()).collect();
    let mut usage = Usage::default();
    let is_sure = likely.first().is_some_and(|likely| *likely >= CALLS.alone);
    // A tool that came after the adapter was made is the layer's alone to name.
    let newer = |adapter: &&Adapter| {
        let first = judged.first().map(|(tool, _)| tool.as_str()).filter(|tool| *tool != Adapter::NONE);
        is_sure && first.is_some_and(|first| adapter.tools.iter().all(|known| known != first))
    };
    let by_adapter = match adapter.filter(|adapter| !newer(adapter)) {
        Some(adapter) => {
            let limit = asker.until().saturating_duration_since(Instant::now()).saturating_sub(RESERVE);
            let named = adapted::choose(engines, asker, question, tools, &judged, adapter, &mut usage);
            Some(tokio::time::timeout(limit, named).await.unwrap_or_else(|_| Err(super::too_slow())))
        }
        None => None,
    };
    let (name, signals) = match by_adapter {
        Some(Ok(adapted::Named { name, signals, took: time })) => {
            took += time;
            (Some(name), Some(signals))
        }
        decided => {
            if let Some(Err(error)) = decided {
                tracing::info!("the embeddings alone choose a tool: {error}");
            }
            (judged.first().filter(|_| is_sure).map(|(tool, _)| tool.clone()), None)
        }
    };
    let tool = name.filter(|name| name != Adapter::NONE);
    Ok(Choice {
        learned: false,
        tool,
        by_model: signals.is_some(),
        margin: rank::margin(&likely),
        certainty: match &signals {
            Some(signals) => certainty::chosen(signals),
            None => likely.first().copied().unwrap_or(0.0),
        },
        tier: Tier::Operational,
        signals,
        shortlist,
        usage: Usage { ms: milliseconds(took), ..usage },
    })
}
