//! The evaluation's questions are what they say: of tools that exist, with arguments that the tools take, and each of them new.

use aios_words::schema::Arguments;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    ask: String,
    tool: Option<String>,
    args: Map<String, Value>,
}

const FILES: [(&str, &str); 4] = [
    ("train", include_str!("../evaluation/train.jsonl")),
    ("dev", include_str!("../evaluation/dev.jsonl")),
    ("test", include_str!("../evaluation/test.jsonl")),
    ("others", include_str!("../evaluation/others.jsonl")),
];

fn cases(text: &str) -> impl Iterator<Item = Case> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
}

/// A sentence without its values and its punctuation, as two people would write it who mean the same.
fn frame(ask: &str) -> String {
    let words = aios_words::mask(&ask.to_lowercase());
    let plain = |c: char| if c.is_alphanumeric() { c } else { ' ' };
    words.chars().map(plain).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_question_is_of_a_tool_that_takes_its_arguments() {
    for (name, text) in FILES {
        for Case { ask, tool, args } in cases(text) {
            let Some(tool) = tool else {
                assert!(args.is_empty(), "{name}: {ask}: arguments of no tool");
                continue;
            };
            let found = aios_toold::tool::all().iter().find(|found| found.name == tool);
            let found = found.unwrap_or_else(|| panic!("{name}: {ask}: there is no tool {tool}"));
            let schema = Arguments::parse(&found.code.args_schema()).expect("is understood");
            if let Err(why) = schema.check(&args) {
                panic!("{name}: {ask}: {why}");
            }
            let args = Value::Object(args).to_string();
            if let Err(why) = found.code.paths(&args) {
                panic!("{name}: {ask}: {args}: {why}");
            }
        }
    }
}

#[test]
fn no_question_is_an_example_of_a_tool_or_stands_in_two_files() {
    let tools = aios_toold::tool::all().iter().map(|tool| tool.info());
    let mut seen: HashMap<String, &str> = tools
        .flat_map(|info| info.examples.into_iter().map(|example| (frame(&example.ask), "the examples")))
        .collect();
    for (name, text) in FILES {
        for Case { ask, .. } in cases(text) {
            if let Some(before) = seen.insert(frame(&ask), name) {
                assert_eq!(before, name, "{ask} is in {name} and in {before}");
            }
        }
    }
}

#[test]
fn every_tool_is_asked_for_in_every_file() {
    let all: BTreeSet<&str> = aios_toold::tool::all().iter().map(|tool| tool.name).collect();
    for (name, text) in FILES {
        let asked: BTreeSet<String> = cases(text).filter_map(|case| case.tool).collect();
        let missing: Vec<_> = all.iter().filter(|tool| !asked.contains(**tool)).collect();
        assert!(missing.is_empty(), "{name} asks for none of {missing:?}");
    }
}
