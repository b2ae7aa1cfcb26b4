//! Between inferd and an engine worker: frames over a byte stream.
//!
//! The stream is a socket pair to a child, or a virtio port to a worker beside the emulator. A virtio
//! port has no connections: when inferd dies in the middle of a frame, its successor finds the rest.
//! So frames are COBS-encoded and end with a zero byte (Cheshire and Baker, 1999), which lets either
//! side find the next frame, and a conversation starts with a nonce that the worker repeats:
//! everything before that answer belongs to somebody else.

use crate::error::{CallError, ErrorCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::VecDeque;
use std::io::Read;

/// The longest frame in bytes, encoded.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// What inferd asks of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EngineRequest {
    /// Forget all other requests; answer with [`EngineEvent::Hello`] and tell changes of state from now on.
    Hello {
        /// Chosen at random by inferd.
        nonce: u64,
        /// [`frame::VERSION`](crate::frame::VERSION) of inferd.
        version: u8,
    },
    /// Write a text.
    Generate(Generate),
    /// Embed sentences.
    Embed {
        /// Chosen by inferd, unique in this conversation.
        id: u64,
        /// The sentences.
        texts: Vec<String>,
        /// With the adapter that tells tools apart; without it when there is none.
        adapted: bool,
    },
    /// How likely each continuation is after a prompt.
    Score {
        /// Chosen by inferd.
        id: u64,
        /// The messages before.
        messages: Vec<Message>,
        /// The continuations.
        continuations: Vec<String>,
        /// With the adapter that makes calls of words; without it when there is none.
        adapted: bool,
    },
    /// Stop working on this request; it is answered with [`EngineEvent::Error`].
    Cancel {
        /// Id of the request.
        id: u64,
    },
    /// Point at what a question says for each blank of a form.
    Read {
        /// Chosen by inferd.
        id: u64,
        /// The form.
        form: Form,
        /// The question.
        question: String,
    },
}

/// What an engine is to do: a request without its id.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Write a text.
    Generate(Generate),
    /// Embed sentences: one unit vector for each.
    Embed {
        /// The sentences.
        texts: Vec<String>,
        /// With the adapter that tells tools apart.
        adapted: bool,
    },
    /// Natural logarithm of each continuation's probability after the messages.
    Score {
        /// The messages before.
        messages: Vec<Message>,
        /// The continuations.
        continuations: Vec<String>,
        /// With the adapter that makes calls of words.
        adapted: bool,
    },
    /// Point at what a question says for each blank of a form.
    Read {
        /// The form.
        form: Form,
        /// The question.
        question: String,
    },
}

impl Work {
    /// The request with this id.
    pub fn into_request(self, id: u64) -> EngineRequest {
        match self {
            Self::Generate(generate) => EngineRequest::Generate(Generate { id, ..generate }),
            Self::Embed { texts, adapted } => EngineRequest::Embed { id, texts, adapted },
            Self::Score { messages, continuations, adapted } => {
                EngineRequest::Score { id, messages, continuations, adapted }
            }
            Self::Read { form, question } => EngineRequest::Read { id, form, question },
        }
    }

    /// Id and work of a request.
    ///
    /// # Errors
    /// A request that asks for no work.
    pub fn of(request: EngineRequest) -> Result<(u64, Self), Control> {
        match request {
            EngineRequest::Generate(generate) => Ok((generate.id, Self::Generate(generate))),
            EngineRequest::Embed { id, texts, adapted } => Ok((id, Self::Embed { texts, adapted })),
            EngineRequest::Score { id, messages, continuations, adapted } => {
                Ok((id, Self::Score { messages, continuations, adapted }))
            }
            EngineRequest::Read { id, form, question } => Ok((id, Self::Read { form, question })),
            EngineRequest::Hello { nonce, .. } => Err(Control::Hello { nonce }),
            EngineRequest::Cancel { id } => Err(Control::Cancel { id }),
        }
    }
}

/// A request that asks for no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// [`EngineRequest::Hello`].
    Hello {
        /// Its nonce.
        nonce: u64,
    },
    /// [`EngineRequest::Cancel`].
    Cancel {
        /// Id of the request that is not wanted any more.
        id: u64,
    },
}

/// A text to write.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Generate {
    /// Chosen by inferd, unique in this conversation.
    pub id: u64,
    /// The conversation; the worker applies the model's own chat template. Without one the text is
    /// [`prefix`](Self::prefix) as it is, and what follows it.
    pub messages: Vec<Message>,
    /// The answer must begin with this, which costs no generation.
    pub prefix: String,
    /// What the answer (without the prefix) must follow.
    pub grammar: Option<Grammar>,
    /// With the adapter that makes calls of words; without it when there is none.
    pub adapted: bool,
    /// At most this many tokens.
    pub max_tokens: u32,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// The answer ends before any of these; none of them is empty.
    pub stop: Vec<String>,
}

/// How a token is chosen of those that may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sampling {
    /// In thousandths; 0 takes the most likely token.
    pub temperature_milli: u32,
    /// Part of the probability that is drawn from, in thousandths (Holtzman et al., "The Curious Case of Neural Text
    /// Degeneration", 2020); 0 leaves it to the worker.
    pub top_p_milli: u32,
    /// Seed of the draw.
    pub seed: u32,
}

/// What a text must follow, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grammar {
    /// Rules in the notation of Lark, as llguidance reads them (`docs/syntax.md` there); the first is `start`.
    Lark(String),
    /// A JSON Schema.
    Schema(String),
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The words.
    pub content: String,
}

/// What a worker tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EngineEvent {
    /// To [`EngineRequest::Hello`].
    Hello {
        /// The nonce of the request.
        nonce: u64,
        /// [`frame::VERSION`](crate::frame::VERSION) of the worker.
        version: u8,
        /// Name and version of the engine.
        engine: String,
        /// How it is.
        state: WorkerState,
    },
    /// The state changed.
    State(WorkerState),
    /// The next piece of text.
    Text {
        /// Id of the request.
        id: u64,
        /// Whole characters only.
        text: String,
    },
    /// A text is complete.
    Done {
        /// Id of the request.
        id: u64,
        /// What it cost, and how sure the model was.
        cost: Cost,
    },
    /// To [`EngineRequest::Embed`].
    Embeddings {
        /// Id of the request.
        id: u64,
        /// Unit vectors, one for each sentence.
        vectors: Vec<Vec<f32>>,
    },
    /// To [`EngineRequest::Score`].
    Scores {
        /// Id of the request.
        id: u64,
        /// Natural logarithm of each continuation's probability.
        log_likelihoods: Vec<f32>,
    },
    /// To [`EngineRequest::Read`].
    Reading {
        /// Id of the request.
        id: u64,
        /// What was pointed at.
        reading: Reading,
    },
    /// A request failed.
    Error {
        /// Id of the request.
        id: u64,
        /// Why.
        error: CallError,
    },
}

/// The arguments of a tool, to be filled in from a question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Form {
    /// The tool's name.
    pub tool: String,
    /// One for each argument.
    pub blanks: Vec<Blank>,
}

/// One argument of a form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Blank {
    /// Its name.
    pub name: String,
    /// Words that it may be without the question saying them.
    pub options: Vec<String>,
    /// Whether words of the question may stand in it.
    pub open: bool,
}

/// What a question says for each blank of a form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// The pieces of the question that can be pointed at: begin and end in bytes.
    pub tokens: Vec<(u32, u32)>,
    /// What is pointed at, for each blank of the form in its order.
    pub blanks: Vec<Pointed>,
}

/// How likely it is that a value begins and ends somewhere. Both lists speak first of "nothing is said", then of
/// each option, then, for an open blank, of each token; natural logarithms of probabilities.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Pointed {
    /// The form's options, and those that the reader knows.
    pub options: Vec<String>,
    /// Where it begins.
    pub starts: Vec<f32>,
    /// Where it ends.
    pub ends: Vec<f32>,
}

/// What a text cost, and how sure the model was of it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Of these, tokens that were still known from a request before.
    pub reused: u32,
    /// Tokens written.
    pub generated: u32,
    /// Of these, tokens that only one way was open for: the grammar forced them, no model was asked.
    pub forced: u32,
    /// Whether the most tokens that were allowed ended it, not the model.
    pub is_cut: bool,
    /// Natural logarithm of the probability of the tokens that were chosen, among those that the grammar allowed;
    /// none without a grammar and where the model does not tell.
    pub log_likelihood: Option<f32>,
    /// Price in millionths of the budget's currency; 0 for a model of our own.
    pub price_micro: u64,
}

/// How a worker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// It loads the model.
    Loading {
        /// How much, 0 to 100.
        percent: u8,
    },
    /// It takes requests.
    Ready(ModelInfo),
    /// It cannot load the model: one sentence with file, place and cure.
    Failed(String),
    /// Nobody set a model up: one sentence that says how it is done. It comes when somebody does.
    Off(String),
}

/// The loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name, from its own metadata or else from its file.
    pub name: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Longest conversation in tokens.
    pub context: u32,
    /// Length of its vectors, for an embedding model.
    pub dimensions: u32,
    /// Threads that compute.
    pub threads: u32,
    /// Requests that it works on at once.
    pub slots: u32,
    /// The adapter that makes calls of words, if it has one.
    pub adapter: Option<Adapter>,
    /// The tools whose arguments it can [read](Work::Read) in questions.
    pub reads: Vec<String>,
    /// What it may cost, for a model that somebody is paid for.
    pub budget: Option<Budget>,
    /// What graphics processors compute of it, where the worker can use them and there are some.
    pub offload: Option<Offload>,
}

/// What graphics processors compute of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offload {
    /// Their names, separated by commas.
    pub device: String,
    /// Layers that they compute, the last matrix counted as one.
    pub layers: u32,
    /// Layers that there are, the last matrix counted as one.
    pub of: u32,
    /// Why they compute none.
    pub why: Option<String>,
}

/// What a person allows to be spent for a model, and what was spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The currency's name, for people.
    pub currency: String,
    /// At most so much in a month of the calendar (UTC), in millionths.
    pub per_month_micro: u64,
    /// So much was spent in this one, in millionths.
    pub spent_micro: u64,
}

/// What a model learned beside its own weights: to name a tool, and to write its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    /// Its name, from its own metadata or else from its file.
    pub name: String,
    /// The tools that it knows.
    pub tools: Vec<String>,
}

/// What trainer and inferd must agree on.
impl Adapter {
    /// The name that stands for no tool.
    pub const NONE: &str = "none";

    /// What the model reads before it names a tool, and goes on with to write its arguments.
    pub fn prompt(question: &str) -> Vec<Message> {
        vec![Message { role: "user".into(), content: question.to_owned() }]
    }

    /// A tool's name as the model writes it.
    pub fn line(tool: &str) -> String {
        format!("{tool}\n")
    }
}

/// Encode one frame, with its zero byte at the end.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CallError> {
    let frame = postcard::to_stdvec_cobs(value)
        .map_err(|e| CallError::invalid(format!("the engine frame cannot be encoded: {e}")))?;
    if frame.len() > MAX_FRAME {
        return Err(CallError::invalid(format!(
            "the engine frame has {} bytes, at most {MAX_FRAME} are allowed; ask for less at once",
            frame.len()
        )));
    }
    Ok(frame)
}

/// Finds frames in a byte stream. It holds at most [`MAX_FRAME`] bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    skipping: bool,
}

impl Decoder {
    /// Take in bytes and give each whole frame, or what was wrong with it, to `on_frame`.
    ///
    /// After a bad frame the stream goes on with the next one.
    pub fn feed<T: DeserializeOwned>(
        &mut self,
        mut bytes: &[u8],
        mut on_frame: impl FnMut(Result<T, CallError>),
    ) {
        while let Some(end) = bytes.iter().position(|&b| b == 0) {
            let (part, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if std::mem::take(&mut self.skipping) {
                self.buffer.clear();
                continue;
            }
            self.buffer.extend_from_slice(part);
            if self.buffer.len() > 1 {
                on_frame(
                    postcard::from_bytes_cobs(&mut self.buffer).map_err(|e| {
                        CallError::invalid(format!("an engine frame is not a valid message: {e}"))
                    }),
                );
            }
            self.buffer.clear();
        }
        if self.skipping {
            return;
        }
        if self.buffer.len() + bytes.len() > MAX_FRAME {
            self.buffer.clear();
            self.skipping = true;
            on_frame(Err(CallError::new(
                ErrorCode::Invalid,
                format!("an engine frame is longer than {MAX_FRAME} bytes"),
            )));
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }
}

/// The frames of a blocking stream, one after the other: each whole one, or what was wrong with it. A stream that
/// fails has ended.
#[derive(Debug)]
pub struct Frames<R, T> {
    stream: R,
    decoder: Decoder,
    ready: VecDeque<Result<T, CallError>>,
}

impl<R: Read, T: DeserializeOwned> Frames<R, T> {
    /// Read from the stream as far as it is asked for.
    pub fn new(stream: R) -> Self {
        Self { stream, decoder: Decoder::default(), ready: VecDeque::new() }
    }
}

impl<R: Read, T: DeserializeOwned> Iterator for Frames<R, T> {
    type Item = Result<T, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut buffer = [0; 65536];
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let length = match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            let ready = &mut self.ready;
            self.decoder.feed(buffer.get(..length).unwrap_or_default(), |frame| ready.push_back(frame));
        }
    }
}
