//! `dev.fetch`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs, Paths};
use crate::repository::{Branch, Repository};
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fetch what the repository has by now that another one was made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the repository, which is a folder in `/data/dev`.
    repository: String,
}

/// What came.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fetched {
    /// Name of the repository.
    repository: String,
    /// Branches of the other repository that moved, came or went.
    changed: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 195,
    name: "dev.fetch",
    summary: "Fetch the newest commits of the repository that a clone was made of; nothing that is checked out changes",
    effect: Effect::Reversible,
    touches: &["the branches of others in a repository in /data/dev", "the server that it was cloned from"],
    role: Role::Operator,
    timeout_ms: 600000,
    examples: &[
        ("git fetch in site", r#"{"repository":"site"}"#),
        ("get the newest commits of shop from its server", r#"{"repository":"shop"}"#),
        ("are there new commits for firmware? fetch them", r#"{"repository":"firmware"}"#),
        ("update what docs knows of origin", r#"{"repository":"docs"}"#),
        ("download the latest branches of billing without merging", r#"{"repository":"billing"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToAct]),
    code: &Make {
        paths: no_paths,
        prepare,
        summary,
        undo: Some(Undo { paths: |_| Ok(Paths::new()), run: undo }),
    },
};

/// What is to be fetched.
pub(crate) struct Fetch {
    repository: Repository,
    before: Vec<Branch>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    repository: Repository,
    before: Vec<Branch>,
}

pub(crate) fn prepare(ctx: &Ctx, args: Args) -> Result<Fetch, CallError> {
    let repository = Repository::named(&args.repository)?;
    let before = others(repository.branches(ctx)?);
    Ok(Fetch { repository, before })
}

fn others(branches: Vec<Branch>) -> Vec<Branch> {
    branches.into_iter().filter(|branch| branch.others).collect()
}

impl Change for Fetch {
    type Output = Fetched;

    fn target(&self) -> Target {
        self.repository.target()
    }

    fn preview(&self) -> Preview {
        Preview { would: format!("fetch what {} was made of", self.repository.name()), diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { repository: self.repository.clone(), before: self.before.clone() }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Fetched, CallError> {
        self.repository.fetch(ctx)?;
        let now = others(self.repository.branches(ctx)?);
        let among = |branch: &&Branch, all: &[Branch]| {
            all.iter().any(|one| one.name == branch.name && one.commit == branch.commit)
        };
        let came = now.iter().filter(|branch| !among(branch, &self.before));
        let gone = self.before.iter().filter(|branch| !now.iter().any(|one| one.name == branch.name));
        let changed = came.chain(gone).map(|branch| branch.name.clone()).collect();
        Ok(Fetched { repository: self.repository.name().to_owned(), changed })
    }
}

pub(crate) fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { repository, before } = kept.read()?;
    let now = repository.branches(ctx)?;
    repository.set_others(ctx, &now, &before)?;
    Ok(format!("{} knows of the others what it knew before", repository.name()))
}

fn summary(done: &Fetched) -> String {
    match done.changed.is_empty() {
        true => format!("nothing is new for {}", done.repository),
        false => format!("new for {}: {}", done.repository, done.changed.join(", ")),
    }
}
