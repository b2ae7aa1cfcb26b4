//! The tiers, and when the next one is asked.
//!
//! The cheapest tier that can answer answers. How sure it is, is [measured](crate::certainty); below a limit the next
//! tier that is ready, and fast enough for the time that is left, is asked as well, and the surer answer stands. So a
//! tier that is no better changes nothing but the time.

use crate::ask::Asker;
use crate::certainty::ENOUGH;
use crate::engine::Engine;
use aios_abi::CallError;
use aios_abi::infer::{EngineState, Tier, TierStatus, Usage};
use std::time::{Duration, Instant};

/// Time that stays for an answer when models take all the rest.
pub(crate) const RESERVE: Duration = Duration::from_millis(500);

/// The engines that write text, one for each tier.
#[derive(Clone)]
pub struct Tiers {
    /// The tiny model.
    pub operational: Engine,
    /// The model of some billion parameters.
    pub tactical: Engine,
    /// The model somewhere else.
    pub strategic: Engine,
}

/// What a tier decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decided<T> {
    pub(crate) value: T,
    /// How likely it is right.
    pub(crate) certainty: f32,
    pub(crate) tier: Tier,
    /// What it cost, all tiers together.
    pub(crate) usage: Usage,
}

/// What any tier can be asked.
pub(crate) trait Question: Sync {
    type Answer: Send;

    /// Ask this engine, which has so much time: the answer, how likely it is right, and what it cost.
    fn ask(
        &self,
        engine: &Engine,
        until: Instant,
        asker: &Asker<'_>,
    ) -> impl Future<Output = Result<(Self::Answer, f32, Usage), CallError>> + Send;
}

impl Tiers {
    /// The engine of a tier.
    pub fn engine(&self, tier: Tier) -> &Engine {
        match tier {
            Tier::Operational => &self.operational,
            Tier::Tactical => &self.tactical,
            Tier::Strategic => &self.strategic,
        }
    }

    /// How they are and what they did, cheapest first.
    pub(crate) fn status(&self) -> Vec<TierStatus> {
        let status = |tier| {
            let engine = self.engine(tier);
            TierStatus { tier, engine: engine.snapshot().health, done: engine.books().account() }
        };
        Tier::ALL.into_iter().map(status).collect()
    }

    /// Requests that wait.
    pub(crate) fn queued(&self) -> usize {
        Tier::ALL.into_iter().map(|tier| self.engine(tier).snapshot().queued).sum()
    }

    /// Ask the tiers above, cheapest first, until an answer is sure enough. An error leaves the answer as it is.
    pub(crate) async fn escalate<Q: Question>(
        &self,
        asker: &Asker<'_>,
        mut decided: Decided<Q::Answer>,
        question: &Q,
    ) -> Decided<Q::Answer> {
        let first = decided.tier;
        for tier in Tier::ALL.into_iter().filter(|tier| *tier > first) {
            if decided.certainty >= ENOUGH {
                break;
            }
            let engine = self.engine(tier);
            let Some(until) = has_time(engine, asker) else { continue };
            self.engine(decided.tier).books().handed_on();
            match question.ask(engine, until, asker).await {
                Ok((value, certainty, usage)) => {
                    let usage = sum(decided.usage, usage);
                    decided = match certainty > decided.certainty {
                        true => Decided { value, certainty, tier, usage },
                        false => Decided { usage, ..decided },
                    };
                }
                Err(error) => tracing::info!("the {} tier did not help: {error}", tier.name()),
            }
        }
        self.engine(decided.tier).books().decided();
        decided
    }
}

/// Until when an engine may be asked; nothing when it is not ready or takes longer than there is time.
fn has_time(engine: &Engine, asker: &Asker<'_>) -> Option<Instant> {
    if engine.snapshot().health.state != EngineState::Ready {
        return None;
    }
    let until = asker.until().checked_sub(RESERVE)?;
    let left = until.checked_duration_since(Instant::now())?;
    let usual = Duration::from_millis(engine.books().account().p95_ms.into());
    (left > usual).then_some(until)
}

/// What two answers cost together.
pub(crate) fn sum(one: Usage, other: Usage) -> Usage {
    Usage {
        prompt_tokens: one.prompt_tokens.saturating_add(other.prompt_tokens),
        reused_tokens: one.reused_tokens.saturating_add(other.reused_tokens),
        generated_tokens: one.generated_tokens.saturating_add(other.generated_tokens),
        ms: one.ms.saturating_add(other.ms),
        price_micro: one.price_micro.saturating_add(other.price_micro),
    }
}
