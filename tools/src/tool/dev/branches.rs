//! `dev.branches`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::repository::{Branch, Repository};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Look which branches a repository has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the repository, which is a folder in `/data/dev`.
    repository: String,
}

/// The branches.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Branches {
    /// Name of the repository.
    repository: String,
    /// Its own, then those of the repository that it was made of.
    branches: Vec<Branch>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 192,
    name: "dev.branches",
    summary: "List the branches of a repository with their newest commits",
    effect: Effect::Read,
    touches: &["a repository in /data/dev, read by git in its own sandbox"],
    role: Role::Viewer,
    timeout_ms: 40000,
    examples: &[
        ("git branch -a in site", r#"{"repository":"site"}"#),
        ("which branches does shop have?", r#"{"repository":"shop"}"#),
        ("show the newest commit of each branch of firmware", r#"{"repository":"firmware"}"#),
        ("is there a release branch in docs?", r#"{"repository":"docs"}"#),
        ("what branches did the others push to billing?", r#"{"repository":"billing"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToRunLooks]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Branches, CallError> {
    let branches = Repository::named(&args.repository)?.branches(ctx)?;
    Ok(Branches { repository: args.repository, branches })
}

fn summary(done: &Branches) -> String {
    let own = done.branches.iter().filter(|branch| !branch.others);
    let names: Vec<&str> = own.take(10).map(|branch| branch.name.as_str()).collect();
    match names.is_empty() {
        true => format!("{} has no branch of its own", done.repository),
        false => format!(
            "{} has {} branches, among them its own {}",
            done.repository,
            done.branches.len(),
            names.join(", ")
        ),
    }
}
