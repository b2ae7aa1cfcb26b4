//! `dev.clone`

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

/// Make a repository of another one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Where the other one is: `https://…`, or the path of a git bundle or a repository in `/data/dev`, where a person puts it, such as `/data/dev/incoming/site.bundle`.
    source: String,
    /// Name of the new repository; without it the last part of the source.
    repository: Option<String>,
    /// The branch to check out; without it the one that the other repository means.
    branch: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 193,
    name: "dev.clone",
    summary: "Clone a git repository from a server or an uploaded bundle into /data/dev",
    effect: Effect::Reversible,
    touches: &["a new folder in /data/dev", "the server named"],
    role: Role::Operator,
    timeout_ms: 600000,
    examples: &[
        ("git clone https://git.example.org/site.git", r#"{"source":"https://git.example.org/site.git"}"#),
        (
            "get the source code of shop from https://code.example.org/shop",
            r#"{"source":"https://code.example.org/shop"}"#,
        ),
        (
            "clone the branch stable of https://git.example.org/firmware.git",
            r#"{"source":"https://git.example.org/firmware.git","branch":"stable"}"#,
        ),
        (
            "unpack the bundle /data/dev/incoming/docs.bundle as the repository docs",
            r#"{"source":"/data/dev/incoming/docs.bundle","repository":"docs"}"#,
        ),
        (
            "check out https://git.example.org/tools.git as tools-test",
            r#"{"source":"https://git.example.org/tools.git","repository":"tools-test"}"#,
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

/// A repository that is to be made.
pub(crate) struct Clone {
    repository: Repository,
    source: String,
    branch: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    repository: Repository,
}

pub(crate) fn prepare(ctx: &Ctx, args: Args) -> Result<Clone, CallError> {
    let Args { source, repository, branch } = args;
    check_source(&source)?;
    let name = repository.unwrap_or_else(|| last_part(&source).to_owned());
    let repository = Repository::named(&name)?;
    let branch = branch.unwrap_or_default();
    if branch.starts_with('-') {
        return Err(CallError::invalid(format!("\"{branch}\" is no name of a branch")));
    }
    match repository.status(ctx) {
        Ok(_) => {
            let text = format!("there is a repository {name} already; choose another name");
            Err(CallError::new(ErrorCode::Conflict, text))
        }
        Err(error) if error.code == ErrorCode::NotFound => Ok(Clone { repository, source, branch }),
        Err(error) => Err(error),
    }
}

/// Only where it can be seen who answers, and what a person put there. What is in a name before `@` would be in the audit chain.
fn check_source(source: &str) -> Result<(), CallError> {
    const PLACE: &str = "/data/dev/";
    let plain = !source.contains(|c: char| c.is_control() || c.is_whitespace()) && source.len() <= 1_000;
    let server = source.strip_prefix("https://").map(|rest| rest.split('/').next().unwrap_or_default());
    let good = match server {
        Some(server) => !server.is_empty() && !server.contains('@'),
        None => source.starts_with(PLACE) && !source.split('/').any(|part| part == ".."),
    };
    match plain && good {
        true => Ok(()),
        false => Err(CallError::invalid(format!(
            "\"{}\" is no source; give https://SERVER/PATH without a name or password in it, or a path below {PLACE}",
            source.chars().take(200).collect::<String>()
        ))),
    }
}

fn last_part(source: &str) -> &str {
    let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    last.strip_suffix(".git").or(last.strip_suffix(".bundle")).unwrap_or(last)
}

impl Change for Clone {
    type Output = Status;

    fn target(&self) -> Target {
        self.repository.target()
    }

    fn preview(&self) -> Preview {
        Preview { would: format!("clone {} as {}", self.source, self.repository.name()), diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { repository: self.repository.clone() }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Status, CallError> {
        self.repository.clone_from(ctx, &self.source, &self.branch)?;
        self.repository.status(ctx)
    }
}

/// What somebody has done in it since is not thrown away: a change in no commit, a commit that only this one has.
pub(crate) fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { repository } = kept.read()?;
    if let Some(why) = repository.only_here(ctx)? {
        let text = format!("{} stays: {why}; nothing was undone", repository.name());
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    repository.remove(ctx)?;
    Ok(format!("the repository {} is removed", repository.name()))
}

fn summary(status: &Status) -> String {
    let place = status.branch.as_ref().map(|branch| format!(", on the branch {branch}")).unwrap_or_default();
    format!("{} is cloned{place}", status.repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_server_that_proves_itself_or_what_a_person_uploaded() {
        for good in ["https://git.example.org/a.git", "/data/dev/incoming/a.bundle", "/data/dev/site"] {
            check_source(good).expect(good);
        }
        for bad in [
            "",
            "http://x/a",
            "git://x/a",
            "ssh://x/a",
            "git@x:a",
            "ext::sh -c id",
            "file:///etc",
            "/etc",
            "/data/dev/../x",
            "/data/upload/a.bundle",
            "https://",
            "https://user:secret@x/a",
            "https://x/a b",
            "--upload-pack=id",
            "-x",
            "a\nb",
        ] {
            check_source(bad).expect_err(bad);
        }
        assert_eq!(last_part("https://x/y/site.git/"), "site");
        assert_eq!(last_part("/data/dev/incoming/docs.bundle"), "docs");
    }
}
