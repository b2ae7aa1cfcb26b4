//! JSON inside JSON: the ABI carries arguments, results and schemas as JSON texts; the API shows them as
//! the values that they are.

use aios_abi::agent::{AskEvent, Understood};
use aios_abi::audit::Record;
use aios_abi::tool::{CallDone, ToolInfo};
use serde::Serialize;
use serde_json::Value;

/// Members whose text is JSON.
const TEXTS: [&str; 4] = ["args", "result", "args_schema", "result_schema"];

/// The value of a JSON text. An empty one is null; one that is no JSON stays a string, so that nothing
/// is hidden.
pub fn value(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A tool with its schemas and examples.
pub fn tool(info: &ToolInfo) -> Value {
    open(info)
}

/// An event of an answer.
pub fn event(event: &AskEvent) -> Value {
    open(event)
}

/// What a question means.
pub fn understood(understood: &Understood) -> Value {
    open(understood)
}

/// A record of the audit chain, for reading; the proof needs the original text of the arguments.
pub fn record(record: &Record) -> Value {
    open(record)
}

/// What a call came to.
pub fn done(done: &CallDone) -> Value {
    open(done)
}

/// Serialise, and open the JSON texts of the ABI's own members. What is inside them is foreign and is
/// not looked into: a result may have a member called `args` of its own.
fn open(item: &impl Serialize) -> Value {
    let mut tree = serde_json::to_value(item).unwrap_or(Value::Null);
    open_texts(&mut tree);
    tree
}

fn open_texts(tree: &mut Value) {
    match tree {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if TEXTS.contains(&name.as_str()) => *member = value(text),
                    other => open_texts(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(open_texts),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_abi::audit::{CallRecord, Entry, Outcome};
    use aios_abi::tool::{Effect, Example};
    use aios_abi::who::Role;
    use serde_json::json;

    #[test]
    fn an_event_shows_its_arguments_and_results_as_values() {
        let call = AskEvent::Call {
            index: 0,
            tool: "net.ping".into(),
            args: r#"{"host":"::1"}"#.into(),
            why: "asked".into(),
        };
        assert_eq!(
            event(&call),
            json!({"type": "call", "index": 0, "tool": "net.ping", "args": {"host": "::1"}, "why": "asked"})
        );
        let result = AskEvent::Result {
            index: 0,
            result: String::new(),
            summary: "no such host".into(),
            failed: true,
            audit: None,
            undoable: false,
            ms: 3,
        };
        assert_eq!(event(&result)["result"], Value::Null);
    }

    #[test]
    fn a_text_that_is_no_json_stays_a_text() {
        assert_eq!(value("{half"), json!("{half"));
        assert_eq!(value("\"word\""), json!("word"));
    }

    #[test]
    fn texts_inside_a_result_are_left_alone() {
        let call = CallDone {
            result: r#"{"args":"{}","result":"[1]"}"#.into(),
            summary: "s".into(),
            audit: 4,
            undoable: true,
            repeated: false,
        };
        assert_eq!(
            done(&call),
            json!({
                "result": {"args": "{}", "result": "[1]"}, "summary": "s", "audit": 4, "undoable": true,
                "repeated": false
            })
        );
    }

    #[test]
    fn tools_and_records_are_opened_deep_inside() {
        let info = ToolInfo {
            number: 1,
            name: "a.b".into(),
            summary: "s".into(),
            effect: Effect::Read,
            touches: vec![],
            outside: false,
            role: Role::Viewer,
            timeout_ms: 1,
            args_schema: r#"{"type":"object"}"#.into(),
            result_schema: "true".into(),
            examples: vec![Example { ask: "x".into(), args: "{}".into() }],
        };
        let tool = tool(&info);
        assert_eq!(tool["args_schema"], json!({"type": "object"}));
        assert_eq!(tool["result_schema"], json!(true));
        assert_eq!(tool["examples"][0]["args"], json!({}));

        let call = CallRecord {
            tool: "a.b".into(),
            effect: Effect::Read,
            args: r#"{"n":1}"#.into(),
            why: "w".into(),
            incident: None,
            by: "console".into(),
            person: None,
        };
        let entry = Entry::Call { call, outcome: Outcome::Interrupted };
        let record = record(&Record::new(None, 1, entry));
        assert_eq!(record["entry"]["Call"]["call"]["args"], json!({"n": 1}));
        assert_eq!(record["entry"]["Call"]["outcome"], json!("Interrupted"));
    }
}
