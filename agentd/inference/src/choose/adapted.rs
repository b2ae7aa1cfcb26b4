//! The choice of a language model that has learned to name tools.
//!
//! It reads the question alone, a dozen tokens, and names a tool; the grammar lets it name no other than the
//! caller may call.

use super::Engines;
use super::rank::{self, CALLS};
use super::trained::Judged;
use crate::ask::{Asker, Watch};
use aios_abi::CallError;
use aios_abi::engine::{Adapter, Generate, Grammar};
use aios_abi::infer::{Signals, ToolBrief, Usage};
use serde_json::Value;
use std::time::Duration;

/// Tokens of a name.
const MAX_TOKENS: u32 = 24;

/// What came of it.
pub(super) struct Named {
    /// A tool, or the name that stands for none.
    pub(super) name: String,
    /// What layer and adapter say of it.
    pub(super) signals: Signals,
    pub(super) took: Duration,
}

/// The tool that both models like best together.
pub(super) async fn choose(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: &[ToolBrief],
    judged: &Judged,
    adapter: &Adapter,
    usage: &mut Usage,
) -> Result<Named, CallError> {
    let known = |tool: &str| adapter.tools.iter().any(|known| known == tool);
    let names = tools.iter().map(|tool| tool.name.as_str()).filter(|tool| known(tool));
    let (favourite, likely) = favourite(engines, asker, question, names, usage).await?;
    let took = Duration::from_millis(usage.ms.into());
    if let Some((first, layer)) = judged.first()
        && *first == favourite
    {
        let signals = Signals { agree: true, layer: *layer, adapter: likely, ahead: 0.0 };
        return Ok(Named { name: favourite, signals, took });
    }
    let mut candidates: Vec<&(String, f32)> = judged
        .iter()
        .filter(|(tool, _)| known(tool) || tool == Adapter::NONE)
        .take(rank::SHORTLIST)
        .collect();
    candidates.extend(
        judged.iter().skip(rank::SHORTLIST).filter(|(tool, _)| *tool == favourite || tool == Adapter::NONE),
    );
    let names = candidates.iter().map(|(tool, _)| Adapter::line(tool)).collect();
    let (likelihoods, time) = asker
        .score(&engines.tiers.operational, asker.until(), Adapter::prompt(question), names, true)
        .await?;
    let both: Vec<(f32, f32)> =
        candidates.iter().zip(&likelihoods).map(|((_, one), other)| (*one, *other)).collect();
    tracing::debug!(target: "choice", "{question:?}: {candidates:?} {likelihoods:?} {favourite}");
    let Some((index, ahead)) = rank::best(&CALLS, &both) else {
        return Err(CallError::failed("the models give no tool a probability"));
    };
    let (name, (layer, adapter)) = (candidates[index].0.clone(), both[index]);
    let signals = Signals { agree: false, layer, adapter, ahead };
    Ok(Named { name, signals, took: took + time })
}

/// The tool that the model names, and the natural logarithm of its probability among those that it may name.
async fn favourite(
    engines: &Engines<'_>,
    asker: &Asker<'_>,
    question: &str,
    tools: impl Iterator<Item = &str>,
    usage: &mut Usage,
) -> Result<(String, f32), CallError> {
    let quoted = |tool: &str| Value::from(Adapter::line(tool)).to_string();
    let names: Vec<String> = tools.chain([Adapter::NONE]).map(quoted).collect();
    let generate = Generate {
        messages: Adapter::prompt(question),
        grammar: Some(Grammar::Lark(format!("start: {}\n", names.join(" | ")))),
        adapted: true,
        max_tokens: MAX_TOKENS,
        ..Generate::default()
    };
    let written = asker.generate(&engines.tiers.operational, asker.until(), generate, Watch::End).await?;
    *usage = written.usage();
    Ok((written.text.trim_end().to_owned(), written.cost.log_likelihood.unwrap_or(f32::NEG_INFINITY)))
}
