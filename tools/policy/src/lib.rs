//! What may be done on this machine: by whom, with which tool, to what, when, how often.
//!
//! Pure: it is asked, it answers, it touches nothing. Two things decide together. The rules are written in Cedar: those of
//! every appliance (`appliance.cedar`) and a person's own; deny is the default, a forbid always wins, and a rule that names a
//! tool, a kind of target or an attribute that does not exist is refused when it is set. The numbers that rules speak of
//! (autonomy and its exceptions, limits, what is protected) are a [`Document`] in TOML.

#![forbid(unsafe_code)]

mod check;
mod document;
mod engine;

#[cfg(test)]
mod tests;

pub use check::Author;
pub use document::{Autonomy, Document, Exception, Limit, Limits};
pub use engine::{Decision, Engine, Reason, Verdict};

use aios_abi::tool::Effect;
use aios_abi::who::Role;
use std::path::PathBuf;

/// The tools that exist, as far as rules speak of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// `family.verb`
    pub name: &'static str,
    /// The least role that may call it, unless a person's own rule allows it to a lesser one.
    pub least: Role,
    /// What it does to the machine.
    pub effect: Effect,
}

/// Name of the action that takes back a change; it stands beside the tools.
pub const UNDO: &str = "undo";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The process: `root`, `agentd`, `console`.
    pub by: String,
    /// The person on whose behalf it asks.
    pub person: Option<String>,
    /// What they may do.
    pub role: Role,
    /// It is the agent, and nobody has told it to.
    pub alone: bool,
}

/// To what it is done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Object {
    /// It is not known yet, or the tool has no target.
    Any,
    /// A file, by its real path.
    File {
        /// The path.
        path: PathBuf,
        /// In which part of the file system it lies.
        area: Area,
        /// Not everybody may read it.
        private: bool,
    },
    /// A process.
    Process {
        /// Its id.
        pid: u32,
        /// It is a thread of the kernel.
        kernel: bool,
        /// It is the broker.
        broker: bool,
        /// It would be halted until somebody lets it go on.
        halt: bool,
    },
    /// Something that has a name.
    Named(Kind, String),
}

/// Kinds of things that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each says what it is")]
pub enum Kind {
    Service,
    Package,
    Account,
    Network,
    Firewall,
    Schedule,
    Database,
    Container,
    Machine,
    Policy,
    Backup,
    Model,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Service,
        Self::Package,
        Self::Account,
        Self::Network,
        Self::Firewall,
        Self::Schedule,
        Self::Database,
        Self::Container,
        Self::Machine,
        Self::Policy,
        Self::Backup,
        Self::Model,
    ];

    /// Its name in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Package => "Package",
            Self::Account => "Account",
            Self::Network => "Network",
            Self::Firewall => "Firewall",
            Self::Schedule => "Schedule",
            Self::Database => "Database",
            Self::Container => "Container",
            Self::Machine => "Machine",
            Self::Policy => "Policy",
            Self::Backup => "Backup",
            Self::Model => "Model",
        }
    }
}

/// Parts of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// Files may be written here.
    Open,
    /// Decides what runs here and how.
    Guarded,
    /// Belongs to a daemon: to be read, not written.
    Kept,
    /// Keys, passwords, the audit chain: neither.
    Secret,
    /// The image and the kernel's own: to be read.
    Fixed,
}

impl Area {
    /// Its name in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Guarded => "guarded",
            Self::Kept => "kept",
            Self::Secret => "secret",
            Self::Fixed => "fixed",
        }
    }
}

impl std::fmt::Display for Object {
    /// As people name it, and as the patterns of a [`Document`] do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Process { pid, .. } => write!(f, "process {pid}"),
            Self::Named(kind, name) => write!(f, "{} {name}", kind.as_str().to_lowercase()),
        }
    }
}

/// The circumstances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Situation {
    /// A reason was given.
    pub reason: bool,
    /// Nothing will be changed.
    pub dry_run: bool,
    /// A person has approved this very call.
    pub approved: bool,
    /// Now.
    pub moment: Moment,
    /// What the caller changed in the last minute.
    pub done: Count,
}

/// What was changed in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Count {
    /// Changes.
    pub changes: u32,
    /// Different targets; the one of the call at hand does not count if it was among them.
    pub targets: u32,
    /// Bytes that were written or replaced, with those of the call at hand.
    pub bytes: u64,
}

/// A minute of the week, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Moment {
    /// 0 for Monday to 6 for Sunday.
    pub day: u8,
    /// Of the day, 0 to 1439.
    pub minute: u16,
}

impl Moment {
    /// Minutes of a day.
    pub const DAY: u16 = 24 * 60;

    /// The minute in which this second since 1970 lies.
    pub fn at(unix_seconds: u64) -> Self {
        let minutes = unix_seconds / 60;
        let day = minutes / u64::from(Self::DAY);
        // 1970 began on a Thursday.
        let (day, minute) = ((day + 3) % 7, minutes % u64::from(Self::DAY));
        Self { day: u8::try_from(day).unwrap_or(0), minute: u16::try_from(minute).unwrap_or(0) }
    }
}

/// Whether this may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// By whom.
    pub subject: &'a Subject,
    /// The tool's name, or [`UNDO`].
    pub action: &'a str,
    /// To what.
    pub object: &'a Object,
    /// Under which circumstances.
    pub situation: &'a Situation,
}
