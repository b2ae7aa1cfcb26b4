//! `dev.switch`

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

/// Go to a branch of a repository, which is made if it is not there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the repository, which is a folder in `/data/dev`.
    repository: String,
    /// Name of the branch.
    branch: String,
    /// Branch, tag or commit that a new branch begins at; without it the branch of that name of the other repository, or what is
    /// checked out.
    from: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 194,
    name: "dev.switch",
    summary: "Switch a repository to a branch, which is made if there is none of that name",
    effect: Effect::Reversible,
    touches: &["the files and branches of a repository in /data/dev"],
    role: Role::Operator,
    timeout_ms: 600000,
    examples: &[
        ("git switch release in site", r#"{"repository":"site","branch":"release"}"#),
        ("make the branch fix-login in shop", r#"{"repository":"shop","branch":"fix-login"}"#),
        (
            "create a branch hotfix from v1.2 in firmware",
            r#"{"repository":"firmware","branch":"hotfix","from":"v1.2"}"#,
        ),
        ("check out main in docs", r#"{"repository":"docs","branch":"main"}"#),
        ("go to the branch stable of billing", r#"{"repository":"billing","branch":"stable"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make {
        paths: no_paths,
        prepare,
        summary,
        undo: Some(Undo { paths: |_| Ok(Paths::new()), run: undo }),
    },
};

/// Where a repository is to go.
pub(crate) struct Switch {
    repository: Repository,
    branch: String,
    /// Where the branch begins if it is made.
    from: String,
    before: Status,
    /// The commit that is checked out after it.
    then: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    repository: Repository,
    branch: String,
    made: bool,
    then: String,
    /// The branch before it.
    before: Option<String>,
    /// The commit before it.
    commit: String,
}

pub(crate) fn prepare(ctx: &Ctx, args: Args) -> Result<Switch, CallError> {
    let Args { repository, branch, from } = args;
    let repository = Repository::named(&repository)?;
    let before = repository.clean(ctx)?;
    if before.commit.is_none() {
        let text = format!("{} has no commit yet", repository.name());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    if before.branch.as_ref() == Some(&branch) {
        let text = format!("{} is on {branch} already", repository.name());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    let branches = repository.branches(ctx)?;
    let own = branches.iter().find(|one| !one.others && one.name == branch);
    let others = branches
        .iter()
        .find(|one| one.others && one.name.split_once('/').is_some_and(|(_, name)| name == branch));
    let (from, then) = match (own, from, others) {
        (Some(_), Some(_), _) => {
            let text =
                format!("{} has a branch {branch} already; leave out where it begins", repository.name());
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        (Some(own), None, _) => (String::new(), own.commit.clone()),
        (None, None, Some(others)) => (others.name.clone(), others.commit.clone()),
        (None, from, _) => {
            let commit = repository.commit(ctx, from.as_deref().unwrap_or("HEAD"))?.id;
            (commit.clone(), commit)
        }
    };
    Ok(Switch { repository, branch, from, before, then })
}

impl Change for Switch {
    type Output = Status;

    fn target(&self) -> Target {
        self.repository.target()
    }

    fn preview(&self) -> Preview {
        let Self { repository, branch, from, .. } = self;
        let would = match from.is_empty() {
            true => format!("go to the branch {branch} in {}", repository.name()),
            false => format!("make the branch {branch} at {from} in {}, and go to it", repository.name()),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        let Self { repository, branch, from, before, then } = self;
        let note = Note {
            repository: repository.clone(),
            branch: branch.clone(),
            made: !from.is_empty(),
            then: then.clone(),
            before: before.branch.clone(),
            commit: before.commit.clone().unwrap_or_default(),
        };
        Some(Kept::new(&note, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Status, CallError> {
        self.repository.switch(ctx, &self.branch, &self.from)?;
        self.repository.status(ctx)
    }

    fn verify(&self, _ctx: &Ctx, status: &Status) -> Result<(), CallError> {
        match status.branch.as_ref() == Some(&self.branch) && status.commit.as_ref() == Some(&self.then) {
            true => Ok(()),
            false => Err(CallError::failed(format!(
                "{} is not on {} as it was",
                self.repository.name(),
                self.branch
            ))),
        }
    }
}

pub(crate) fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { repository, branch, made, then, before, commit } = kept.read()?;
    let now = repository.clean(ctx)?;
    let here = now.branch.as_ref() == Some(&branch);
    if !here || made && now.commit.as_ref() != Some(&then) {
        let text = format!("{} is not on {branch} as it was made; nothing was undone", repository.name());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    let back = match &before {
        Some(before) => {
            repository.switch(ctx, before, "")?;
            format!("{} is on {before} again", repository.name())
        }
        None => {
            repository.detach(ctx, &commit)?;
            format!("{} is at {commit} again", repository.name())
        }
    };
    if made {
        repository.forget(ctx, &branch, &then)?;
        return Ok(format!("{back}, and {branch} is removed"));
    }
    Ok(back)
}

fn summary(status: &Status) -> String {
    let commit: String = status.commit.iter().flat_map(|commit| commit.chars().take(10)).collect();
    format!("{} is on {} at {commit}", status.repository, status.branch.as_deref().unwrap_or("no branch"))
}
