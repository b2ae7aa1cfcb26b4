//! The Model Context Protocol (MCP), versions 2025-06-18 to 2026-07-28: every tool of toold as an assistant sees it.
//!
//! Nothing about a tool is written down here: names, schemas and hints come from the declarations that toold sends. What
//! accompanies a call (the reason, a dry run) is an argument beside the tool's own, because a model can fill in arguments
//! and nothing else; `_meta` belongs to its program. For the same reason taking back and the audit log are tools.
//!
//! | module | what it is |
//! |---|---|
//! | [`shown`] | a declaration as an MCP tool |
//! | [`own`] | the two tools that no declaration has: `undo` and `audit` |
//! | [`server`] | requests of the protocol, answered |
//! | [`web`] | streamable HTTP: sessions, their owners and bounds |
//! | [`local`] | one message a line over a local socket |

#![forbid(unsafe_code)]

pub mod local;
pub mod own;
pub mod server;
pub mod shown;
pub mod web;

use aios_abi::CallError;
use aios_abi::client::Call;
use aios_abi::tool::{CallDone, ToolInfo, Tools};
use aios_abi::who::Person;
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;

/// The program that serves MCP, as far as this library knows it. It names the person towards toold.
pub trait House: Send + Sync + 'static {
    /// All tools, by number.
    fn tools(&self, person: &Person) -> impl Future<Output = Result<Arc<Vec<ToolInfo>>, CallError>> + Send;

    /// Begin a call of a tool.
    fn call(
        &self,
        person: &Person,
        order: Order,
    ) -> impl Future<Output = Result<Call<Tools>, CallError>> + Send;

    /// Begin to take back a change.
    fn undo(
        &self,
        person: &Person,
        audit: u64,
        why: String,
    ) -> impl Future<Output = Result<Call<Tools>, CallError>> + Send;

    /// Records of the audit chain as they are read; without `from` the newest.
    fn audit(
        &self,
        person: &Person,
        from: Option<u64>,
        limit: u32,
    ) -> impl Future<Output = Result<Value, CallError>> + Send;

    /// What a call came to, as [`aios_abi::schema::answer`] has it.
    fn done(&self, done: &CallDone) -> Value;

    /// Version of the image.
    fn version(&self) -> &str;
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The tool's name.
    pub tool: String,
    /// Its arguments, a JSON object.
    pub args: String,
    /// The reason.
    pub why: String,
    /// Only say what would change.
    pub dry_run: bool,
    /// What the client calls the request.
    pub key: Option<String>,
    /// The reason is what a person asked for in words.
    pub asked: bool,
}
