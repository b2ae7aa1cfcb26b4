//! What every engine worker shares: the conversation with inferd, grammars, the choice of a token.
//!
//! A worker is an executable behind a byte stream ([`aios_abi::engine`]): standard input and output
//! when inferd starts it, a listening socket when it runs beside an emulator. It holds one
//! conversation at a time; a new `Hello` or a new connection makes an end of the one before, and
//! whatever that one had asked is dropped.
//!
//! An [`Engine`] works on several requests at once, a step at a time: between two steps, which is after
//! each token, requests come in and are cancelled.

#![forbid(unsafe_code)]

mod conversation;
mod grammar;
mod sample;
mod text;

use aios_abi::CallError;
use aios_abi::engine::{ModelInfo, Reading};
use clap::Parser;
use std::path::PathBuf;

pub use aios_abi::engine::{Cost, Work};
pub use conversation::run;
pub use grammar::{Constraint, Cut, Grammars, Tokens};
pub use sample::{Picked, Sampler};
pub use text::{Next, Pieces, Writer, log_probability};

/// The command line of every worker.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Options {
    /// The model: a GGUF file or a folder, as the engine needs it.
    #[arg(long)]
    pub model: PathBuf,
    /// An adapter for the model that makes calls of words: a GGUF file.
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// What a sentence encoder learned to read arguments with: a safetensors file.
    #[arg(long)]
    pub reader: Option<PathBuf>,
    /// Speak over standard input and output.
    #[arg(long, conflicts_with = "listen")]
    pub stdio: bool,
    /// Listen on this Unix socket and serve one connection after the other.
    #[arg(long)]
    pub listen: Option<PathBuf>,
    /// Threads that compute. Without it llama.cpp uses one for each core while they are free, and candle all cores but one.
    #[arg(long)]
    pub threads: Option<u32>,
    /// Tokens that all conversations may have together, for text models.
    #[arg(long, default_value_t = 4096)]
    pub context: u32,
    /// How exactly a text model remembers a conversation.
    #[arg(long, value_enum, default_value_t = Memory::F16)]
    pub memory: Memory,
}

/// Numbers in which keys and values of a conversation are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Memory {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
    /// 8 bits and a scale for each 32 numbers: half the memory of 16 bits.
    Q8,
}

/// The command line of this process; a wrong one ends it with a usage message.
pub fn options() -> Options {
    Options::parse()
}

impl Options {
    /// Threads that compute.
    pub fn threads(&self) -> u32 {
        self.threads
            .unwrap_or_else(|| {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                u32::try_from(cores.saturating_sub(1)).unwrap_or(1)
            })
            .max(1)
    }
}

/// What comes of a request. All but text is its end.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// The next piece of text, in whole characters.
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

/// Whether a request was taken in.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// It is worked on with the next step.
    Yes,
    /// There is no room beside those that are worked on; it comes again when one of them has ended.
    Later(Work),
}

/// A loaded model.
pub trait Engine {
    /// What is loaded.
    fn info(&self) -> ModelInfo;

    /// Take in a request.
    ///
    /// # Errors
    /// What the engine cannot do, and what can never have room.
    fn begin(&mut self, id: u64, work: Work) -> Result<Begun, CallError>;

    /// Forget a request.
    fn end(&mut self, id: u64);

    /// Work a little on all requests: a token of each answer, a piece of a prompt, some sentences.
    fn step(&mut self, tell: &mut dyn FnMut(u64, Told));
}

/// The end of a request that was cancelled.
pub fn cancelled() -> CallError {
    CallError::new(aios_abi::ErrorCode::Cancelled, "cancelled by the caller")
}
