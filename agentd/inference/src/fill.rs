//! The arguments of a chosen tool, taken from the words of a question.

use crate::ask::{Asker, Watch};
use crate::choose::adapted;
use crate::engine::Engine;
use crate::evidence;
use crate::grammar::{Grammar as Rules, Texts};
use crate::schema::{Arguments, Shape};
use aios_abi::CallError;
use aios_abi::engine::{Generate, Grammar, Message};
use aios_abi::infer::{ToolBrief, Usage};
use aios_words::Words;
use serde_json::{Map, Value};

/// Tokens of the arguments.
const MAX_TOKENS: u32 = 256;
/// Examples that the model reads.
const MAX_EXAMPLES: usize = 8;

/// Fill in the arguments: a JSON object that fits the tool's schema, and what it cost.
pub(crate) async fn fill(
    text: &Engine,
    asker: &Asker<'_>,
    question: &str,
    tool: &ToolBrief,
    known: &str,
) -> Result<(String, Usage), CallError> {
    let named = |e: &dyn std::fmt::Display| CallError::invalid(format!("{}: {e}", tool.name));
    let arguments = Arguments::parse(&tool.args_schema).map_err(|e| named(&e))?;
    let known: Map<String, Value> = serde_json::from_str(known)
        .map_err(|e| named(&format!("the arguments that are known are not a JSON object: {e}")))?;
    let words = Words::of(question);
    arguments.check_given(&known).map_err(|e| named(&e))?;
    // A model that has learned the tool reads the question alone and may give any argument; another one reads
    // examples, and is offered only what the question gives reason for.
    let adapted = text.snapshot().adapter.is_some_and(|adapter| adapter.tools.contains(&tool.name));
    let rules = match adapted {
        true => Rules::of(&arguments, &known, &words, Texts::Pieces),
        false => {
            let offered = evidence::narrowed(&arguments, &known, &tool.examples, &words);
            Rules::of(&offered, &known, &words, Texts::Words)
        }
    };
    let rules = rules.map_err(|e| named(&e))?;
    let (answer, usage) = match rules.only() {
        // Nothing to decide, so nothing to ask: this works without a model.
        Some(only) => (only, Usage::default()),
        None => {
            let (messages, prefix) = match adapted {
                true => (adapted::prompt(question), adapted::name(&tool.name)),
                false => (prompt(question, tool, &arguments), String::new()),
            };
            let generate = Generate {
                id: 0,
                messages,
                prefix,
                grammar: Some(Grammar::Lark(rules.to_string())),
                adapted,
                max_tokens: MAX_TOKENS,
                temperature_milli: 0,
                seed: 0,
            };
            asker.generate(text, generate, Watch::End).await?
        }
    };
    let args = judge(&arguments, &known, &words, &answer)
        .map_err(|e| CallError::failed(format!("{}: {e}", tool.name)))?;
    Ok((Value::from(args).to_string(), usage))
}

/// What the model reads: the task, how others asked for it and what they meant, and the question.
fn prompt(question: &str, tool: &ToolBrief, arguments: &Arguments) -> Vec<Message> {
    let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let task = format!(
        "{}. Write the arguments as JSON, with words of the question only. Leave out what it does not say.",
        tool.summary.trim_end_matches('.')
    );
    let mut messages = vec![message("system", &task)];
    for example in tool.examples.iter().take(MAX_EXAMPLES) {
        messages.push(message("user", &example.ask));
        messages.push(message("assistant", &in_order(&example.args, arguments)));
    }
    messages.push(message("user", question));
    messages
}

/// An example as the grammar would have it: compact, with the arguments in the schema's order.
fn in_order(args: &str, arguments: &Arguments) -> String {
    let Ok(args) = serde_json::from_str::<Map<String, Value>>(args) else { return args.to_owned() };
    let fields = arguments.fields.iter();
    let ordered: Map<String, Value> =
        fields.filter_map(|f| args.get(&f.name).map(|value| (f.name.clone(), value.clone()))).collect();
    Value::from(ordered).to_string()
}

/// Take nothing on trust: the answer must be JSON, fit the schema, keep what was known, and have its
/// texts and numbers from the question.
fn judge(
    arguments: &Arguments,
    known: &Map<String, Value>,
    words: &Words,
    answer: &str,
) -> Result<Map<String, Value>, String> {
    let args: Map<String, Value> = serde_json::from_str(answer)
        .map_err(|e| format!("the model's answer is not a JSON object ({e}); say it in other words"))?;
    arguments.check(&args).map_err(|e| format!("the model's answer does not fit: {e}"))?;
    for (name, value) in known {
        if args.get(name) != Some(value) {
            return Err(format!("the model changed `{name}`, which was certain"));
        }
    }
    for field in &arguments.fields {
        let Some(value) = args.get(&field.name) else { continue };
        if known.contains_key(&field.name) || field.default.as_ref() == Some(value) {
            continue;
        }
        if let Some(invented) = invented(&field.shape, value, words) {
            return Err(format!(
                "the model made up {invented} for `{}`, which the question does not say; name it in the question",
                field.name
            ));
        }
    }
    Ok(args)
}

/// The first part of a value that does not come from the question.
fn invented<'a>(shape: &Shape, value: &'a Value, words: &Words) -> Option<&'a Value> {
    let is_said = match (shape, value) {
        (Shape::Text, Value::String(text)) => words.contains(text),
        (Shape::Whole { .. }, Value::Number(number)) => {
            number.as_i64().is_some_and(|n| words.numbers.contains(&n))
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            return items.iter().find_map(|value| invented(item, value, words));
        }
        // Words of a fixed set, true and false; and null, which says nothing.
        _ => true,
    };
    (!is_said).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(answer: &str, known: Value) -> Result<Map<String, Value>, String> {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "default": "lo"},
                "hosts": {"type": "array", "items": {"type": "string"}},
                "count": {"type": "integer", "minimum": 1, "default": 4},
                "family": {"enum": ["any", "ipv6"], "default": "any"},
            },
        });
        let arguments = Arguments::parse(&schema.to_string()).expect("is a schema");
        let known = known.as_object().cloned().expect("an object");
        judge(&arguments, &known, &Words::of("Ping Gateway.lan 3 times"), answer)
    }

    #[test]
    fn what_the_question_says_and_what_is_the_default_may_be_given() {
        for answer in [
            r#"{"name":"gateway.lan","count":3,"family":"ipv6"}"#,
            r#"{"name":"lo","count":4}"#,
            r#"{"hosts":["gateway.lan"]}"#,
            "{}",
        ] {
            assert!(judged(answer, json!({})).is_ok(), "{answer}");
        }
    }

    #[test]
    fn what_the_model_made_up_is_refused() {
        for (answer, what) in [
            (r#"{"name":"example.org"}"#, r#"made up "example.org" for `name`"#),
            (r#"{"name":""}"#, r#"made up "" for `name`"#),
            (r#"{"count":5}"#, "made up 5 for `count`"),
            (r#"{"hosts":["gateway.lan","x"]}"#, r#"made up "x" for `hosts`"#),
            (r#"{"count":0}"#, "does not fit: count: 0 is not a whole number of at least 1"),
            (r#"{"colour":1}"#, "does not fit: colour: there is no such argument"),
            (r#"{"name":"gate"#, "not a JSON object"),
        ] {
            let error = judged(answer, json!({})).expect_err("is refused");
            assert!(error.contains(what), "{answer}: {error}");
        }
    }

    #[test]
    fn what_was_certain_is_kept_even_if_the_question_does_not_say_it() {
        assert!(judged(r#"{"name":"eth0"}"#, json!({"name": "eth0"})).is_ok());
        assert!(judged(r#"{"name":"lan"}"#, json!({"name": "eth0"})).is_err());
        assert!(judged("{}", json!({"name": "eth0"})).is_err());
    }
}
