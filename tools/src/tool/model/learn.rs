//! `model.learn`

use super::shared::{Learned, learned_target, learned_undo};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::undo::Kept;
use crate::{lessons, models};
use aios_abi::infer::{Adapted, InferRequest, LEAST_LESSONS, Lesson};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Learn from what people asked and then approved.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 226,
    name: "model.learn",
    summary: "Learn from approved calls how people of this machine ask; it is used only if it understands more than before",
    effect: Effect::Reversible,
    touches: &["the audit chain", "what was learned, in /data/inferd"],
    role: Role::Admin,
    timeout_ms: 7_200_000,
    examples: &[
        ("learn from the calls that we approved", "{}"),
        ("train the model on what people here asked for", "{}"),
        ("learn how we talk", "{}"),
        ("adapt to our way of asking", "{}"),
        ("improve the choice of tools with our own questions", "{}"),
        ("start the training on approved proposals", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::Audit, Asks::ModelsToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: Some(learned_undo()) },
};

/// So many approved calls must be new since the last time.
const NEW: usize = 5;

struct Learn {
    lessons: Vec<Lesson>,
    /// Why there is nothing to learn.
    idle: Option<String>,
    before: Adapted,
}

fn prepare(ctx: &Ctx, _: Args) -> Result<Learn, CallError> {
    let before = models::adapted(ctx, InferRequest::Learned)?;
    let (lessons, new) = lessons::approved(ctx, before.last.as_ref().map_or(0, |last| last.at_ms))?;
    let idle = if lessons.len() < LEAST_LESSONS {
        let all = lessons.len();
        Some(format!(
            "{all} proposals were approved so far, and {LEAST_LESSONS} are needed to hold some back and measure"
        ))
    } else if new < NEW {
        Some(format!("{new} proposals were approved since the last time, and {NEW} are needed"))
    } else {
        None
    };
    Ok(Learn { lessons, idle, before })
}

impl Change for Learn {
    type Output = Learned;

    fn target(&self) -> Target {
        learned_target()
    }

    fn preview(&self) -> Preview {
        let would = match &self.idle {
            Some(why) => format!("learn nothing: {why}"),
            None => format!(
                "learn from {} approved calls for some minutes, and use what was learned if it knows more of those held back",
                self.lessons.len()
            ),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&self.before.current, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Learned, CallError> {
        if let Some(why) = self.idle.take() {
            return Ok(Learned::idle(&self.before, why));
        }
        let lessons = std::mem::take(&mut self.lessons);
        models::adapted(ctx, InferRequest::Learn { lessons }).map(|now| Learned::of(&now))
    }
}

fn summary(learned: &Learned) -> String {
    match (&learned.last, &learned.note) {
        (Some(last), _) => last.to_string(),
        (None, why) => format!("nothing was learned: {}", why.as_deref().unwrap_or("nobody knows why")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::{House, within};
    use crate::reach::Question;
    use crate::worker::Answer;
    use aios_abi::audit::{Hash, Head};
    use aios_abi::infer::InferReply;
    use aios_abi::tool::Progress;

    struct Quiet;

    impl House for Quiet {
        fn ask(&self, question: Question) -> Result<Answer, CallError> {
            match question {
                Question::Records { .. } => {
                    let head = Head {
                        seq: 0,
                        hash: Hash::default(),
                        public_key: String::new(),
                        signature: String::new(),
                    };
                    Ok(Answer::Records(Vec::new(), Box::new(head)))
                }
                Question::Infer(InferRequest::Learned) => {
                    Ok(Answer::Infer(Box::new(InferReply::Adapted(Adapted::default()))))
                }
                _ => Err(CallError::failed("is not asked")),
            }
        }

        fn progress(&self, _progress: Progress) {}
    }

    #[test]
    fn with_too_few_approved_calls_nothing_is_begun() {
        let ctx = within(Quiet);
        let mut learn = prepare(&ctx, Args {}).expect("is no fault");
        let why = "0 proposals were approved so far, and 20 are needed to hold some back and measure";
        assert_eq!(learn.preview().would, format!("learn nothing: {why}"));
        let done = learn.apply(&ctx).expect("does nothing");
        assert_eq!(summary(&done), format!("nothing was learned: {why}"));
    }
}
