//! What inferd serves: choice of tools, text, embeddings.

use crate::call::Protocol;
use serde::{Deserialize, Serialize};

/// The protocol of `/run/aios/inferd.sock`.
pub struct Infer;

impl Protocol for Infer {
    type Request = InferRequest;
    type Event = InferEvent;
    type Reply = InferReply;
    const SOCKET: &'static str = crate::paths::INFERD_SOCKET;
    const SERVER: &'static str = "inferd";
}

/// A request to the inference daemon. The words in it are data: nothing in them is executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InferRequest {
    /// Engines, models, queue.
    Status,
    /// Choose one of the tools for a question, or none.
    Choose {
        /// What the person asked.
        question: String,
        /// All tools that the person may call.
        tools: Vec<ToolBrief>,
    },
    /// Fill in the arguments of a chosen tool from the words of a question.
    Fill {
        /// What the person asked.
        question: String,
        /// The tool.
        tool: ToolBrief,
        /// Arguments that are certain already, a JSON object; they are kept as they are.
        known: String,
    },
    /// Write a text.
    Complete {
        /// Who the model is to be.
        system: String,
        /// What it is asked.
        prompt: String,
        /// At most this many tokens.
        max_tokens: u32,
    },
    /// Embed sentences, one vector each.
    Embed {
        /// The sentences.
        texts: Vec<String>,
    },
}

/// As much of a tool as a model needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolBrief {
    /// `family.verb`
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of the arguments.
    pub args_schema: String,
    /// How people ask for it.
    pub examples: Vec<crate::tool::Example>,
}

impl From<crate::tool::ToolInfo> for ToolBrief {
    fn from(info: crate::tool::ToolInfo) -> Self {
        Self {
            name: info.name,
            summary: info.summary,
            args_schema: info.args_schema,
            examples: info.examples,
        }
    }
}

/// What happens on the way to an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InferEvent {
    /// The request waits; this many are before it.
    Queued {
        /// Requests before it.
        ahead: u32,
    },
    /// The tools that retrieval left over, best first.
    Shortlist(Vec<Scored>),
    /// The next piece of text.
    Text(String),
}

/// A tool and how well it fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The tool's name.
    pub name: String,
    /// How near the question is to the tool's sentences (cosine similarity), -1 to 1.
    pub score: f32,
}

/// The answer of the inference daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InferReply {
    /// To [`InferRequest::Status`].
    Status(InferStatus),
    /// To [`InferRequest::Choose`].
    Choice(Choice),
    /// To [`InferRequest::Fill`].
    Filled {
        /// A JSON object that fits the tool's schema.
        args: String,
        /// What it cost.
        usage: Usage,
    },
    /// To [`InferRequest::Complete`].
    Completion(Completion),
    /// To [`InferRequest::Embed`].
    Embeddings(Vec<Vec<f32>>),
}

/// The tool that was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The tool, or none when none fits well enough.
    pub tool: Option<String>,
    /// Whether the language model had a say; otherwise the embeddings alone were sure.
    pub by_model: bool,
    /// Whether the language model has learned to write this tool's arguments: then it is better at them than
    /// fixed rules are.
    pub learned: bool,
    /// The tools that were considered, best first.
    pub shortlist: Vec<Scored>,
    /// Score of the first less score of the second: small means unsure.
    pub margin: f32,
    /// What it cost.
    pub usage: Usage,
}

/// A text and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// What it cost.
    pub usage: Usage,
}

/// What an answer cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub generated_tokens: u32,
    /// Milliseconds from taking the request off the queue to its end.
    pub ms: u32,
}

/// Engines, models and the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InferStatus {
    /// The engine that writes text and fills in arguments.
    pub text: EngineHealth,
    /// The engine that embeds sentences.
    pub embed: EngineHealth,
    /// Requests that wait.
    pub queued: u32,
}

/// How an engine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineHealth {
    /// Where it is in its life.
    pub state: EngineState,
    /// One sentence for people: which model, where it runs, or what is wrong and what helps.
    pub detail: String,
    /// The model's name, when one is loaded.
    pub model: Option<String>,
    /// Where the worker runs.
    pub place: Place,
    /// How often the worker had to be started again.
    pub restarts: u32,
}

/// Where an engine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineState {
    /// No model, or no worker for it.
    Absent,
    /// The model is being loaded.
    Loading,
    /// Ready.
    Ready,
    /// The model cannot be used; the detail says why.
    Failed,
}

/// Where an engine's worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// As a child of inferd.
    Machine,
    /// Beside the emulator, reached through a virtio port.
    Outside,
}
