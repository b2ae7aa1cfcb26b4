//! The one error that crosses a socket.

use serde::{Deserialize, Serialize};

/// What kind of failure it was; clients decide by it, people read the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request does not fit its type or its limits.
    Invalid,
    /// The thing that the request names does not exist.
    NotFound,
    /// The policy or the kernel refused.
    Denied,
    /// The deadline passed before the work was done.
    Timeout,
    /// The caller took the request back.
    Cancelled,
    /// A service that this request needs is not there at present; trying again may help.
    Unavailable,
    /// Something else is being done to the same target.
    Conflict,
    /// Too many requests, or a queue is full.
    Busy,
    /// The work was tried and failed.
    Failed,
}

impl ErrorCode {
    /// The code as it appears in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

/// An error as a peer reports it: a code for programs and one sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What kind of failure it was.
    pub code: ErrorCode,
    /// One sentence: what is wrong, where, and what to do about it.
    pub message: String,
}

impl CallError {
    /// An error of the given kind.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// [`ErrorCode::Invalid`]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// [`ErrorCode::NotFound`]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// [`ErrorCode::Denied`]
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Denied, message)
    }

    /// [`ErrorCode::Unavailable`]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// [`ErrorCode::Failed`]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Failed, message)
    }
}

/// Kernel errors keep their meaning: `ENOENT` is "not found", `EACCES` and `EPERM` are "denied".
impl From<std::io::Error> for CallError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let code = match error.kind() {
            K::NotFound => ErrorCode::NotFound,
            K::PermissionDenied => ErrorCode::Denied,
            K::TimedOut => ErrorCode::Timeout,
            K::InvalidInput | K::InvalidData => ErrorCode::Invalid,
            K::AlreadyExists => ErrorCode::Conflict,
            K::ConnectionRefused | K::ConnectionReset | K::BrokenPipe | K::UnexpectedEof => {
                ErrorCode::Unavailable
            }
            _ => ErrorCode::Failed,
        };
        Self::new(code, error.to_string())
    }
}
