//! What a trained reader says for each argument of a tool.
//!
//! The reader is the sentence encoder: it sees the whole question at once, and points at the words that belong to an
//! argument. What it holds possible is all that the language model may choose from; where it is sure there is
//! nothing to choose.

use crate::ask::Asker;
use crate::engine::Engine;
use crate::grammar::{Offer, Offers};
use aios_words::reading::{self, Guess};
use aios_words::schema::Arguments;
use serde_json::{Map, Value};
use std::time::Duration;

/// A value that is less likely than this is not offered beside a likelier one.
const POSSIBLE: f32 = 0.03;

/// Calls that are weighed against each other, at most.
pub(crate) const MAX_CALLS: usize = 8;

/// The values that each argument may have.
pub(crate) struct Read {
    guesses: Vec<(String, Vec<Guess>)>,
    pub(crate) took: Duration,
}

/// Arguments, and the natural logarithm of how likely the reader holds them.
pub(crate) type Call = (Map<String, Value>, f32);

impl Read {
    /// Read the question; nothing when no reader knows the tool, or it cannot be asked: then the language model decides alone.
    pub(crate) async fn of(
        embed: &Engine,
        asker: &Asker<'_>,
        question: &str,
        tool: &str,
        arguments: &Arguments,
        known: &Map<String, Value>,
    ) -> Option<Self> {
        embed.snapshot().reads.filter(|tools| tools.iter().any(|known| known == tool))?;
        let form = reading::form(tool, arguments, known);
        let read = asker.read(embed, form.clone(), question).await;
        let (read, took) =
            read.inspect_err(|e| tracing::warn!("the arguments of {tool} are not read: {e}")).ok()?;
        let mut guesses = reading::read(question, arguments, &form, &read);
        for (_, guesses) in &mut guesses {
            let likeliest = guesses.first().map_or(0.0, |guess| guess.likely);
            guesses.retain(|guess| guess.likely >= likeliest.min(POSSIBLE));
        }
        tracing::debug!(target: "read", "{question:?}: {guesses:?}");
        Some(Self { guesses, took })
    }

    /// What the language model may choose from.
    pub(crate) fn offers(&self) -> Offers {
        let offer = |(name, guesses): &(String, Vec<Guess>)| {
            let values = guesses.iter().filter_map(|guess| guess.value.clone()).collect();
            let may_be_absent = guesses.iter().any(|guess| guess.value.is_none());
            (name.clone(), Offer { values, may_be_absent })
        };
        self.guesses.iter().map(offer).collect()
    }

    /// How likely the reader holds the values of these arguments, as a natural logarithm.
    pub(crate) fn likelihood(&self, args: &Map<String, Value>) -> f32 {
        let of = |(name, guesses): &(String, Vec<Guess>)| {
            let guess = guesses.iter().find(|guess| guess.value.as_ref() == args.get(name));
            guess.map_or(0.0, |guess| guess.likely).max(f32::MIN_POSITIVE).ln()
        };
        self.guesses.iter().map(of).sum()
    }

    /// Whether it has read an argument of this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.guesses.iter().any(|(known, _)| known == name)
    }

    /// All calls that the reader holds possible, the likeliest first and [`MAX_CALLS`] at most; nothing when an argument is
    /// none that it reads. Arguments stand in the schema's order.
    pub(crate) fn calls(&self, arguments: &Arguments, known: &Map<String, Value>) -> Option<Vec<Call>> {
        let mut calls: Vec<Call> = vec![(Map::new(), 0.0)];
        for field in &arguments.fields {
            if let Some(value) = known.get(&field.name) {
                calls.iter_mut().for_each(|(args, _)| drop(args.insert(field.name.clone(), value.clone())));
                continue;
            }
            let (_, guesses) = self.guesses.iter().find(|(name, _)| *name == field.name)?;
            let with = |(args, likely): &Call| {
                let (args, likely) = (args.clone(), *likely);
                guesses
                    .iter()
                    .map(move |guess| {
                        let mut args = args.clone();
                        if let Some(value) = &guess.value {
                            args.insert(field.name.clone(), value.clone());
                        }
                        (args, likely + guess.likely.max(f32::MIN_POSITIVE).ln())
                    })
                    .collect::<Vec<_>>()
            };
            calls = calls.iter().flat_map(with).collect();
            calls.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            calls.truncate(MAX_CALLS);
        }
        Some(calls)
    }
}
