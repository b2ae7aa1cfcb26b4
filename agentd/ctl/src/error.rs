//! What went wrong: an exit status for programs, one sentence with its cure for people.

use std::fmt;

/// The exit status. The numbers are part of the interface and are documented in `aiosctl --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The work was tried and failed, or a proof did not hold.
    Failed = 1,
    /// The command line or an argument is not right.
    Usage = 2,
    /// Nobody is logged in, or the policy refused.
    Denied = 3,
    /// The machine, or the daemon that is needed, does not answer or is busy.
    Unavailable = 4,
    /// What was named does not exist.
    NotFound = 5,
}

/// A failure of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For programs.
    pub exit: Exit,
    /// The API's own word for it, when the machine answered.
    pub code: &'static str,
    /// For people; empty when they were told already.
    pub message: String,
}

/// What a command comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into() }
    }

    /// [`Exit::Failed`]
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "failed", message)
    }

    /// [`Exit::Failed`], after the person was told why in another way.
    pub(crate) fn told() -> Self {
        Self::failed("")
    }

    /// [`Exit::Usage`]
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "invalid", message)
    }

    /// [`Exit::Denied`]
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(Exit::Denied, "denied", message)
    }

    /// [`Exit::Unavailable`]
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, "unavailable", message)
    }

    /// [`Exit::NotFound`]
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, "not_found", message)
    }

    /// The audit log, or the machine's certificate, is not what it was.
    pub(crate) fn not_proved(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "not_proved", message)
    }

    /// What the API answered. Its codes are those of `aios_abi::ErrorCode` and `unauthenticated`.
    pub(crate) fn api(code: &str, message: impl Into<String>) -> Self {
        let (exit, code) = match code {
            "invalid" => (Exit::Usage, "invalid"),
            "unauthenticated" => (Exit::Denied, "unauthenticated"),
            "denied" => (Exit::Denied, "denied"),
            "password_due" => (Exit::Denied, "password_due"),
            "not_found" => (Exit::NotFound, "not_found"),
            "timeout" => (Exit::Unavailable, "timeout"),
            "unavailable" => (Exit::Unavailable, "unavailable"),
            "busy" => (Exit::Unavailable, "busy"),
            "conflict" => (Exit::Failed, "conflict"),
            "cancelled" => (Exit::Failed, "cancelled"),
            _ => (Exit::Failed, "failed"),
        };
        Self::new(exit, code, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Files and terminals.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_api_has_its_exit_status() {
        let exit = |code| Failure::api(code, "m").exit as u8;
        assert_eq!(["failed", "what?", "conflict", "cancelled"].map(exit), [1; 4]);
        assert_eq!(["invalid"].map(exit), [2]);
        assert_eq!(["denied", "unauthenticated", "password_due"].map(exit), [3, 3, 3]);
        assert_eq!(["unavailable", "timeout", "busy"].map(exit), [4, 4, 4]);
        assert_eq!(["not_found"].map(exit), [5]);
    }
}
