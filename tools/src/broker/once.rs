//! A change that is asked for again under its key, because whoever asked did not hear the answer, is made once.
//!
//! The key is remembered in the transaction of the record that begins the change, and what came of it in that of the record
//! that ends it. So it holds over a power cut too: what was interrupted is not begun a second time.

use super::{Broker, Way};
use crate::audit::Once;
use aios_abi::audit::Hash;
use aios_abi::call::MAX_KEY;
use aios_abi::tool::{CallDone, ToolRequest};
use aios_abi::{CallError, ErrorCode};
use std::sync::Arc;

impl Way {
    /// What is remembered of it with a record of its own; the parts of several changes are not asked for by themselves.
    pub(super) fn once_for(
        &self,
        part_of: Option<u64>,
        answer: Option<&Result<CallDone, CallError>>,
    ) -> Option<Once> {
        let once = self.once.as_ref().filter(|_| part_of.is_none())?;
        Some(Once { answer: answer.cloned(), ..once.clone() })
    }
}

impl Broker {
    /// Do what is asked, or answer as the first time when it was asked for before under the same key. What was refused before
    /// it was begun, and what only looks, is not remembered: asking again does no harm.
    pub(super) async fn once(
        self: Arc<Self>,
        mut way: Way,
        request: ToolRequest,
    ) -> Result<CallDone, CallError> {
        let Some(key) = &way.meta.key else { return self.act(way, request).await };
        let key = key_of(&way, key)?;
        let _hold = self.holds.hold(format!("what was asked for under the key {}", key.1))?;
        let asked = fingerprint(&request)?;
        let (this, looked_for) = (self.clone(), key.0.clone());
        match super::blocking(move || this.audit.done(&looked_for)).await? {
            None => {}
            Some(done) if done.asked != asked => {
                let text = format!(
                    "the key {} was used for something else, which record {} began; take a new key for a new request",
                    key.1, done.audit
                );
                return Err(CallError::new(ErrorCode::Conflict, text));
            }
            Some(done) => return again(done.answer, done.audit),
        }
        way.once = Some(Once { key: key.0, asked, answer: None });
        self.act(way, request).await
    }

    async fn act(self: Arc<Self>, way: Way, request: ToolRequest) -> Result<CallDone, CallError> {
        match request {
            ToolRequest::Call { tool, args, dry_run } => self.call(way, tool, args, dry_run).await,
            ToolRequest::Together { steps } => self.together(way, steps).await,
            ToolRequest::Undo { audit } => self.take_back(way, audit).await,
            ToolRequest::List | ToolRequest::Audit { .. } | ToolRequest::AuditVerify => {
                Err(CallError::invalid("this request is no call"))
            }
        }
    }
}

/// The answer of the first time.
fn again(answer: Option<Result<CallDone, CallError>>, audit: u64) -> Result<CallDone, CallError> {
    match answer {
        Some(Ok(done)) => Ok(CallDone { repeated: true, ..done }),
        Some(Err(error)) => {
            let text = format!("{error}; it was not tried again, because the key is that of record {audit}");
            Err(CallError::new(error.code, text))
        }
        None => Err(CallError::new(
            ErrorCode::Conflict,
            format!(
                "what record {audit} began under this key was interrupted and is not begun again; look at what is there, \
                 take it back (aiosctl undo {audit}) or ask under a new key"
            ),
        )),
    }
}

/// The key among those of everybody, and as it was given.
fn key_of(way: &Way, key: &str) -> Result<(String, String), CallError> {
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!("a key is 1 to {MAX_KEY} visible ASCII characters, such as a UUID");
        return Err(CallError::invalid(text));
    }
    let person = way.caller.person.as_ref().map_or("", |person| &person.name);
    Ok((format!("{}\n{person}\n{key}", way.caller.by), key.to_owned()))
}

fn fingerprint(request: &ToolRequest) -> Result<Hash, CallError> {
    let bytes = postcard::to_stdvec(request).map_err(|e| CallError::invalid(format!("the request: {e}")))?;
    Ok(Hash(*blake3::hash(&bytes).as_bytes()))
}
