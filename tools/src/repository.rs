//! Repositories of source code: folders `/data/dev/NAME` that git keeps, in the sandbox of the extension `dev`.
//!
//! No tool starts git. What is done is a command of the extension's service, which init runs in the service's own sandbox;
//! what git says is read here, bounded and in the formats that it promises to programs (git-status(1), "Porcelain Format
//! Version 2"; git-for-each-ref(1); git-update-ref(1)).

use crate::ctx::Ctx;
use crate::policy::Target;
use crate::tool::service::shared::{ask, unexpected};
use aios_abi::run::{RunEnd, RunHow, RunOutcome, RunRequest};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::{CallError, ErrorCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Where repositories are.
const PLACE: &str = "/data/dev";
/// The service whose commands work on repositories.
const SERVICE: &str = "dev";
/// The service whose commands build and test them.
const BUILDER: &str = "dev-build";
/// Files that differ from the last commit, as they are told of at most.
const MOST_FILES: usize = 500;
/// Branches that are told of at most.
const MOST_BRANCHES: usize = 500;
/// Characters of what git says that are passed on.
const MAX_SAID: usize = 300;
/// Where branches of this repository begin, and those of the one that it was made of.
const OWN: &str = "refs/heads/";
const OTHERS: &str = "refs/remotes/";

/// What is checked out, and what of it is in no commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Status {
    /// Name of the repository, which is a folder in `/data/dev`.
    pub(crate) repository: String,
    /// The branch; none when a commit of no branch is checked out.
    pub(crate) branch: Option<String>,
    /// The commit; none when there is no commit yet.
    pub(crate) commit: Option<String>,
    /// The branch of the other repository that this one follows.
    pub(crate) follows: Option<String>,
    /// Commits that the other one lacks.
    pub(crate) ahead: u32,
    /// Commits that the other one has besides.
    pub(crate) behind: u32,
    /// Files that differ from the commit: two letters as git writes them (`.M` changed, `A.` added, `??` unknown), and the path.
    pub(crate) files: Vec<String>,
    /// Files more than these.
    pub(crate) files_more: usize,
    /// Why it cannot be read, if git cannot.
    pub(crate) problem: Option<String>,
}

impl Status {
    /// Whether anything but files that git does not know differs from the commit.
    pub(crate) fn is_clean(&self) -> bool {
        self.files_more == 0 && self.files.iter().all(|file| file.starts_with("??"))
    }

    pub(crate) fn read(repository: &str, text: &str) -> Self {
        let mut status = Self { repository: repository.into(), ..Self::default() };
        text.lines().for_each(|line| status.line(line));
        status
    }

    fn line(&mut self, line: &str) {
        let words =
            |rest: &str, skipped: usize| rest.splitn(skipped + 1, ' ').nth(skipped).map(str::to_owned);
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let file = match kind {
            "#" => return self.header(rest),
            "broken" => {
                self.problem = Some("git cannot read it".into());
                return;
            }
            // One that was changed has seven fields before its path, one that was renamed eight, a conflict nine.
            "1" => words(rest, 7),
            "2" => words(rest, 8).map(|paths| paths.replace('\t', " <- ")),
            "u" => words(rest, 9),
            "?" => Some(rest.to_owned()),
            _ => None,
        };
        let Some(path) = file else { return };
        let state = if kind == "?" { "??" } else { rest.split(' ').next().unwrap_or_default() };
        match self.files.len() < MOST_FILES {
            true => self.files.push(format!("{state} {path}")),
            false => self.files_more += 1,
        }
    }

    fn header(&mut self, text: &str) {
        let (name, value) = text.split_once(' ').unwrap_or((text, ""));
        let known = |absent: &str| (value != absent).then(|| value.to_owned());
        match name {
            "branch.oid" => self.commit = known("(initial)"),
            "branch.head" => self.branch = known("(detached)"),
            "branch.upstream" => self.follows = known(""),
            "branch.ab" => {
                let mut counts =
                    value.split(' ').map(|count| count.trim_start_matches(['+', '-']).parse().unwrap_or(0));
                (self.ahead, self.behind) = (counts.next().unwrap_or(0), counts.next().unwrap_or(0));
            }
            _ => {}
        }
    }
}

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Branch {
    /// Its name; one of the other repository begins with that one's, such as `origin/main`.
    pub(crate) name: String,
    /// It is a branch of the repository that this one was made of.
    pub(crate) others: bool,
    /// Its newest commit.
    pub(crate) commit: String,
    /// Seconds since 1970 when that was made.
    time: u64,
    /// First line of what that one says.
    subject: String,
}

impl Branch {
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut fields = line.splitn(5, ' ');
        let (name, commit, time, symbolic) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        // Another name for one of the others.
        if symbolic != "[]" {
            return None;
        }
        let others = name.starts_with(OTHERS);
        let name = name.strip_prefix(OWN).or(name.strip_prefix(OTHERS))?.to_owned();
        let subject = fields.next().unwrap_or_default().chars().take(200).collect();
        Some(Self { name, others, commit: commit.into(), time: time.parse().unwrap_or(0), subject })
    }
}

/// A commit and those that it was made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) parents: Vec<String>,
}

/// A repository of the extension's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Repository {
    name: String,
}

impl Repository {
    /// The one with this name, if it can be one.
    pub(crate) fn named(name: &str) -> Result<Self, CallError> {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || name.len() > 100 || name.ends_with(".part") || !name.chars().all(good) {
            return Err(CallError::invalid(format!(
                "\"{name}\" is no name of a repository; use up to 100 letters, digits, dots, _ and -, such as site"
            )));
        }
        Ok(Self { name: name.into() })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its folder, where one change is made at a time.
    pub(crate) fn target(&self) -> Target {
        Target::Below(Path::new(PLACE).join(&self.name))
    }

    /// What is checked out.
    pub(crate) fn status(&self, ctx: &Ctx) -> Result<Status, CallError> {
        Ok(Status::read(&self.name, &self.look(ctx, "status", &[])?))
    }

    /// The same, of one in which nothing would be lost.
    pub(crate) fn clean(&self, ctx: &Ctx) -> Result<Status, CallError> {
        let status = self.status(ctx)?;
        match status.is_clean() {
            true => Ok(status),
            false => Err(CallError::new(
                ErrorCode::Conflict,
                format!(
                    "{} has changes that are in no commit, such as {}; they would be in the way",
                    self.name,
                    status.files.join(", ").chars().take(MAX_SAID).collect::<String>()
                ),
            )),
        }
    }

    /// All branches.
    pub(crate) fn branches(&self, ctx: &Ctx) -> Result<Vec<Branch>, CallError> {
        let said = self.look(ctx, "branches", &[])?;
        Ok(said.lines().filter_map(Branch::read).take(MOST_BRANCHES).collect())
    }

    /// What would be lost with it, if anything: in a few words.
    pub(crate) fn only_here(&self, ctx: &Ctx) -> Result<Option<String>, CallError> {
        let status = self.status(ctx)?;
        if let Some(file) = status.files.first() {
            return Ok(Some(format!("it has files that are in no commit, such as {file}")));
        }
        let said = self.look(ctx, "only", &[])?;
        Ok(match said.trim() {
            "0" => None,
            count => Some(format!("it has {count} commits that the repository lacks which it was made of")),
        })
    }

    /// Which commit this is.
    pub(crate) fn commit(&self, ctx: &Ctx, revision: &str) -> Result<Commit, CallError> {
        check_revision(revision)?;
        let said = self.look(ctx, "resolve", &[revision])?;
        let mut ids = said.split_ascii_whitespace().map(str::to_owned);
        let id = ids.next().ok_or_else(|| CallError::failed(format!("git says nothing of {revision}")))?;
        Ok(Commit { id, parents: ids.collect() })
    }

    /// Make it of another one.
    pub(crate) fn clone_from(&self, ctx: &Ctx, source: &str, branch: &str) -> Result<(), CallError> {
        self.change(ctx, "clone", &[source, branch])
    }

    /// Fetch what the one that it was made of has by now.
    pub(crate) fn fetch(&self, ctx: &Ctx) -> Result<(), CallError> {
        self.change(ctx, "fetch", &[])
    }

    /// Go to a branch, which is made at `from` if that is given.
    pub(crate) fn switch(&self, ctx: &Ctx, branch: &str, from: &str) -> Result<(), CallError> {
        self.change(ctx, "switch", &[branch, from])
    }

    /// Go to a commit.
    pub(crate) fn detach(&self, ctx: &Ctx, commit: &str) -> Result<(), CallError> {
        self.change(ctx, "detach", &[commit])
    }

    /// Remove a branch that is at this commit.
    pub(crate) fn forget(&self, ctx: &Ctx, branch: &str, commit: &str) -> Result<(), CallError> {
        self.change(ctx, "forget", &[branch, commit])
    }

    /// Merge a commit into the branch that is checked out, or nothing of it.
    pub(crate) fn merge(&self, ctx: &Ctx, commit: &str, message: &str) -> Result<(), CallError> {
        self.change(ctx, "merge", &[commit, message])
    }

    /// Take the branch that is checked out back from one commit to an earlier one.
    pub(crate) fn reset(&self, ctx: &Ctx, now: &str, then: &str) -> Result<(), CallError> {
        self.change(ctx, "reset", &[now, then])
    }

    /// Set the branches of others to what they were.
    pub(crate) fn set_others(&self, ctx: &Ctx, now: &[Branch], then: &[Branch]) -> Result<(), CallError> {
        let lines = difference(now, then);
        match lines.is_empty() {
            true => Ok(()),
            false => self.change(ctx, "set", &[&lines]),
        }
    }

    /// Remove it with all that is in it.
    pub(crate) fn remove(&self, ctx: &Ctx) -> Result<(), CallError> {
        self.change(ctx, "remove", &[])
    }

    /// Build or test a commit in a sandbox that is thrown away.
    pub(crate) fn make(&self, ctx: &Ctx, what: &str, commit: &str) -> Result<RunOutcome, CallError> {
        run(ctx, BUILDER, what, &[&self.name, commit], RunHow::Look)
    }

    fn look(&self, ctx: &Ctx, command: &str, words: &[&str]) -> Result<String, CallError> {
        said(run(ctx, SERVICE, command, &[&[self.name.as_str()], words].concat(), RunHow::Look)?)
    }

    fn change(&self, ctx: &Ctx, command: &str, words: &[&str]) -> Result<(), CallError> {
        said(run(ctx, SERVICE, command, &[&[self.name.as_str()], words].concat(), RunHow::Wait)?).map(drop)
    }
}

/// What is checked out in each repository.
pub(crate) fn all(ctx: &Ctx) -> Result<Vec<Status>, CallError> {
    let text = said(run(ctx, SERVICE, "list", &[], RunHow::Look)?)?;
    let mut all: Vec<Status> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("name ") {
            Some(name) => all.push(Status::read(name, "")),
            None => all.last_mut().into_iter().for_each(|status| status.line(line)),
        }
    }
    Ok(all)
}

/// Whether this names a branch or a commit and is no option of git's.
fn check_revision(revision: &str) -> Result<(), CallError> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let whole = !revision.is_empty() && revision.len() <= 200 && !revision.starts_with('-');
    match whole && !revision.contains("..") && !revision.contains("@{") && !revision.contains(bad) {
        true => Ok(()),
        false => Err(CallError::invalid(format!("\"{revision}\" is no name of a branch, a tag or a commit"))),
    }
}

/// What git-update-ref(1) is told to make `then` of `now`, as far as branches of others are concerned.
fn difference(now: &[Branch], then: &[Branch]) -> String {
    let others = |all: &[Branch]| -> BTreeMap<String, String> {
        all.iter()
            .filter(|branch| branch.others)
            .map(|branch| (branch.name.clone(), branch.commit.clone()))
            .collect()
    };
    let (now, then) = (others(now), others(then));
    let gone =
        now.keys().filter(|name| !then.contains_key(*name)).map(|name| format!("delete {OTHERS}{name}"));
    let moved = then.iter().filter(|(name, commit)| now.get(*name) != Some(commit));
    let moved = moved.map(|(name, commit)| format!("update {OTHERS}{name} {commit}"));
    gone.chain(moved).collect::<Vec<_>>().join("\n")
}

fn run(
    ctx: &Ctx,
    service: &str,
    command: &str,
    words: &[&str],
    how: RunHow,
) -> Result<RunOutcome, CallError> {
    let arguments = words.iter().map(|&word| word.to_owned()).collect();
    let request = RunRequest { service: service.into(), command: command.into(), arguments, how };
    match ask(ctx, InitRequest::Run(request)) {
        Ok(InitReply::Ran(outcome)) => Ok(outcome),
        Ok(_) => Err(unexpected()),
        Err(error) if error.code == ErrorCode::NotFound => Err(CallError::unavailable(format!(
            "there is no service {service}; install the extension dev first ({})",
            error.message
        ))),
        Err(error) => Err(error),
    }
}

/// What it wrote, if it ended well.
fn said(outcome: RunOutcome) -> Result<String, CallError> {
    let why = match outcome.end {
        RunEnd::Exited(0) if outcome.omitted_bytes > 0 => "said more than can be read".to_owned(),
        RunEnd::Exited(0) => return Ok(outcome.output),
        RunEnd::Exited(_) => {
            let line = outcome
                .output
                .lines()
                .find(|line| line.starts_with("error: ") || line.starts_with("fatal: "));
            let line = line.or(outcome.output.lines().next()).unwrap_or("it said nothing");
            let line = line.trim_start_matches("error: ").trim_start_matches("fatal: ");
            let code = match line {
                _ if line.starts_with("there is no repository")
                    || line.contains(" has no branch or commit ") =>
                {
                    ErrorCode::NotFound
                }
                _ if line.contains("is there already")
                    || line.contains("both sides changed")
                    || line.contains("in no commit") =>
                {
                    ErrorCode::Conflict
                }
                _ => ErrorCode::Failed,
            };
            return Err(CallError::new(code, line.chars().take(MAX_SAID).collect::<String>()));
        }
        end => end.to_string(),
    };
    Err(CallError::failed(format!("git {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_git_says_is_read(lines in prop::collection::vec("(# branch\\.(oid|head|upstream|ab)|[12u?!]|name|.{0,5})( .{0,12}){0,11}", 0..9)) {
            let text = lines.join("\n");
            let status = Status::read("x", &text);
            prop_assert!(status.files.len() <= lines.len() + text.matches('\n').count());
            let branches: Vec<Branch> = text.lines().filter_map(Branch::read).collect();
            prop_assert_eq!(difference(&branches, &branches), "");
        }
    }

    #[test]
    fn what_git_says_of_a_repository_is_read() {
        let text = "# branch.oid 1234\n# branch.head main\n# branch.upstream origin/main\n# branch.ab +2 -3\n\
            1 .M N... 100644 100644 100644 aa bb a file\n2 R. N... 100644 100644 100644 aa bb R100 new name\told\n\
            u UU N... 100644 100644 100644 100644 aa bb cc both\n? unknown one\n! ignored\ngarbage\n";
        let status = Status::read("site", text);
        assert_eq!((status.branch.as_deref(), status.commit.as_deref()), (Some("main"), Some("1234")));
        assert_eq!((status.follows.as_deref(), status.ahead, status.behind), (Some("origin/main"), 2, 3));
        assert_eq!(status.files, [".M a file", "R. new name <- old", "UU both", "?? unknown one"]);
        assert!(!status.is_clean());
        let new = Status::read("x", "# branch.oid (initial)\n# branch.head (detached)\n? x\n");
        assert_eq!((new.branch.as_ref(), new.commit.as_ref(), new.is_clean()), (None, None, true));
        let many = "? x\n".repeat(MOST_FILES + 2);
        assert_eq!(Status::read("x", &many).files_more, 2);
    }

    #[test]
    fn branches_of_others_come_back_as_they_were() {
        let read = |lines: &str| -> Vec<Branch> { lines.lines().filter_map(Branch::read).collect() };
        let then = read(
            "refs/heads/main aa 5 [] first line of all\nrefs/remotes/origin/HEAD aa 5 [refs/remotes/origin/main] x\n\
             refs/remotes/origin/main aa 5 [] x\nrefs/remotes/origin/old bb 5 []",
        );
        assert_eq!(then.len(), 3);
        assert_eq!((then[0].name.as_str(), then[0].subject.as_str()), ("main", "first line of all"));
        let now = read(
            "refs/heads/main aa 5 [] x\nrefs/remotes/origin/main cc 5 [] x\nrefs/remotes/origin/new dd 5 [] x",
        );
        let lines = "delete refs/remotes/origin/new\nupdate refs/remotes/origin/main aa\nupdate refs/remotes/origin/old bb";
        assert_eq!(difference(&now, &then), lines);
        assert_eq!(difference(&then, &then), "");
    }

    #[test]
    fn names_are_names_and_revisions_no_options() {
        for good in ["site", "a.b_c-1", "0"] {
            Repository::named(good).expect(good);
        }
        for bad in ["", ".git", "-x", "../x", "a/b", "a b", "ä", "x.part", "a\n", &"a".repeat(101)] {
            Repository::named(bad).expect_err(bad);
        }
        for good in ["main", "origin/main", "v1.0", "HEAD", "0123abc"] {
            check_revision(good).expect(good);
        }
        for bad in ["", "-x", "a..b", "HEAD~1", "@{-1}", "a b", "a:b", "a\n", "*"] {
            check_revision(bad).expect_err(bad);
        }
    }
}
