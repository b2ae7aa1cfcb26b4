//! What the machine can do, and having it done.

use super::ask::undo_line;
use super::{Machine, reason};
use crate::api::{PATIENCE, decode};
use crate::args;
use crate::cli;
use crate::error::{Exit, Failure, Outcome};
use crate::family;
use crate::output::{Output, Tone, clean, clean_line, span};
use crate::value;
use aios_abi::schema;
use aios_abi::tool::Effect;
use aios_abi::who::Role;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// The longest JSON that is read from standard input; the console takes less.
const LONGEST: u64 = 1024 * 1024;
/// How long taking a change back may take; the console stops waiting before.
const UNDO: Duration = Duration::from_secs(130);

/// How long several changes may take together.
const TOGETHER: Duration = Duration::from_secs(600);

/// A tool as the API shows it.
#[derive(Debug, Deserialize)]
struct Tool {
    name: String,
    summary: String,
    effect: Effect,
    touches: Vec<String>,
    role: Role,
    timeout_ms: u32,
    args_schema: Value,
    result_schema: Value,
    examples: Vec<Example>,
}

#[derive(Debug, Deserialize)]
struct Example {
    ask: String,
    args: Value,
}

#[derive(Debug, Deserialize)]
struct Done {
    result: Value,
    summary: String,
    audit: u64,
    undoable: bool,
    #[serde(default)]
    repeated: bool,
}

pub(super) async fn run(machine: &Machine, command: cli::Tools, output: &Output) -> Outcome {
    match command {
        cli::Tools::List => list(machine, output).await,
        cli::Tools::Show { name } => show(machine, &name, output).await,
        cli::Tools::Call(call) => self::call(machine, call, output).await,
        cli::Tools::Together { file, why, idempotency_key } => {
            together(machine, &file, why, idempotency_key, output).await
        }
    }
}

/// The machine's list, which is kept for the command line.
pub(super) async fn list_of(machine: &Machine) -> Outcome<Value> {
    let list = machine.api.get(&["tools"]).await?;
    // Completions wait until the place can be written; this command does not.
    let _ = family::keep(&machine.name, &list);
    Ok(list)
}

async fn list(machine: &Machine, output: &Output) -> Outcome {
    let json = list_of(machine).await?;
    if output.is_json() {
        return output.json(&json);
    }
    let tools: Vec<Tool> = decode(&json)?;
    let rows = tools.iter().map(|tool| vec![tool.name.as_str(), effect(tool.effect), &tool.summary]);
    output.table(&["TOOL", "EFFECT", "WHAT IT DOES"], rows)
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "looks",
        Effect::Reversible => "changes",
        Effect::Irreversible => "for good",
    }
}

/// The entry of a tool in the API's list.
fn find<'a>(list: &'a Value, name: &str) -> Outcome<&'a Value> {
    let tools = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let names = || tools.iter().filter_map(|tool| tool["name"].as_str());
    tools.iter().find(|tool| tool["name"] == name).ok_or_else(|| {
        let family = |text: &str| text.split('.').next().unwrap_or("").to_owned();
        let near: Vec<&str> = names().filter(|known| family(known) == family(name)).collect();
        let cure = match near.is_empty() {
            true => "`aiosctl tools list` shows them".to_owned(),
            false => format!("there are {}", near.join(", ")),
        };
        Failure::not_found(format!("there is no tool {name:?}; {cure}"))
    })
}

/// One tool; what is not there is looked for among those that have a name like it.
pub(super) async fn one(machine: &Machine, name: &str) -> Outcome<Value> {
    match machine.api.get(&["tools", name]).await {
        Err(failure) if failure.exit == Exit::NotFound => find(&list_of(machine).await?, name).cloned(),
        other => other,
    }
}

async fn show(machine: &Machine, name: &str, output: &Output) -> Outcome {
    let json = one(machine, name).await?;
    if output.is_json() {
        return output.json(&json);
    }
    let tool: Tool = decode(&json)?;
    output.line(output.tone(Tone::Strong, clean_line(&tool.name)))?;
    output.line(clean(&tool.summary))?;
    let what = match tool.effect {
        Effect::Read => "looks only",
        Effect::Reversible => "changes something, and can take it back",
        Effect::Irreversible => "changes something for good",
    };
    output.line(format!(
        "\n{what}; least role {}; stopped after {}",
        tool.role.as_str(),
        span(tool.timeout_ms.into())
    ))?;
    if !tool.touches.is_empty() {
        output.line(format!("touches {}", clean_line(&tool.touches.join(", "))))?;
    }
    let arguments = args::arguments(&tool.args_schema);
    if !arguments.is_empty() {
        output.text("\n")?;
        let needed = |required| if required { "yes" } else { "" };
        let rows = arguments.into_iter().map(|argument| {
            let help = argument.help.replace('\n', " ");
            vec![argument.name, needed(argument.required).to_owned(), argument.kind.words(), help]
        });
        output.table(&["ARGUMENT", "NEEDED", "TYPE", "WHAT IT IS"], rows)?;
    }
    for example in &tool.examples {
        let why = if tool.effect == Effect::Read { "" } else { &example.ask };
        let line = args::line(&tool.name, Some(&tool.args_schema), &example.args, why, None);
        output.line(format!("\n{}\n  {line}", clean_line(&example.ask)))?;
    }
    Ok(())
}

async fn call(machine: &Machine, call: cli::Call, output: &Output) -> Outcome {
    let tool: Tool = decode(&one(machine, &call.name).await?)?;
    let args = match &call.object {
        Some(text) => object(text)?,
        None => args::parse(&tool.name, &tool.args_schema, &call.args)?,
    };
    let looks = tool.effect == Effect::Read || call.dry_run;
    let why = if looks { call.why.unwrap_or_default() } else { reason(call.why)? };
    let mut body = json!({ "args": args, "why": why, "dry_run": call.dry_run });
    if call.asked {
        body[schema::ASKED] = true.into();
    }
    if let Some(key) = call.idempotency_key {
        body[schema::KEY] = key.into();
    }
    // The tool's own time first, so that the machine's sentence about it arrives.
    let patience = PATIENCE + Duration::from_millis(tool.timeout_ms.into());
    let answer = machine.api.post(&["tools", &tool.name], &body, patience).await?;
    // A dry run's result is the same for all tools.
    let schema = if call.dry_run { &Value::Null } else { &tool.result_schema };
    done(machine, &answer, schema, output)
}

async fn together(
    machine: &Machine,
    file: &Path,
    why: Option<String>,
    key: Option<String>,
    output: &Output,
) -> Outcome {
    let mut text = String::new();
    match file.to_str() {
        Some("-") => std::io::stdin().take(LONGEST).read_to_string(&mut text)?,
        _ => std::fs::File::open(file)
            .and_then(|file| file.take(LONGEST).read_to_string(&mut text))
            .map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?,
    };
    let steps: Vec<Value> = serde_json::from_str(&text).map_err(|e| {
        let example = r#"[{"tool": "fs.mkdir", "args": {"path": "/data/x"}}]"#;
        Failure::usage(format!("{} is no JSON list: {e}; write it as {example}", file.display()))
    })?;
    let body = json!({ "steps": steps, "why": reason(why)?, schema::KEY: key });
    let answer = machine.api.post(&["together"], &body, TOGETHER).await?;
    done(machine, &answer, &Value::Null, output)
}

fn object(text: &str) -> Outcome<Map<String, Value>> {
    let mut piped = String::new();
    let text = match text {
        "-" => {
            std::io::stdin().take(LONGEST).read_to_string(&mut piped)?;
            &piped
        }
        text => text,
    };
    serde_json::from_str(text).map_err(|e| {
        Failure::usage(format!("--args is no JSON object: {e}; give one such as '{{\"key\": \"value\"}}'"))
    })
}

pub(super) async fn undo(machine: &Machine, audit: u64, why: Option<String>, output: &Output) -> Outcome {
    let body = json!({ "why": reason(why)? });
    let answer = machine.api.post(&["undo", &audit.to_string()], &body, UNDO).await?;
    done(machine, &answer, &Value::Null, output)
}

/// Print what a call came to; the schema says what its result's members are.
pub(super) fn done(machine: &Machine, answer: &Value, schema: &Value, output: &Output) -> Outcome {
    if output.is_json() {
        return output.json(answer);
    }
    let done: Done = decode(answer)?;
    output.line(clean(&done.summary))?;
    if done.repeated {
        output.line("it was made before, under the same key, and not again")?;
    }
    let news = value::beyond(done.result, &done.summary);
    value::print(&value::with_sizes(&news, schema), output)?;
    output.line(output.tone(Tone::Faint, format!("audit record {}", done.audit)))?;
    match done.undoable {
        true => output.line(format!("take it back: {}", undo_line(machine, done.audit))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn a_tool_that_is_not_there_is_answered_with_its_neighbours() {
        let list = json!([{"name": "fs.read"}, {"name": "fs.write"}, {"name": "net.resolve"}]);
        assert_eq!(find(&list, "fs.read"), Ok(&json!({"name": "fs.read"})));
        let failure = find(&list, "fs.raed").expect_err("not there");
        assert_eq!(failure.exit, Exit::NotFound);
        assert!(failure.message.contains("fs.read, fs.write"), "{failure}");
        assert!(find(&list, "x").expect_err("not there").message.contains("tools list"));
    }

    #[test]
    fn arguments_may_be_given_as_one_object() {
        assert_eq!(object(r#"{"a": 1}"#).map(Value::Object), Ok(json!({"a": 1})));
        assert_eq!(object("[1]").expect_err("no object").exit, Exit::Usage);
    }
}
