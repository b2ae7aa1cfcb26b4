//! What toold serves: typed tools, undo and the audit chain.
//!
//! Arguments and results are JSON texts inside the postcard frame: every caller (a person's browser,
//! `aiosctl`, MCP, a model under a grammar) holds JSON anyway, and toold decodes it once into the
//! tool's own type, with unknown fields refused.

use crate::{audit, call::Protocol, who::Role};
use serde::{Deserialize, Serialize};

/// The protocol of `/run/aios/toold.sock`.
pub struct Tools;

impl Protocol for Tools {
    type Request = ToolRequest;
    type Event = Progress;
    type Reply = ToolReply;
    const SOCKET: &'static str = crate::paths::TOOLD_SOCKET;
    const SERVER: &'static str = "toold";
}

/// A request to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolRequest {
    /// All tools, by number.
    List,
    /// Call a tool.
    Call {
        /// The tool's wire number.
        tool: u16,
        /// Its arguments, a JSON object.
        args: String,
        /// Only say what would change.
        dry_run: bool,
    },
    /// Take back the change that this audit record began.
    Undo {
        /// Sequence number of the record, as in [`CallDone::audit`].
        audit: u64,
    },
    /// Records of the audit chain, oldest first.
    Audit {
        /// First sequence number.
        from: u64,
        /// At most this many.
        limit: u32,
    },
    /// Read the whole chain and prove it; the answer is a signed head.
    AuditVerify,
    /// Make several changes as one: all of them, or none. What was made is taken back when one fails, also when the machine
    /// stopped in between. The answer's record takes them all back.
    Together {
        /// In this order.
        steps: Vec<Step>,
    },
}

/// One of several changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The tool's wire number.
    pub tool: u16,
    /// Its arguments, a JSON object.
    pub args: String,
}

/// The broker's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToolReply {
    /// To [`ToolRequest::List`].
    List(Vec<ToolInfo>),
    /// To [`ToolRequest::Call`] and [`ToolRequest::Undo`].
    Done(CallDone),
    /// To [`ToolRequest::Audit`].
    Audit {
        /// The records.
        records: Vec<audit::Record>,
        /// The newest record and its signature.
        head: audit::Head,
    },
    /// To [`ToolRequest::AuditVerify`].
    Verified(audit::Head),
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallDone {
    /// The result, a JSON value of the tool's result type.
    pub result: String,
    /// The result in a few words, for people.
    pub summary: String,
    /// Sequence number of this call's audit record.
    pub audit: u64,
    /// Whether [`ToolRequest::Undo`] can take it back.
    pub undoable: bool,
    /// This was done before, under the same key, and not again.
    pub repeated: bool,
}

/// Progress of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub text: String,
    /// How much of it, 0 to 100, when that is known.
    pub percent: Option<u8>,
}

/// What a tool does to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Looks only.
    Read,
    /// Changes something and can take it back.
    Reversible,
    /// Changes something for good.
    Irreversible,
}

/// A tool's declaration, as every interface needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolInfo {
    /// Wire number; never reused.
    pub number: u16,
    /// `family.verb`
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// What it does to the machine.
    pub effect: Effect,
    /// What it may touch, in words: `files under the path given`, `processes`.
    pub touches: Vec<String>,
    /// It speaks with other machines.
    pub outside: bool,
    /// The least role that may call it.
    pub role: Role,
    /// Milliseconds after which a call is stopped.
    pub timeout_ms: u32,
    /// JSON Schema (2020-12) of the arguments.
    pub args_schema: String,
    /// JSON Schema (2020-12) of the result.
    pub result_schema: String,
    /// How people ask for it.
    pub examples: Vec<Example>,
}

/// A way in which people ask for a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The sentence.
    pub ask: String,
    /// The arguments that it means, a JSON object.
    pub args: String,
}

/// One thing that the image was built from; the manifest is a JSON list of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Package or program name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is: `program`, `kernel`, `model`, `modules`.
    pub kind: String,
    /// Licence as an SPDX expression.
    pub licence: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal; of the sorted list of hashes for a directory.
    pub sha256: String,
}
