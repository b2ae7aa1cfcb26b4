//! Commands of services: programs that a service file allows to be run beside its service.

use serde::{Deserialize, Serialize};

/// The most arguments that a caller may add to a command.
pub const MAX_ARGUMENTS: usize = 64;
/// The most bytes of all these arguments together.
pub const MAX_ARGUMENT_BYTES: usize = 32 * 1024;
/// The most bytes of output that a caller gets; what comes after them is counted and thrown away.
pub const MAX_OUTPUT: usize = 256 * 1024;

/// Run a command of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// Name of the service.
    pub service: String,
    /// Name of the command in its service file.
    pub command: String,
    /// Added to the command's own words, if it takes any: at most [`MAX_ARGUMENTS`] with [`MAX_ARGUMENT_BYTES`].
    pub arguments: Vec<String>,
    /// How it is run.
    pub how: RunHow,
}

/// How a command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunHow {
    /// The caller waits, and a command that may change something is refused.
    Look,
    /// The caller waits. When it cancels or goes, the command is killed.
    Wait,
    /// Answered at once; the output goes to the service's log.
    Background,
}

/// A command that a service file declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// Name of the service.
    pub service: String,
    /// Name of the command.
    pub command: String,
    /// What it does.
    pub description: String,
    /// Its program and words.
    pub exec: Vec<String>,
    /// Whether a caller may add words.
    pub arguments: bool,
    /// Whether it may change something; that it does not is its author's promise.
    pub changes: bool,
    /// Milliseconds after which it is killed.
    pub time_limit_ms: u64,
}

/// A command that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its number, with which it can be ended; counts since init began.
    pub number: u32,
    /// Name of the service.
    pub service: String,
    /// Name of the command.
    pub command: String,
    /// What its caller added.
    pub arguments: Vec<String>,
    /// Its main process, while that runs.
    pub pid: Option<u32>,
    /// Milliseconds since it began.
    pub running_ms: u64,
    /// Nobody waits for it.
    pub background: bool,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// How it ended.
    pub end: RunEnd,
    /// What it wrote to its standard output and error, in that order; invalid UTF-8 replaced.
    pub output: String,
    /// Bytes of output beyond [`MAX_OUTPUT`], which were thrown away.
    pub omitted_bytes: u64,
    /// Milliseconds from its start to its end.
    pub duration_ms: u64,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// Its main process exited with this status.
    Exited(i32),
    /// A signal killed it, such as `SIGSEGV`.
    Killed(String),
    /// It was killed because its time was over.
    TimedOut,
    /// The kernel killed it for want of memory.
    OutOfMemory,
    /// Somebody ended it.
    Ended,
}

impl RunEnd {
    /// Its exit status; none when it did not exit by itself.
    pub fn status(&self) -> Option<i32> {
        match self {
            Self::Exited(status) => Some(*status),
            Self::Killed(_) | Self::TimedOut | Self::OutOfMemory | Self::Ended => None,
        }
    }
}

/// In words that go on from the name of the command.
impl std::fmt::Display for RunEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => write!(f, "was killed by {signal}"),
            Self::TimedOut => f.write_str("was killed: its time was over"),
            Self::OutOfMemory => f.write_str("was killed: it needed more memory than its service has"),
            Self::Ended => f.write_str("was ended by somebody else"),
        }
    }
}
