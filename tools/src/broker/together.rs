//! Several changes as one: all of them are made, or none.

use super::{Broker, Way, blocking, outcome};
use crate::audit::Need;
use crate::declaration::Declaration;
use crate::policy::Target;
use crate::tool;
use crate::undo::Kept;
use aios_abi::CallError;
use aios_abi::audit::Entry;
use aios_abi::tool::{CallDone, Effect, Step};
use std::sync::Arc;

/// Name of several changes where a tool's name is expected.
pub(super) const NAME: &str = "together";
/// Changes that are made together.
const MAX_STEPS: usize = 32;

impl Broker {
    /// All of these changes, or none.
    pub(super) async fn together(self: Arc<Self>, way: Way, steps: Vec<Step>) -> Result<CallDone, CallError> {
        let tools = parts_of_one(&steps).and_then(|tools| {
            tools.iter().try_for_each(|tool| self.judge.may_call(&way.case(tool, false)))?;
            Ok(tools)
        });
        let names: Vec<&str> = tools.iter().flatten().map(|tool| tool.name).collect();
        let call = way.record(NAME, Effect::Reversible, serde_json::json!({ "tools": names }).to_string());
        let tools = match tools {
            Ok(tools) => tools,
            Err(error) => return self.refused(call, error).await,
        };
        let _turn = match self.turns.take(&way.caller).await {
            Ok(turn) => turn,
            Err(error) => return self.refused(call, error).await,
        };
        let kept = Some(Kept { note: String::new(), content: None });
        let audit = match self.begin(&call, &way, Target::Several, kept, None).await {
            Ok((audit, _)) => audit,
            Err(error) => return self.refused(call, error).await,
        };
        let result = self.all_or_none(&way, audit, tools.into_iter().zip(steps)).await;
        let done = result.map(|(summary, results)| CallDone {
            result: serde_json::Value::Array(results).to_string(),
            summary,
            audit,
            undoable: true,
            repeated: false,
        });
        self.ended(&way, audit, None, &done).await;
        done
    }

    async fn all_or_none(
        self: &Arc<Self>,
        way: &Way,
        of: u64,
        steps: impl ExactSizeIterator<Item = (&'static Declaration, Step)>,
    ) -> Result<(String, Vec<serde_json::Value>), CallError> {
        let store = self.undo.clone();
        blocking(move || store.open_together(of)).await?;
        let all = steps.len();
        let (mut summaries, mut results) = (Vec::new(), Vec::new());
        for (index, (tool, step)) in steps.enumerate() {
            match self.call_one(way, tool, step.args, false, Some(of)).await {
                Ok(done) => {
                    let result: serde_json::Value = serde_json::from_str(&done.result).unwrap_or_default();
                    results.push(
                        serde_json::json!({ "tool": tool.name, "audit": done.audit, "result": result }),
                    );
                    summaries.push(done.summary);
                }
                Err(error) => {
                    let what = format!("step {} of {all} ({}): {error}", index + 1, tool.name);
                    let store = self.undo.clone();
                    let parts = blocking(move || Ok(store.parts(of))).await?;
                    let back = match self.holds.hold_all(&parts) {
                        Ok(_holds) => self.take_back_parts(way, parts).await,
                        Err(error) => Err(error),
                    };
                    let then = match &back {
                        Ok(_) => "all of it was taken back".to_owned(),
                        Err(error) => format!("taking back: {error}"),
                    };
                    self.end_together(way, of, back).await;
                    return Err(CallError::new(error.code, format!("{what}; {then}")));
                }
            }
        }
        // From here on it stays.
        let store = self.undo.clone();
        blocking(move || store.close_together(of)).await?;
        Ok((summaries.join("; "), results))
    }

    /// Write down how taking back went. What could not be taken back is tried again at the next start.
    pub(super) async fn end_together(&self, way: &Way, of: u64, back: Result<String, CallError>) {
        if let Err(error) = &back {
            tracing::error!("what record {of} began was not taken back: {error}");
        } else {
            if let Err(error) = self.undo.close_together(of) {
                tracing::error!("{error}");
            }
            self.undo.remove(of);
        }
        let call = way.undo_record(of);
        let outcome = outcome(back.as_ref().map(String::as_str));
        if let Err(error) = self.audit.append(Entry::Undone { of, call, outcome }, Need::Soon).await {
            tracing::error!("that record {of} was taken back has no record: {error}");
        }
    }
}

/// The tools of changes that are to be made together, if they all can be taken back.
fn parts_of_one(steps: &[Step]) -> Result<Vec<&'static Declaration>, CallError> {
    if steps.is_empty() || steps.len() > MAX_STEPS {
        let text = format!("{} changes cannot be made together; give 1 to {MAX_STEPS}", steps.len());
        return Err(CallError::invalid(text));
    }
    let tool = |step: &Step| {
        let tool = tool::by_number(step.tool)
            .ok_or_else(|| CallError::not_found(format!("there is no tool with the number {}", step.tool)))?;
        match tool.effect {
            Effect::Reversible => Ok(tool),
            Effect::Read => {
                Err(CallError::invalid(format!("{} changes nothing; call it by itself", tool.name)))
            }
            Effect::Irreversible => Err(CallError::invalid(format!(
                "{} cannot be taken back, so it cannot be one of several changes that are made together",
                tool.name
            ))),
        }
    };
    steps.iter().map(tool).collect()
}
