//! `dev.merge`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs, Paths};
use crate::repository::{Repository, Status};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Merge a branch into the one that is checked out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the repository, which is a folder in `/data/dev`.
    repository: String,
    /// The branch, tag or commit that is merged, such as `origin/main`.
    revision: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 196,
    name: "dev.merge",
    summary: "Merge a branch into the branch that a repository is on; when both changed the same lines, nothing is merged",
    effect: Effect::Reversible,
    touches: &["the files and the branch that is checked out of a repository in /data/dev"],
    role: Role::Operator,
    timeout_ms: 600000,
    examples: &[
        ("git merge fix-login in shop", r#"{"repository":"shop","revision":"fix-login"}"#),
        ("bring origin/main into the branch of site", r#"{"repository":"site","revision":"origin/main"}"#),
        ("merge the branch release of firmware", r#"{"repository":"firmware","revision":"release"}"#),
        ("take over the tag v2.0 in docs", r#"{"repository":"docs","revision":"v2.0"}"#),
        (
            "update billing to what origin/stable has",
            r#"{"repository":"billing","revision":"origin/stable"}"#,
        ),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make {
        paths: no_paths,
        prepare,
        summary,
        undo: Some(Undo { paths: |_| Ok(Paths::new()), run: undo }),
    },
};

/// What is to be merged.
pub(crate) struct Merge {
    repository: Repository,
    branch: String,
    revision: String,
    /// The commit of the branch before it.
    before: String,
    /// The commit that is merged.
    merged: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    repository: Repository,
    branch: String,
    before: String,
    merged: String,
}

pub(crate) fn prepare(ctx: &Ctx, args: Args) -> Result<Merge, CallError> {
    let Args { repository, revision } = args;
    let repository = Repository::named(&repository)?;
    let merged = repository.commit(ctx, &revision)?.id;
    let status = repository.clean(ctx)?;
    match (status.branch, status.commit) {
        (Some(branch), Some(before)) => Ok(Merge { repository, branch, revision, before, merged }),
        _ => {
            let text = format!("{} is on no branch with a commit; dev.switch goes to one", repository.name());
            Err(CallError::new(ErrorCode::Conflict, text))
        }
    }
}

impl Change for Merge {
    type Output = Status;

    fn target(&self) -> Target {
        self.repository.target()
    }

    fn preview(&self) -> Preview {
        let Self { repository, branch, revision, .. } = self;
        Preview { would: format!("merge {revision} into {branch} of {}", repository.name()), diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let Self { repository, branch, before, merged, .. } = self;
        let (branch, before, merged) = (branch.clone(), before.clone(), merged.clone());
        Some(Kept::new(&Note { repository: repository.clone(), branch, before, merged }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Status, CallError> {
        self.repository.merge(ctx, &self.merged, &format!("Merge {} into {}", self.revision, self.branch))?;
        self.repository.status(ctx)
    }
}

/// Only what this merge made is taken back: a commit of these two, or the branch moved on to the other one.
pub(crate) fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { repository, branch, before, merged } = kept.read()?;
    let status = repository.clean(ctx)?;
    let now = repository.commit(ctx, "HEAD")?;
    if now.id == before {
        return Ok(format!("{branch} of {} is where it was", repository.name()));
    }
    let made = now.id == merged || now.parents == [before.clone(), merged];
    if status.branch.as_ref() != Some(&branch) || !made {
        let text = format!("{} has moved on since it was merged; nothing was undone", repository.name());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    repository.reset(ctx, &now.id, &before)?;
    Ok(format!("{branch} of {} is at {before} again", repository.name()))
}

fn summary(status: &Status) -> String {
    let commit: String = status.commit.iter().flat_map(|commit| commit.chars().take(10)).collect();
    format!("{} of {} is at {commit} now", status.branch.as_deref().unwrap_or("no branch"), status.repository)
}
