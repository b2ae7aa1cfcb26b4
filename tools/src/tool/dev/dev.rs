//! What the tools share that build and test repositories: what a build or a test came to.

use crate::ctx::Ctx;
use crate::repository::Repository;
use aios_abi::CallError;
use aios_abi::run::RunOutcome;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Failures that are told of at most.
const MOST_FAILURES: usize = 50;
/// Characters of one of them.
const MAX_LINE: usize = 400;
/// Bytes of the end of the output that are told.
const TAIL: usize = 16 * 1024;
/// The exit status that says that nothing was built or tested.
const NOT_BEGUN: i32 = 125;

/// Which commit of which repository.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the repository, which is a folder in `/data/dev`.
    repository: String,
    /// Branch, tag or commit; without it what is checked out. Changes that are in no commit are not in it.
    revision: Option<String>,
}

/// What a build or a test came to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made {
    /// Name of the repository.
    repository: String,
    /// The commit.
    commit: String,
    /// What was run, which the files of the repository decide: `make test` where there is a Makefile.
    ran: String,
    /// It ended well.
    pub(crate) passed: bool,
    /// Its exit status; none when it was killed.
    exit: Option<i32>,
    /// How it ended, in words.
    end: String,
    /// What failed, as the programs say it: lines of compilers and of tests, with their places.
    pub(crate) failures: Vec<String>,
    /// Failures more than these.
    failures_more: usize,
    /// The end of what it wrote.
    pub(crate) output: String,
    /// Bytes of output before that, which are left out.
    omitted_bytes: u64,
    /// Milliseconds that it took.
    duration_ms: u64,
}

/// Build or test it.
pub(crate) fn make(ctx: &Ctx, what: &str, args: Args) -> Result<Made, CallError> {
    let repository = Repository::named(&args.repository)?;
    let commit = repository.commit(ctx, args.revision.as_deref().unwrap_or("HEAD"))?.id;
    let outcome = repository.make(ctx, what, &commit)?;
    read(args.repository, commit, outcome)
}

fn read(repository: String, commit: String, outcome: RunOutcome) -> Result<Made, CallError> {
    let RunOutcome { end, output, omitted_bytes, duration_ms } = outcome;
    let (first, rest) = output.split_once('\n').unwrap_or((&output, ""));
    let ran = first.strip_prefix("runs: ");
    let (exit, end) = (end.status(), end.to_string());
    let Some(ran) = ran.filter(|_| exit != Some(NOT_BEGUN)) else {
        let why = output.lines().find_map(|line| line.strip_prefix("error: "));
        let why = why.or(output.lines().next_back()).unwrap_or(&end);
        return Err(CallError::failed(why.chars().take(MAX_LINE).collect::<String>()));
    };
    let all = failures(rest);
    let failures_more = all.len().saturating_sub(MOST_FAILURES);
    let mut begin = rest.len().saturating_sub(TAIL);
    while !rest.is_char_boundary(begin) {
        begin += 1;
    }
    let (before, tail) = rest.split_at(begin);
    Ok(Made {
        repository,
        commit,
        ran: ran.to_owned(),
        passed: exit == Some(0),
        exit,
        end,
        failures: all.into_iter().take(MOST_FAILURES).collect(),
        failures_more,
        output: tail.to_owned(),
        omitted_bytes: omitted_bytes.saturating_add(before.len() as u64),
        duration_ms,
    })
}

/// The lines that name a failure, as compilers, make and the usual test programs write them. They are data: nothing is done
/// with them but to show them.
fn failures(output: &str) -> Vec<String> {
    let names_one = |line: &&str| {
        let text = line.trim_start();
        [": error: ", ": fatal error: ", ": undefined reference to "].iter().any(|mark| text.contains(mark))
            || [
                "error: ",
                "error[",
                "--> ",
                "not ok ",
                "--- FAIL: ",
                "FAIL: ",
                "ERROR: ",
                "AssertionError",
                "panicked at ",
            ]
            .iter()
            .any(|mark| text.starts_with(mark))
            || text.starts_with("test ") && text.ends_with("FAILED")
            || text.starts_with("make") && text.contains(": *** [")
            || text.starts_with("thread '") && text.contains("panicked at ")
    };
    output.lines().filter(names_one).map(|line| line.trim().chars().take(MAX_LINE).collect()).collect()
}

/// The result in one line.
pub(crate) fn summary(made: &Made) -> String {
    let Made { repository, ran, passed, end, failures, duration_ms, .. } = made;
    let commit: String = made.commit.chars().take(10).collect();
    match (passed, failures.first()) {
        (true, _) => format!("{repository} at {commit}: {ran} passed after {duration_ms} ms"),
        (false, Some(first)) => format!("{repository} at {commit}: {ran} {end}: {first}"),
        (false, None) => format!("{repository} at {commit}: {ran} {end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::within;
    use crate::declaration::Started;
    use crate::recipe::Recipe;
    use aios_abi::ErrorCode;
    use aios_abi::run::RunEnd;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::path::Path;
    use std::process::Command;

    /// A repository of somebody else's, and a clone of it.
    struct Place {
        ctx: Ctx,
        folder: tempfile::TempDir,
        commits: u32,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let (dev, scratch, upload) =
                (folder.path().join("dev"), folder.path().join("tmp"), folder.path().join("upload"));
            for made in [&dev, &scratch, &upload] {
                std::fs::create_dir(made).expect("made");
            }
            let programs =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/extensions/dev/root/usr/lib/dev");
            // Where things are here is in one of these places itself, which comes first.
            let places: &[(&str, &Path)] =
                &[("/tmp", &scratch), ("/data/dev", &dev), ("/usr/lib/dev", &programs)];
            let ctx = within(Recipe::new("dev", places, None));
            let mut place = Self { ctx, folder, commits: 0 };
            place.git(&["init", "--quiet", "--initial-branch", "main"]);
            place.commit("Makefile", "all:\n\ttrue\ntest:\n\t@echo 'not ok 1 - it adds'; exit 1\n");
            place.git(&["branch", "other"]);
            place
        }

        /// Somebody else at work.
        fn git(&self, words: &[&str]) {
            let folder = self.folder.path().join("upload/site");
            std::fs::create_dir_all(&folder).expect("made");
            let mut git = Command::new("git");
            git.args(["-c", "user.name=x", "-c", "user.email=x@localhost"]).args(words).current_dir(folder);
            let output = git.output().expect("scripts/deps.sh test");
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }

        fn commit(&mut self, file: &str, text: &str) {
            self.commits += 1;
            std::fs::write(self.folder.path().join("upload/site").join(file), text).expect("written");
            self.git(&["add", "--all"]);
            self.git(&["commit", "--quiet", "-m", &format!("commit {}", self.commits)]);
        }

        /// Call a tool; what it kept for its undo comes with the result.
        fn call(&self, tool: &str, args: &Value) -> Result<(Value, Option<crate::undo::Kept>), CallError> {
            let tool = crate::tool::by_name(tool).expect("a tool");
            let read = |done: crate::declaration::Finished| serde_json::from_str(&done.result).expect("JSON");
            match tool.code.start(&self.ctx, &args.to_string())? {
                Started::Done(done) => Ok((read(done), None)),
                Started::Change(mut change) => {
                    let kept = change.save();
                    Ok((read(change.make(&self.ctx)?), kept))
                }
            }
        }

        fn look(&self, tool: &str) -> Value {
            self.call(tool, &json!({ "repository": "site" })).expect("looks").0
        }

        /// All that can be seen of the clone.
        fn seen(&self) -> (Value, Value, Vec<(String, String)>) {
            let folder = self.folder.path().join("dev/site");
            let files = std::fs::read_dir(&folder).expect("reads").flatten();
            let files = files.filter(|entry| entry.path().is_file());
            let text = |path: &Path| std::fs::read_to_string(path).expect("text");
            let mut files: Vec<_> = files
                .map(|entry| (entry.file_name().to_string_lossy().into_owned(), text(&entry.path())))
                .collect();
            files.sort();
            (self.look("dev.status"), self.look("dev.branches"), files)
        }

        fn undo(&self, tool: &str, kept: &crate::undo::Kept) -> Result<String, CallError> {
            crate::tool::by_name(tool).expect("a tool").code.undo(&self.ctx, kept)
        }

        fn clone(&self) -> crate::undo::Kept {
            // The tool takes paths of the appliance; the house knows where they are here.
            let source = self.folder.path().join("upload/site").display().to_string();
            let repository = Repository::named("site").expect("a name");
            repository.clone_from(&self.ctx, &source, "").expect("cloned");
            crate::undo::Kept::new(&json!({ "repository": repository }), None)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
        #[test]
        fn each_change_of_a_repository_is_taken_back(steps in prop::collection::vec(0..5_u8, 1..6)) {
            let mut place = Place::new();
            let cloned = place.clone();
            for (number, step) in steps.into_iter().enumerate() {
                if step < 2 {
                    place.commit(&format!("file{number}"), "text\n");
                }
                let (tool, args) = match step {
                    0 | 1 => ("dev.fetch", json!({ "repository": "site" })),
                    2 => ("dev.switch", json!({ "repository": "site", "branch": format!("new{number}") })),
                    3 => ("dev.switch", json!({ "repository": "site", "branch": "other" })),
                    _ => ("dev.merge", json!({ "repository": "site", "revision": "origin/main" })),
                };
                let before = place.seen();
                let kept = match place.call(tool, &args) {
                    Ok((_, kept)) => kept.expect("is kept"),
                    // It is there already.
                    Err(error) => {
                        prop_assert_eq!(error.code, ErrorCode::Conflict);
                        continue;
                    }
                };
                place.undo(tool, &kept).expect("is taken back");
                prop_assert_eq!(place.seen(), before);
                place.call(tool, &args).expect("is made again");
            }
            place.undo("dev.clone", &cloned).expect("is taken back");
            prop_assert!(!place.folder.path().join("dev/site").exists());
        }
    }

    #[test]
    fn what_both_sides_changed_is_not_merged_and_work_is_not_lost() {
        let mut place = Place::new();
        let cloned = place.clone();
        let args = |more: Value| {
            let mut args = json!({ "repository": "site" });
            args.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            args
        };
        place.commit("Makefile", "all:\n\tfalse\n");
        place.git(&["switch", "--quiet", "other"]);
        place.commit("Makefile", "all:\n\techo other\n");
        place.git(&["switch", "--quiet", "main"]);
        place.call("dev.fetch", &args(json!({}))).expect("fetched");
        let (_, merged) =
            place.call("dev.merge", &args(json!({ "revision": "origin/main" }))).expect("merged");
        let before = place.seen();
        let both = place
            .call("dev.merge", &args(json!({ "revision": "origin/other" })))
            .expect_err("both changed it");
        assert_eq!(
            (both.code, both.message.as_str()),
            (ErrorCode::Conflict, "both sides changed the same lines of: Makefile")
        );
        assert_eq!(place.seen(), before);

        // What is in no commit stays where it is.
        std::fs::write(place.folder.path().join("dev/site/Makefile"), "all:\n").expect("written");
        let dirty = place.undo("dev.merge", &merged.expect("is kept")).expect_err("a change is in the way");
        assert_eq!(dirty.code, ErrorCode::Conflict);
        let dirty = place.undo("dev.clone", &cloned).expect_err("a change is in the way");
        assert!(dirty.message.contains("no commit"), "{dirty}");
        let dirty = place.call("dev.remove", &args(json!({}))).expect_err("a change would be lost");
        assert!(dirty.message.contains("set discard"), "{dirty}");
        place.call("dev.remove", &args(json!({ "discard": true }))).expect("removed");
        let gone = place.call("dev.status", &args(json!({}))).expect_err("is gone");
        assert_eq!((gone.code, gone.message.as_str()), (ErrorCode::NotFound, "there is no repository site"));
    }

    #[test]
    fn a_commit_is_built_and_tested_and_failures_are_told() {
        let place = Place::new();
        place.clone();
        let listed = place.call("dev.list", &json!({})).expect("lists").0;
        assert_eq!(
            (&listed["repositories"][0]["repository"], listed["repositories"][0]["branch"].as_str()),
            (&json!("site"), Some("main"))
        );
        let built = place.look("dev.build");
        assert_eq!((&built["passed"], &built["ran"]), (&json!(true), &json!("make")), "{built}");
        // The sandbox is thrown away; here nobody does.
        std::fs::remove_dir_all(place.folder.path().join("tmp/work")).expect("removed");
        let tested = place.look("dev.test");
        assert_eq!(
            (&tested["passed"], &tested["failures"][0]),
            (&json!(false), &json!("not ok 1 - it adds")),
            "{tested}"
        );
        assert_eq!(place.look("dev.status")["files"], json!([]));
    }

    fn outcome(end: RunEnd, output: &str) -> RunOutcome {
        RunOutcome { end, output: output.into(), omitted_bytes: 0, duration_ms: 5 }
    }

    #[test]
    fn failures_are_found_in_what_programs_say() {
        let output = "cc -c a.c\na.c:3:5: error: 'x' undeclared\n   --> src/main.rs:2:5\ntest tests::adds ... FAILED\n\
            test tests::fine ... ok\nok 1 - reads\nnot ok 2 - writes\n--- FAIL: TestX (0.00s)\nFAIL: test_a (t.T)\n\
            make: *** [Makefile:4: test] Error 1\nno error here\n";
        let found = failures(output);
        assert_eq!(found.len(), 7, "{found:?}");
        assert_eq!(found[0], "a.c:3:5: error: 'x' undeclared");
        assert_eq!(found[1], "--> src/main.rs:2:5");
    }

    #[test]
    fn what_did_not_begin_is_an_error_and_what_failed_is_a_result() {
        let read = |end, output: &str| read("site".into(), "0123456789abcdef".into(), outcome(end, output));
        let none =
            read(RunEnd::Exited(125), "error: it needs cargo, which this extension was built without\n");
        assert!(none.expect_err("nothing ran").message.contains("it needs cargo"));
        let failed = read(RunEnd::Exited(2), "runs: make test\nx\nmake: *** [Makefile:4: test] Error 1\n")
            .expect("a result");
        assert!(!failed.passed && failed.ran == "make test" && failed.failures.len() == 1, "{failed:?}");
        assert!(
            summary(&failed)
                .ends_with("make test exited with status 2: make: *** [Makefile:4: test] Error 1")
        );
        let passed = read(RunEnd::Exited(0), "runs: make\n").expect("a result");
        assert_eq!(summary(&passed), "site at 0123456789: make passed after 5 ms");
        let long = format!("runs: make\n{}", "ä".repeat(TAIL));
        let long = read(RunEnd::OutOfMemory, &long).expect("a result");
        assert_eq!((long.output.len(), long.omitted_bytes, long.exit), (TAIL, TAIL as u64, None));
    }
}
