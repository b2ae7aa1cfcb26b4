//! `dev.list`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::repository::{Status, all};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Look which repositories there are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// The repositories.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Repositories {
    /// Each with what is checked out in it, by name.
    repositories: Vec<Status>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 190,
    name: "dev.list",
    summary: "List the repositories of source code on this machine, with branch and changes",
    effect: Effect::Read,
    touches: &["repositories in /data/dev, read by git in its own sandbox"],
    role: Role::Viewer,
    timeout_ms: 40000,
    examples: &[
        ("which repositories are on this machine?", r#"{}"#),
        ("show all git checkouts", r#"{}"#),
        ("list the source code projects", r#"{}"#),
        ("what code do we have cloned?", r#"{}"#),
        ("are there repositories with changes that nobody committed?", r#"{}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToRunLooks]),
    code: &Look { paths: no_paths, run, summary },
};

pub(crate) fn run(ctx: &Ctx, _args: Args) -> Result<Repositories, CallError> {
    Ok(Repositories { repositories: all(ctx)? })
}

fn summary(done: &Repositories) -> String {
    let names: Vec<&str> = done.repositories.iter().take(10).map(|one| one.repository.as_str()).collect();
    match done.repositories.len() {
        0 => "there is no repository; dev.clone makes one".into(),
        1 => format!("1 repository: {}", names.join(", ")),
        many if many <= names.len() => format!("{many} repositories: {}", names.join(", ")),
        many => format!("{many} repositories: {} and others", names.join(", ")),
    }
}
