//! Between inferd and an engine worker: frames over a byte stream.
//!
//! The stream is a socket pair to a child, or a virtio port to a worker beside the emulator. A virtio
//! port has no connections: when inferd dies in the middle of a frame, its successor finds the rest.
//! So frames are COBS-encoded and end with a zero byte (Cheshire and Baker, 1999), which lets either
//! side find the next frame, and a conversation starts with a nonce that the worker repeats:
//! everything before that answer belongs to somebody else.

use crate::error::{CallError, ErrorCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

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
}

/// A text to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// Chosen by inferd, unique in this conversation.
    pub id: u64,
    /// The conversation; the worker applies the model's own chat template.
    pub messages: Vec<Message>,
    /// The answer must begin with this, which costs no generation.
    pub prefix: String,
    /// What the answer (without the prefix) must follow.
    pub grammar: Option<Grammar>,
    /// With the adapter that makes calls of words; without it when there is none.
    pub adapted: bool,
    /// At most this many tokens.
    pub max_tokens: u32,
    /// In thousandths; 0 takes the most likely token.
    pub temperature_milli: u32,
    /// Seed of the sampler when the temperature is not 0.
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
        /// Tokens read.
        prompt_tokens: u32,
        /// Tokens of the prompt that were still known from the request before.
        reused_tokens: u32,
        /// Tokens written.
        generated_tokens: u32,
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
    /// A request failed.
    Error {
        /// Id of the request.
        id: u64,
        /// Why.
        error: CallError,
    },
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
}

/// What a model learned beside its own weights: to name a tool, and to write its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    /// Its name, from its own metadata or else from its file.
    pub name: String,
    /// The tools that it knows.
    pub tools: Vec<String>,
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
