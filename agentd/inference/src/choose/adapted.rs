//! The choice of a model that has learned to name tools.
//!
//! It reads the question alone, a dozen tokens, and names a tool; the grammar lets it name no other than the
//! caller may call. When the nearest tool by embedding is the same, that is the answer: two that learned from
//! different things agree. Else both their candidates, and those that follow in the shortlist, are judged by
//! the sum of both.

use super::rank::{self, CALLS};
use super::{Engines, RESERVE};
use crate::ask::{Asker, Watch};
use aios_abi::CallError;
use aios_abi::engine::{Adapter, Generate, Grammar, Message};
use aios_abi::infer::{Scored, ToolBrief, Usage};
use serde_json::Value;
use std::time::Instant;

/// The name that stands for no tool.
const NONE: &str = "none";
/// Tokens of a name.
const MAX_TOKENS: u32 = 24;

/// What the model reads before it names a tool, and goes on with to write its arguments.
pub(crate) fn prompt(question: &str) -> Vec<Message> {
    vec![Message { role: "user".into(), content: question.to_owned() }]
}

/// A tool's name as the model writes it.
pub(crate) fn name(tool: &str) -> String {
    format!("{tool}\n")
}

pub(super) async fn choose(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    shortlist: &[Scored],
    tools: &[ToolBrief],
    adapter: &Adapter,
) -> Result<(Option<String>, Usage), CallError> {
    let known =
        tools.iter().map(|tool| tool.name.as_str()).filter(|tool| adapter.tools.iter().any(|t| t == tool));
    let (favourite, mut usage) = favourite(engines, asker, question, known).await?;
    let chosen = |name: &str| (name != NONE).then(|| name.to_owned());
    if shortlist.first().is_some_and(|first| first.name == favourite) {
        return Ok((chosen(&favourite), usage));
    }
    let mut candidates: Vec<(&str, f32)> = vec![(NONE, CALLS.none)];
    let of_shortlist = shortlist.iter().filter(|scored| adapter.tools.contains(&scored.name));
    candidates.extend(of_shortlist.map(|scored| (scored.name.as_str(), scored.score)));
    if !candidates.iter().any(|(name, _)| *name == favourite) {
        // It is no nearer than the last of the shortlist.
        candidates.push((&favourite, shortlist.last().map_or(CALLS.none, |last| last.score)));
    }
    let until = asker.until().checked_sub(RESERVE).unwrap_or_else(Instant::now);
    let names = candidates.iter().map(|(tool, _)| name(tool)).collect();
    let (likelihoods, took) = asker.score(engines.text, until, prompt(question), names, true).await?;
    usage.ms = usage.ms.saturating_add(crate::ask::milliseconds(took));
    let judged: Vec<(f32, f32)> =
        candidates.iter().zip(&likelihoods).map(|((_, cosine), likelihood)| (*cosine, *likelihood)).collect();
    tracing::debug!(target: "choice", "{question:?}: {candidates:?} {likelihoods:?} {favourite}");
    let best = rank::best(&CALLS, &judged).and_then(|index| candidates.get(index));
    Ok((best.and_then(|(name, _)| chosen(name)), usage))
}

/// The tool that the model names.
async fn favourite(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: impl Iterator<Item = &str>,
) -> Result<(String, Usage), CallError> {
    let quoted = |tool: &str| Value::from(name(tool)).to_string();
    let names: Vec<String> = tools.chain([NONE]).map(quoted).collect();
    let generate = Generate {
        id: 0,
        messages: prompt(question),
        prefix: String::new(),
        grammar: Some(Grammar::Lark(format!("start: {}\n", names.join(" | ")))),
        adapted: true,
        max_tokens: MAX_TOKENS,
        temperature_milli: 0,
        seed: 0,
    };
    let (text, usage) = asker.generate(engines.text, generate, Watch::End).await?;
    Ok((text.trim_end().to_owned(), usage))
}
