//! The choice of a language model that has learned to name tools.
//!
//! It reads the question alone, a dozen tokens, and names a tool; the grammar lets it name no other than the
//! caller may call.

use super::Engines;
use super::head::NONE;
use super::rank::{self, CALLS};
use super::trained::Judged;
use crate::ask::{Asker, Watch};
use aios_abi::CallError;
use aios_abi::engine::{Adapter, Generate, Grammar, Message};
use aios_abi::infer::{ToolBrief, Usage};
use serde_json::Value;
use std::time::Duration;

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

/// The name of a tool, or the one that stands for no tool, and how long it took.
pub(super) async fn choose(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: &[ToolBrief],
    judged: &Judged,
    adapter: &Adapter,
    usage: &mut Usage,
) -> Result<(String, Duration), CallError> {
    let known = |tool: &str| adapter.tools.iter().any(|known| known == tool);
    let names = tools.iter().map(|tool| tool.name.as_str()).filter(|tool| known(tool));
    let favourite = favourite(engines, asker, question, names, usage).await?;
    let took = Duration::from_millis(usage.ms.into());
    if judged.first().is_some_and(|(first, _)| *first == favourite) {
        return Ok((favourite, took));
    }
    let mut candidates: Vec<&(String, f32)> =
        judged.iter().filter(|(tool, _)| known(tool) || tool == NONE).take(rank::SHORTLIST).collect();
    candidates
        .extend(judged.iter().skip(rank::SHORTLIST).filter(|(tool, _)| *tool == favourite || tool == NONE));
    let names = candidates.iter().map(|(tool, _)| name(tool)).collect();
    let (likelihoods, time) = asker.score(engines.text, asker.until(), prompt(question), names, true).await?;
    let both: Vec<(f32, f32)> =
        candidates.iter().zip(&likelihoods).map(|((_, one), other)| (*one, *other)).collect();
    tracing::debug!(target: "choice", "{question:?}: {candidates:?} {likelihoods:?} {favourite}");
    let best = rank::best(&CALLS, &both).and_then(|index| candidates.get(index));
    Ok((best.map_or(favourite, |(tool, _)| tool.clone()), took + time))
}

/// The tool that the model names.
async fn favourite(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: impl Iterator<Item = &str>,
    usage: &mut Usage,
) -> Result<String, CallError> {
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
    let (text, cost) = asker.generate(engines.text, generate, Watch::End).await?;
    *usage = cost;
    Ok(text.trim_end().to_owned())
}
