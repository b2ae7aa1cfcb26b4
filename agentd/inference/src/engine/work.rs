//! What comes back from an engine.

use aios_abi::CallError;
use aios_abi::engine::{Cost, Reading};

/// What comes of a request. All but the first three are its end.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// It waits; this many are before it.
    Queued {
        /// Requests before it.
        ahead: u32,
    },
    /// The engine begins to work on it.
    Started,
    /// The next piece of text.
    Text(String),
    /// The text is complete.
    Done(Cost),
    /// The vectors.
    Embeddings(Vec<Vec<f32>>),
    /// The log-likelihoods.
    Scores(Vec<f32>),
    /// What a question says for a form.
    Reading(Reading),
    /// It failed.
    Failed(CallError),
}
