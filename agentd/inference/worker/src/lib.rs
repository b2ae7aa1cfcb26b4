//! What every engine worker shares: the conversation with inferd.
//!
//! A worker is an executable behind a byte stream ([`aios_abi::engine`]): standard input and output
//! when inferd starts it, a listening socket when it runs beside an emulator. It holds one
//! conversation at a time; a new `Hello` or a new connection makes an end of the one before, and
//! whatever that one had asked is dropped.

#![forbid(unsafe_code)]

mod conversation;

use aios_abi::CallError;
use aios_abi::engine::{Generate, Message, ModelInfo};
use clap::Parser;
use std::path::PathBuf;

pub use conversation::run;

/// The command line of every worker.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Options {
    /// The model: a GGUF file or a folder, as the engine needs it.
    #[arg(long)]
    pub model: PathBuf,
    /// Speak over standard input and output.
    #[arg(long, conflicts_with = "listen")]
    pub stdio: bool,
    /// Listen on this Unix socket and serve one connection after the other.
    #[arg(long)]
    pub listen: Option<PathBuf>,
    /// Threads that compute. Without it: all cores but one, and one of two (spinning threads that
    /// outnumber the free cores make generation many times slower).
    #[arg(long)]
    pub threads: Option<u32>,
    /// Longest conversation in tokens, for text models.
    #[arg(long, default_value_t = 4096)]
    pub context: u32,
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

/// What a generation cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Of these, tokens that were still known from the request before.
    pub reused: u32,
    /// Tokens written.
    pub generated: u32,
}

/// A loaded model. What an engine cannot do it refuses.
pub trait Engine {
    /// What is loaded.
    fn info(&self) -> ModelInfo;

    /// Write a text: hand each piece to `on_text`, and stop soon after `cancelled` says so.
    fn generate(
        &mut self,
        _request: &Generate,
        _on_text: &mut dyn FnMut(&str),
        _cancelled: &dyn Fn() -> bool,
    ) -> Result<Cost, CallError> {
        Err(CallError::invalid("this engine writes no text"))
    }

    /// Natural logarithm of each continuation's probability after the messages.
    fn score(&mut self, _messages: &[Message], _continuations: &[String]) -> Result<Vec<f32>, CallError> {
        Err(CallError::invalid("this engine scores no text"))
    }

    /// One unit vector for each sentence.
    fn embed(&mut self, _texts: &[String]) -> Result<Vec<Vec<f32>>, CallError> {
        Err(CallError::invalid("this engine embeds no sentences"))
    }
}

/// The end of a request that was cancelled.
pub fn cancelled() -> CallError {
    CallError::new(aios_abi::ErrorCode::Cancelled, "cancelled by the caller")
}
