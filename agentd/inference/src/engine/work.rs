//! What an engine is asked, and what comes back.

use aios_abi::CallError;
use aios_abi::engine::{EngineRequest, Generate, Message};

/// One request to an engine. Its id is given when it is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Write a text.
    Generate(Generate),
    /// Embed sentences.
    Embed(Vec<String>),
    /// How likely each continuation is.
    Score {
        /// The conversation before.
        messages: Vec<Message>,
        /// The continuations.
        continuations: Vec<String>,
        /// With the adapter that makes calls of words.
        adapted: bool,
    },
}

impl Work {
    pub(crate) fn into_request(self, id: u64) -> EngineRequest {
        match self {
            Self::Generate(generate) => EngineRequest::Generate(Generate { id, ..generate }),
            Self::Embed(texts) => EngineRequest::Embed { id, texts },
            Self::Score { messages, continuations, adapted } => {
                EngineRequest::Score { id, messages, continuations, adapted }
            }
        }
    }
}

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
    Done {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of these, tokens that were still known.
        reused_tokens: u32,
        /// Tokens written.
        generated_tokens: u32,
    },
    /// The vectors.
    Embeddings(Vec<Vec<f32>>),
    /// The log-likelihoods.
    Scores(Vec<f32>),
    /// It failed.
    Failed(CallError),
}
