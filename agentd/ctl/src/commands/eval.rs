//! How well the machine understands: each question of a file, and whether the right tool with the right arguments is found.

use super::{Machine, ask};
use crate::api::decode;
use crate::args;
use crate::cli::Eval;
use crate::error::{Failure, Outcome};
use crate::output::Output;
use aios_abi::infer::Usage;
use aios_abi::schema::said;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

/// Pairs of tools that are taken for each other that people are shown.
const PAIRS: usize = 10;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    ask: String,
    /// None: no tool fits.
    tool: Option<String>,
    #[serde(default)]
    args: Map<String, Value>,
}

/// What the machine makes of a question.
#[derive(Debug, Deserialize)]
struct Understood {
    calls: Vec<Meant>,
    /// Why nothing is called, though a tool may be meant.
    problem: Option<String>,
    decider: String,
    usage: Usage,
    ms: u32,
}

#[derive(Debug, Deserialize)]
struct Meant {
    tool: String,
    args: Value,
}

/// What one question came to.
#[derive(Debug)]
struct Judged {
    case: Case,
    understood: Understood,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    /// Every call fits its tool's schema.
    valid: bool,
    tool: bool,
    args: bool,
}

/// What several questions came to.
#[derive(Debug, Serialize)]
struct Score {
    questions: usize,
    valid_percent: f64,
    right_tool_percent: f64,
    right_tool_and_arguments_percent: f64,
    tokens: f64,
    median_ms: u32,
}

pub(super) async fn run(machine: &Machine, command: Eval, output: &Output) -> Outcome {
    let Eval::Tools { file, wrong } = command;
    let cases = read(&file)?;
    let list = super::tools::list_of(machine).await?;
    let schemas: BTreeMap<&str, &Value> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| Some((tool["name"].as_str()?, &tool["args_schema"])))
        .collect();
    let unknown =
        cases.iter().filter_map(|case| case.tool.as_deref()).find(|tool| !schemas.contains_key(tool));
    if let Some(unknown) = unknown {
        return Err(Failure::not_found(format!(
            "{}: this machine has no tool {unknown:?}; `aiosctl tools list` shows all",
            file.display()
        )));
    }
    let progress = std::io::stderr().is_terminal();
    let all = cases.len();
    let mut judged = Vec::new();
    for case in cases {
        let understood: Understood = decode(&ask::meaning(machine, &case.ask).await?)?;
        let verdict = judge(&case, &understood, &schemas);
        judged.push(Judged { case, understood, verdict });
        if progress {
            eprint!("\r{} of {all} questions", judged.len());
        }
    }
    if progress {
        eprintln!();
    }
    match output.is_json() {
        true => output.json(&document_of(&judged)),
        false => tell(&judged, wrong, output),
    }
}

fn read(file: &Path) -> Outcome<Vec<Case>> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::usage(format!("{} cannot be read: {e}", file.display())))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let cases: Vec<Case> = lines
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|e| {
                Failure::usage(format!(
                    "{}:{}: {e}; a line is {{\"ask\": \"…\", \"tool\": \"fs.read\", \"args\": {{}}}}",
                    file.display(),
                    number + 1
                ))
            })
        })
        .collect::<Outcome<_>>()?;
    match cases.is_empty() {
        true => Err(Failure::usage(format!("{} holds no question", file.display()))),
        false => Ok(cases),
    }
}

fn judge(case: &Case, understood: &Understood, schemas: &BTreeMap<&str, &Value>) -> Verdict {
    let schema = |tool: &str| schemas.get(tool).copied().unwrap_or(&Value::Null);
    let calls = &understood.calls;
    let is_call = understood.problem.is_none();
    // What is asked back for is no call.
    let valid = !is_call || calls.iter().all(|call| args::fits(schema(&call.tool), &call.args));
    match (&case.tool, calls.as_slice()) {
        (None, []) => Verdict { valid, tool: true, args: true },
        (Some(wanted), [only]) if only.tool == *wanted => {
            let wanted = said(schema(wanted), &Value::Object(case.args.clone()));
            let same = wanted == said(schema(&only.tool), &only.args);
            Verdict { valid, tool: true, args: is_call && same }
        }
        _ => Verdict { valid, tool: false, args: false },
    }
}

fn score<'a>(judged: impl Iterator<Item = &'a Judged> + Clone) -> Score {
    let questions = judged.clone().count();
    let share = |is: fn(&Verdict) -> bool| {
        100.0 * judged.clone().filter(|one| is(&one.verdict)).count() as f64 / questions.max(1) as f64
    };
    let tokens = |one: &Judged| {
        let Usage { prompt_tokens, generated_tokens, .. } = one.understood.usage;
        u64::from(prompt_tokens) + u64::from(generated_tokens)
    };
    let mut times: Vec<u32> = judged.clone().map(|one| one.understood.ms).collect();
    times.sort_unstable();
    Score {
        questions,
        valid_percent: share(|verdict| verdict.valid),
        right_tool_percent: share(|verdict| verdict.tool),
        right_tool_and_arguments_percent: share(|verdict| verdict.args),
        tokens: judged.map(tokens).sum::<u64>() as f64 / questions.max(1) as f64,
        median_ms: times.get(times.len() / 2).copied().unwrap_or(0),
    }
}

/// Each who decided, and all together last.
fn scores(judged: &[Judged]) -> Vec<(&str, Score)> {
    let deciders: std::collections::BTreeSet<&str> =
        judged.iter().map(|one| one.understood.decider.as_str()).collect();
    let each = deciders
        .into_iter()
        .map(|by| (by, score(judged.iter().filter(move |one| one.understood.decider == by))));
    each.chain([("all", score(judged.iter()))]).collect()
}

/// Which tool was taken for which, and how often; most often first.
fn confused(judged: &[Judged]) -> Vec<(String, String, usize)> {
    let mut pairs: BTreeMap<(String, String), usize> = BTreeMap::new();
    for one in judged.iter().filter(|one| !one.verdict.tool) {
        *pairs.entry((wanted(one), found(one))).or_default() += 1;
    }
    let mut pairs: Vec<_> =
        pairs.into_iter().map(|((wanted, found), count)| (wanted, found, count)).collect();
    pairs.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.cmp(b)));
    pairs
}

fn wanted(one: &Judged) -> String {
    one.case.tool.clone().unwrap_or_else(|| "no tool".into())
}

fn found(one: &Judged) -> String {
    match one.understood.calls.as_slice() {
        [] => "no tool".into(),
        calls => calls.iter().map(|call| call.tool.as_str()).collect::<Vec<_>>().join(" + "),
    }
}

fn document_of(judged: &[Judged]) -> Value {
    let scores: Map<String, Value> =
        scores(judged).into_iter().map(|(by, score)| (by.to_owned(), json!(score))).collect();
    let pairs: Vec<Value> = confused(judged)
        .into_iter()
        .map(|(wanted, found, count)| json!({ "wanted": wanted, "found": found, "count": count }))
        .collect();
    let wrong: Vec<Value> = judged
        .iter()
        .filter(|one| !one.verdict.args)
        .map(|one| {
            let calls = one.understood.calls.iter();
            let calls: Vec<Value> =
                calls.map(|call| json!({ "tool": call.tool, "args": call.args })).collect();
            json!({ "case": one.case, "calls": calls, "decider": one.understood.decider })
        })
        .collect();
    json!({ "scores": scores, "confused": pairs, "wrong": wrong })
}

fn tell(judged: &[Judged], wrong: bool, output: &Output) -> Outcome {
    let rows = scores(judged).into_iter().map(|(by, score)| {
        vec![
            by.to_owned(),
            score.questions.to_string(),
            format!("{:.1}", score.valid_percent),
            format!("{:.1}", score.right_tool_percent),
            format!("{:.1}", score.right_tool_and_arguments_percent),
            format!("{:.0}", score.tokens),
            score.median_ms.to_string(),
        ]
    });
    output
        .table(&["DECIDED BY", "QUESTIONS", "VALID %", "TOOL %", "AND ARGUMENTS %", "TOKENS", "MS"], rows)?;
    let pairs = confused(judged);
    if !pairs.is_empty() {
        output.text("\n")?;
        let rows = pairs.into_iter().take(PAIRS).map(|(a, b, count)| vec![a, b, count.to_string()]);
        output.table(&["WANTED", "FOUND", "TIMES"], rows)?;
    }
    if wrong {
        output.text("\n")?;
        let rows = judged.iter().filter(|one| !one.verdict.args).map(|one| {
            let calls = one.understood.calls.iter().map(|call| format!("{} {}", call.tool, call.args));
            let wanted = format!("{} {}", wanted(one), Value::Object(one.case.args.clone()));
            vec![one.case.ask.clone(), wanted, calls.collect::<Vec<_>>().join(" + ")]
        });
        output.table(&["QUESTION", "WANTED", "FOUND"], rows)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(tool: Option<&str>, wanted: Value, calls: &[(&str, Value)]) -> Verdict {
        verdict_with(tool, wanted, calls, None)
    }

    fn verdict_with(
        tool: Option<&str>,
        wanted: Value,
        calls: &[(&str, Value)],
        problem: Option<&str>,
    ) -> Verdict {
        let schema = json!({
            "properties": {
                "path": { "type": "string" },
                "lines": { "type": "integer", "minimum": 1, "default": 20 },
            },
            "required": ["path"],
        });
        let schemas = [("fs.tail", &schema), ("fs.read", &schema)].into();
        let args = wanted.as_object().cloned().unwrap_or_default();
        let case = Case { ask: "x".into(), tool: tool.map(str::to_owned), args };
        let calls: Vec<Meant> =
            calls.iter().map(|(tool, args)| Meant { tool: (*tool).into(), args: args.clone() }).collect();
        let usage = Usage::default();
        let problem = problem.map(str::to_owned);
        judge(&case, &Understood { calls, problem, decider: "rules".into(), usage, ms: 0 }, &schemas)
    }

    #[test]
    fn a_call_is_right_with_the_same_arguments_whether_defaults_are_said_or_not() {
        let (path, more) = (json!({ "path": "/a" }), json!({ "path": "/a", "lines": 20 }));
        let right = Verdict { valid: true, tool: true, args: true };
        assert_eq!(verdict(Some("fs.tail"), path.clone(), &[("fs.tail", more)]), right);
        let other = json!({ "path": "/a", "lines": 5 });
        assert_eq!(
            verdict(Some("fs.tail"), path.clone(), &[("fs.tail", other)]),
            Verdict { args: false, ..right }
        );
        let none = Verdict { valid: true, tool: false, args: false };
        assert_eq!(verdict(Some("fs.tail"), path.clone(), &[("fs.read", path.clone())]), none);
        assert_eq!(verdict(Some("fs.tail"), path.clone(), &[]), none);
        assert_eq!(verdict(None, json!({}), &[]), right);
        assert_eq!(verdict(None, json!({}), &[("fs.read", path)]), none);
    }

    #[test]
    fn a_tool_whose_arguments_are_asked_for_is_right_but_no_call() {
        let asked_back = verdict_with(
            Some("fs.tail"),
            json!({ "path": "/a" }),
            &[("fs.tail", json!({}))],
            Some("path is not clear"),
        );
        assert_eq!(asked_back, Verdict { valid: true, tool: true, args: false });
    }

    #[test]
    fn what_no_schema_allows_is_not_valid() {
        for args in [
            json!({}),
            json!({ "path": 1 }),
            json!({ "path": "/a", "lines": 0 }),
            json!({ "path": "/a", "x": 1 }),
        ] {
            assert!(!verdict(Some("fs.tail"), json!({}), &[("fs.tail", args.clone())]).valid, "{args}");
        }
    }
}
