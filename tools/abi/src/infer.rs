//! What inferd serves: choice of tools, text, embeddings.

use crate::call::Protocol;
use crate::engine::{Grammar, Message, Sampling};
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
    Complete(Complete),
    /// Embed sentences, one vector each.
    Embed {
        /// The sentences.
        texts: Vec<String>,
    },
    /// Which model each tier of this machine uses.
    Models,
    /// Use another model in a tier, once it has passed a health test; for toold and root alone. The answer is that it is in use,
    /// on trial; until then, and if it fails, the one before is.
    Switch {
        /// The tier, one of this machine's.
        tier: Tier,
        /// The model.
        to: ModelChoice,
    },
    /// What was learned on this machine, and what of it is used.
    Learned,
    /// Learn from these questions and the tools that people approved for them, and use what was learned if it knows more of those
    /// held back; for toold and root alone. It takes minutes; the answer comes at the end.
    Learn {
        /// At least [`LEAST_LESSONS`], each question once.
        lessons: Vec<Lesson>,
    },
    /// Use what was learned under this name, or only what the image has learned; for toold and root alone.
    Adapt {
        /// The name.
        to: Option<String>,
    },
}

/// With fewer approved calls too few could be held back to measure anything.
pub const LEAST_LESSONS: usize = 20;
/// More are too long for one request; the newest count.
pub const MOST_LESSONS: usize = 400;

/// What a person asked, and the tool whose call they approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    /// Their words.
    pub ask: String,
    /// The tool's name.
    pub tool: String,
}

/// What was learned on this machine, and what of it is used. A name is the beginning of the file's BLAKE3 hash.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Adapted {
    /// What is used; none is what the image has learned.
    pub current: Option<String>,
    /// What was used before; none is what the image has learned, or that there was no change.
    pub previous: Option<String>,
    /// What came of learning the last time.
    pub last: Option<Learning>,
    /// What went wrong since then, and what was done about it: one sentence.
    pub note: Option<String>,
}

/// What came of learning.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Learning {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// Questions that were learned from.
    pub lessons: u32,
    /// Questions that were held back.
    pub held: u32,
    /// Of these, how many were known before.
    pub knew: u32,
    /// And how many with what was learned.
    pub knows: u32,
    /// Questions of the image that measure what must not be forgotten.
    pub old: u32,
    /// Of these, how many were known before.
    pub old_knew: u32,
    /// And how many with what was learned.
    pub old_knows: u32,
    /// Whether it is used.
    pub kept: bool,
}

impl Learning {
    /// Whether it is better: it knows more of what was held back, and has forgotten no more than one in two hundred of what the image
    /// knew.
    pub fn is_better(&self) -> bool {
        let lost = self.old_knew.saturating_sub(self.old_knows);
        self.knows > self.knew && lost.saturating_mul(200) <= self.old
    }
}

/// A model that a tier of this machine can use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelChoice {
    /// The one that came with the image, if one did.
    #[default]
    Image,
    /// One that was imported, by its name: `NAME.gguf` in [`IMPORTED_MODELS`](crate::paths::IMPORTED_MODELS).
    Imported(String),
}

impl ModelChoice {
    /// Its file, for an imported one.
    pub fn file(&self, folder: &std::path::Path) -> Option<std::path::PathBuf> {
        match self {
            Self::Image => None,
            Self::Imported(name) => Some(folder.join(format!("{name}.gguf"))),
        }
    }
}

impl std::fmt::Display for ModelChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image => f.write_str("the image's own model"),
            Self::Imported(name) => f.write_str(name),
        }
    }
}

/// Letters of a model's name.
pub const LONGEST_MODEL_NAME: usize = 64;

/// Whether a model may have this name: small letters, digits, `.`, `_` and `-`, the first a letter or a digit. It becomes a
/// file's name, so nothing else is in it.
pub fn model_name_is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let begins = name.bytes().next().is_some_and(plain);
    begins
        && name.len() <= LONGEST_MODEL_NAME
        && name.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'))
}

/// Which model a tier of this machine uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierModel {
    /// The tier.
    pub tier: Tier,
    /// What it uses.
    pub current: ModelChoice,
    /// What it used before, if there was a change.
    pub previous: Option<ModelChoice>,
    /// It is on trial: if its worker dies now, the one before is used again.
    pub trial: bool,
    /// What went wrong the last time, and what was done about it: one sentence.
    pub note: Option<String>,
}

/// A text to write.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Complete {
    /// The tier that writes it.
    pub tier: Tier,
    /// The conversation. Without one the text is [`prefix`](Self::prefix) as it is, and what follows it.
    pub messages: Vec<Message>,
    /// The answer begins with this, and it is no part of what comes back.
    pub prefix: String,
    /// What the answer must follow.
    pub grammar: Option<Grammar>,
    /// At most this many tokens.
    pub max_tokens: u32,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// The answer ends before any of these.
    pub stop: Vec<String>,
}

/// How much it takes to answer: the cheapest tier that can is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// A tiny model of this machine (135 million to 3 billion parameters).
    #[default]
    Operational,
    /// A model of 7 to 13 billion parameters of this machine.
    Tactical,
    /// A model somewhere else, for money; off until a person turns it on.
    Strategic,
}

impl Tier {
    /// All, cheapest first.
    pub const ALL: [Self; 3] = [Self::Operational, Self::Tactical, Self::Strategic];

    /// Its name, for people and on the wire of others.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Tactical => "tactical",
            Self::Strategic => "strategic",
        }
    }
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
    /// How far a change of models is.
    Progress {
        /// What is being done.
        text: String,
        /// How much of it, 0 to 100, where that is known.
        percent: Option<u8>,
    },
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
        /// How likely they are the ones that are meant, 0 to 1, as it was measured on questions of the evaluation.
        certainty: f32,
        /// Natural logarithm of their probability among those that the question allows; none where no model was asked.
        log_likelihood: Option<f32>,
        /// The tier that had the last word.
        tier: Tier,
        /// What it cost.
        usage: Usage,
    },
    /// To [`InferRequest::Complete`].
    Completion(Completion),
    /// To [`InferRequest::Embed`].
    Embeddings(Vec<Vec<f32>>),
    /// To [`InferRequest::Models`].
    Models(Vec<TierModel>),
    /// To [`InferRequest::Switch`].
    Switched(TierModel),
    /// To [`InferRequest::Learned`], [`InferRequest::Learn`] and [`InferRequest::Adapt`].
    Adapted(Adapted),
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
    /// Score of the first less score of the second.
    pub margin: f32,
    /// How likely it is the one that is meant, 0 to 1, as it was measured on questions of the evaluation.
    pub certainty: f32,
    /// The tier that had the last word.
    pub tier: Tier,
    /// What the certainty was made of, for whoever measures it.
    pub signals: Option<Signals>,
    /// What it cost.
    pub usage: Usage,
}

/// What the parts of a choice say of it, as natural logarithms of probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// Whether layer and adapter name the same tool.
    pub agree: bool,
    /// What the layer says of the tool.
    pub layer: f32,
    /// What the adapter says of it.
    pub adapter: f32,
    /// How far the sum of both is before that of the next tool; 0 where they agree.
    pub ahead: f32,
}

/// A text and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// Whether the most tokens that were allowed ended it, not the model.
    pub is_cut: bool,
    /// The model that wrote it.
    pub model: String,
    /// What it cost.
    pub usage: Usage,
}

/// What an answer cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of what was read.
    pub prompt_tokens: u32,
    /// Of these, tokens that were still known from a request before.
    pub reused_tokens: u32,
    /// Tokens written.
    pub generated_tokens: u32,
    /// Milliseconds from taking the request off the queue to its end.
    pub ms: u32,
    /// Price in millionths of the budget's currency; 0 where only models of this machine worked.
    pub price_micro: u64,
}

/// Engines, models and the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InferStatus {
    /// The tiers that write text and fill in arguments, cheapest first.
    pub tiers: Vec<TierStatus>,
    /// The engine that embeds sentences.
    pub embed: EngineHealth,
    /// Requests that wait.
    pub queued: u32,
}

/// A tier, and what it did since inferd was started or its model was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierStatus {
    /// Which one.
    pub tier: Tier,
    /// How its engine is.
    pub engine: EngineHealth,
    /// What it did.
    pub done: Account,
}

/// What a tier did since inferd was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    /// Requests that were answered.
    pub requests: u64,
    /// Requests that failed, in time or otherwise.
    pub failed: u64,
    /// Choices and arguments that this tier decided.
    pub decided: u64,
    /// Choices and arguments that were handed on to the next tier, because this one was not sure enough.
    pub handed_on: u64,
    /// Tokens of what was read.
    pub prompt_tokens: u64,
    /// Of these, tokens that were still known.
    pub reused_tokens: u64,
    /// Tokens written.
    pub generated_tokens: u64,
    /// Milliseconds of work.
    pub ms: u64,
    /// The longest of the last 256 answers but five in a hundred (95th percentile), in milliseconds.
    pub p95_ms: u32,
    /// Price in millionths of the budget's currency.
    pub price_micro: u64,
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

#[cfg(test)]
mod tests {
    use super::model_name_is_plain;

    #[test]
    fn a_models_name_is_a_files_name_and_nothing_more() {
        for good in ["tiny", "qwen2.5-0.5b-instruct-q4_k_m", "7b"] {
            assert!(model_name_is_plain(good), "{good}");
        }
        for bad in ["", ".hidden", "../x", "a/b", "Big", "a b", "ä", "-x", &"a".repeat(65)] {
            assert!(!model_name_is_plain(bad), "{bad}");
        }
    }
}
