//! `policy.set`

use super::shared::{document, unexpected};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo, no_paths};
use crate::judge::{PolicyAnswer, PolicyQuestion};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Set the policy: autonomy, exceptions, limits, what is protected, and rules of one's own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The whole document (TOML); empty for the policy of a new appliance.
    document: String,
}

/// What was set.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Set {
    /// Whether it was different before.
    changed: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 97,
    name: "policy.set",
    summary: "Set the policy: how far the agent goes on its own, limits, protected targets, own rules",
    effect: Effect::Reversible,
    touches: &["the policy"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("let the agent only look", r#"{"document":"autonomy = \"observe\"\n"}"#),
        ("the agent must ask before each change", r#"{"document":"autonomy = \"confirm\"\n"}"#),
        (
            "let the agent restart web by itself at night",
            r#"{"document":"[[exceptions]]\ntools = [\"service.restart\"]\ntargets = [\"service web\"]\nwindow = \"22:00-06:00\"\nautonomy = \"auto-full\"\n"}"#,
        ),
        ("protect /data/www from the agent", r#"{"document":"protected = [\"/data/www\"]\n"}"#),
        ("reset the policy to that of a new machine", r#"{"document":""}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::PolicyToSet]),
    code: &Make {
        paths: no_paths,
        prepare,
        summary,
        undo: Some(Undo { paths: |_| Ok(Vec::new()), run: undo }),
    },
};

struct Setting {
    before: String,
    after: String,
}

/// What undo has to know; the content is the document before.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    after: String,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Setting, CallError> {
    let before = document(ctx)?;
    fits(ctx.policy(PolicyQuestion::Check(args.document.clone()))?)?;
    Ok(Setting { before, after: args.document })
}

fn fits(answer: PolicyAnswer) -> Result<(), CallError> {
    match answer {
        PolicyAnswer::Fits => Ok(()),
        _ => Err(unexpected()),
    }
}

impl Change for Setting {
    type Output = Set;

    fn target(&self) -> Target {
        Target::Policy
    }

    fn preview(&self) -> Preview {
        if self.before == self.after {
            return Preview { would: "change nothing: this is the policy already".into(), diff: None };
        }
        let diff = similar::TextDiff::from_lines(&self.before, &self.after);
        let diff = diff.unified_diff().header("policy (now)", "policy (then)").to_string();
        Preview { would: "set the policy".into(), diff: Some(diff) }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { after: self.after.clone() }, Some(self.before.clone().into_bytes())))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Set, CallError> {
        fits(ctx.policy(PolicyQuestion::Set(self.after.clone()))?)?;
        Ok(Set { changed: self.before != self.after })
    }

    fn verify(&self, ctx: &Ctx, _done: &Set) -> Result<(), CallError> {
        match document(ctx)? == self.after {
            true => Ok(()),
            false => Err(CallError::failed("the policy that counts is another than was set")),
        }
    }
}

fn summary(set: &Set) -> String {
    match set.changed {
        true => "the policy is set and counts from now on".into(),
        false => "this was the policy already".into(),
    }
}

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let note: Note = kept.read()?;
    let before = String::from_utf8_lossy(kept.content.as_deref().unwrap_or_default()).into_owned();
    let now = document(ctx)?;
    if now == before {
        return Ok("the policy is as it was before".into());
    }
    if now != note.after {
        let text = "the policy was set again since; undo that first, or set it anew";
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    fits(ctx.policy(PolicyQuestion::Set(before))?)?;
    Ok("the policy before counts again".into())
}
