//! `dev.status`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::repository::{Repository, Status};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Look what is checked out in a repository.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the repository, which is a folder in `/data/dev`.
    repository: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 191,
    name: "dev.status",
    summary: "Show branch, commit and files with changes of a repository, and how far it is behind the one that it follows",
    effect: Effect::Read,
    touches: &["a repository in /data/dev, read by git in its own sandbox"],
    role: Role::Viewer,
    timeout_ms: 40000,
    examples: &[
        ("git status of site", r#"{"repository":"site"}"#),
        ("which branch is checked out in the repository shop?", r#"{"repository":"shop"}"#),
        ("has somebody changed files in firmware without committing them?", r#"{"repository":"firmware"}"#),
        ("is my checkout of docs behind origin?", r#"{"repository":"docs"}"#),
        ("what state is the code of billing in?", r#"{"repository":"billing"}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToRunLooks]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Status, CallError> {
    Repository::named(&args.repository)?.status(ctx)
}

fn summary(status: &Status) -> String {
    let Status { repository, branch, commit, files, ahead, behind, .. } = status;
    let place = match (branch, commit) {
        (Some(branch), _) => format!("on {branch}"),
        (None, Some(commit)) => format!("at {}", commit.chars().take(10).collect::<String>()),
        (None, None) => "empty".into(),
    };
    let changes = match files.len() + status.files_more {
        0 => "nothing differs from the commit".into(),
        1 => "1 file differs from the commit".into(),
        many => format!("{many} files differ from the commit"),
    };
    let far = match (ahead, behind) {
        (0, 0) => String::new(),
        (ahead, behind) => format!(
            "; {ahead} commits ahead, {behind} behind {}",
            status.follows.as_deref().unwrap_or_default()
        ),
    };
    format!("{repository} is {place}; {changes}{far}")
}
