//! `dev.remove`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::repository::{Repository, Status};
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Remove a repository with all that is in it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the repository, which is a folder in `/data/dev`.
    repository: String,
    /// Also when it has changes in no commit, or commits that the repository that it was made of lacks.
    #[serde(default)]
    discard: bool,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Removed {
    /// Name of the repository.
    repository: String,
    /// The commit that was checked out.
    commit: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 197,
    name: "dev.remove",
    summary: "Remove a repository from this machine; one with work that is nowhere else is kept unless told otherwise",
    effect: Effect::Irreversible,
    touches: &["a folder in /data/dev with all that is in it"],
    role: Role::Admin,
    timeout_ms: 600000,
    examples: &[
        ("delete the repository site", r#"{"repository":"site"}"#),
        ("remove the checkout of shop", r#"{"repository":"shop"}"#),
        ("throw away firmware with all changes in it", r#"{"repository":"firmware","discard":true}"#),
        ("we do not need the clone of docs any more", r#"{"repository":"docs"}"#),
        ("get rid of the source code of billing", r#"{"repository":"billing"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

/// A repository that is to be removed.
pub(crate) struct Remove {
    repository: Repository,
    status: Status,
}

pub(crate) fn prepare(ctx: &Ctx, args: Args) -> Result<Remove, CallError> {
    let repository = Repository::named(&args.repository)?;
    let status = repository.status(ctx)?;
    if !args.discard
        && let Some(why) = repository.only_here(ctx)?
    {
        let text = format!("{} stays: {why}; set discard to remove it all the same", repository.name());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    Ok(Remove { repository, status })
}

impl Change for Remove {
    type Output = Removed;

    fn target(&self) -> Target {
        self.repository.target()
    }

    fn preview(&self) -> Preview {
        Preview { would: format!("remove the repository {}", self.repository.name()), diff: None }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Removed, CallError> {
        self.repository.remove(ctx)?;
        Ok(Removed { repository: self.status.repository.clone(), commit: self.status.commit.clone() })
    }
}

fn summary(done: &Removed) -> String {
    format!("the repository {} is removed", done.repository)
}
