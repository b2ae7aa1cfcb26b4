//! Taking changes back.

use super::{Broker, Way, blocking, outcome};
use crate::audit::Need;
use crate::policy::Target;
use crate::tool;
use crate::undo::{Part, Saved};
use crate::worker::hire::Workshop;
use aios_abi::audit::{CallRecord, Entry};
use aios_abi::tool::{CallDone, Effect};
use aios_abi::{CallError, ErrorCode};
use aios_policy::UNDO;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of an undo.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

impl Way {
    /// The record of taking back what this record began.
    pub(super) fn undo_record(&self, of: u64) -> CallRecord {
        self.record(UNDO, Effect::Reversible, format!("{{\"audit\":{of}}}"))
    }
}

impl Broker {
    pub(super) async fn take_back(self: Arc<Self>, way: Way, seq: u64) -> Result<CallDone, CallError> {
        let call = way.undo_record(seq);
        let reason = way.meta.has_reason();
        if let Err(error) = self.judge.may_undo(&way.caller, reason) {
            return self.refused(call, error).await;
        }
        let _turn = match self.turns.take(&way.caller).await {
            Ok(turn) => turn,
            Err(error) => return self.refused(call, error).await,
        };
        let this = self.clone();
        let hold = match self.holds.hold(format!("undo {seq}")) {
            Ok(hold) => hold,
            Err(error) => return self.refused(call, error).await,
        };
        // An undo that was begun is carried through, whoever has gone meanwhile.
        let found = blocking(move || this.to_take_back(seq)).await;
        let result = match found {
            Ok((saved, parts)) if saved.target == Target::Several => match self.holds.hold_all(&parts) {
                Ok(_holds) => self.take_back_parts(&way, parts).await,
                Err(error) => Err(error),
            },
            Ok((saved, _)) => match self.holds.hold(&saved.target) {
                Ok(_hold) => self.undo_one(&way, saved).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let outcome = outcome(result.as_ref().map(String::as_str));
        let entry = Entry::Undone { of: seq, call, outcome };
        let audit = self.audit.append(entry, Need::Soon).await;
        drop(hold);
        let summary = result?;
        self.undo.remove(seq);
        let result = serde_json::json!({ "undone": seq, "what": summary }).to_string();
        Ok(CallDone { result, summary, audit: audit?, undoable: false, repeated: false })
    }

    /// What was saved for this change, and those that were made together under it.
    fn to_take_back(&self, seq: u64) -> Result<(Saved, Vec<Part>), CallError> {
        let record = self
            .audit
            .record(seq)?
            .ok_or_else(|| CallError::not_found(format!("there is no audit record {seq}")))?;
        let Entry::Begin { call, undoable } = record.entry else {
            return Err(CallError::invalid(format!("record {seq} is not the beginning of a change")));
        };
        if !undoable {
            return Err(CallError::invalid(format!("what {} did cannot be taken back", call.tool)));
        }
        if let Some(by) = self.audit.undone_by(seq)? {
            return Err(CallError::new(
                ErrorCode::Conflict,
                format!("record {seq} was already undone, by record {by}"),
            ));
        }
        let saved = self.undo.load(seq)?;
        let parts = if saved.target == Target::Several { self.undo.parts(seq) } else { Vec::new() };
        Ok((saved, parts))
    }

    /// Whoever calls this holds its target.
    async fn undo_one(&self, way: &Way, saved: Saved) -> Result<String, CallError> {
        let tool = tool::by_name(&saved.tool)
            .ok_or_else(|| CallError::not_found(format!("this release has no tool {}", saved.tool)))?;
        self.judge.may_take_back(&way.case(tool, false), &self.policy, &saved.target)?;
        let brief = self.brief(tool, way, TIMEOUT);
        let (ticket, sources) = (self.workshop.ticket(), self.sources.clone());
        blocking(move || Workshop::undo(&ticket, sources, brief, saved.kept)).await
    }

    /// Take back all of these, in this order; each has a record of its own. Whoever calls this holds their targets.
    pub(super) async fn take_back_parts(&self, way: &Way, parts: Vec<Part>) -> Result<String, CallError> {
        let (mut done, all) = (Vec::new(), parts.len());
        for (seq, saved) in parts {
            let call = way.undo_record(seq);
            let result = self.undo_one(way, saved).await;
            let outcome = outcome(result.as_ref().map(String::as_str));
            self.audit.append(Entry::Undone { of: seq, call, outcome }, Need::Soon).await?;
            match result {
                Ok(what) => done.push(what),
                Err(error) => {
                    let text = format!(
                        "{} of {all} changes were taken back; of record {seq} not: {error}",
                        done.len()
                    );
                    return Err(CallError::new(error.code, text));
                }
            }
            self.undo.remove(seq);
        }
        match done.is_empty() {
            true => Ok("nothing had been changed".into()),
            false => Ok(done.join("; ")),
        }
    }
}
