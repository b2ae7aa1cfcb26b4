//! Which words of a fixed set a question gives reason for.
//!
//! A text or a number can be asked to stand in the question; `"signal": "kill"` cannot, for people say
//! "force quit". But a tool's examples tell which words of people go with which value. A value that the
//! question gives no reason for is not offered to the model: the tool's own default is the safer guess.

use aios_abi::tool::Example;
use aios_words::Words;
use aios_words::schema::{Arguments, Field, Shape};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Shorter words ("the", "is", "are") go with everything.
const MIN_LETTERS: usize = 4;

/// The arguments without those optional values for which the question has no reason. What is known
/// needs none.
pub fn narrowed(
    arguments: &Arguments,
    known: &Map<String, Value>,
    examples: &[Example],
    words: &Words,
) -> Arguments {
    let asked = vocabulary(words);
    let has_reason = |field: &Field, value: &Value| {
        let named = value.as_str().is_some_and(|word| asked.contains(&word.to_lowercase()));
        named || reasons(field, value, examples).iter().any(|word| asked.contains(word))
    };
    let fields = arguments.fields.iter().filter_map(|field| {
        let mut field = field.clone();
        if field.required || known.contains_key(&field.name) {
            return Some(field);
        }
        match &field.shape {
            Shape::Word(all) => {
                let kept: Vec<String> = all
                    .iter()
                    .filter(|word| has_reason(&field, &Value::from(word.as_str())))
                    .cloned()
                    .collect();
                if kept.is_empty() {
                    return None;
                }
                field.shape = Shape::Word(kept);
            }
            Shape::Truth if ![true, false].iter().any(|value| has_reason(&field, &Value::from(*value))) => {
                return None;
            }
            _ => {}
        }
        Some(field)
    });
    Arguments { fields: fields.collect() }
}

/// Words that occur in examples with this value and in none without it.
fn reasons(field: &Field, value: &Value, examples: &[Example]) -> HashSet<String> {
    let (mut with, mut without) = (HashSet::new(), HashSet::new());
    for example in examples {
        let args: Map<String, Value> = serde_json::from_str(&example.args).unwrap_or_default();
        let words = vocabulary(&Words::of(&example.ask));
        match args.get(&field.name) == Some(value) {
            true => with.extend(words),
            false => without.extend(words),
        }
    }
    with.retain(|word| word.chars().count() >= MIN_LETTERS && !without.contains(word));
    with
}

/// The words in lower case.
fn vocabulary(words: &Words) -> HashSet<String> {
    words.words.iter().map(|word| word.core.to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn offered(question: &str) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {
            "pid": {"type": "integer"},
            "signal": {"enum": ["term", "kill", "hup"], "default": "term"},
            "all": {"type": "boolean", "default": false},
        }, "required": ["pid"]});
        let example = |ask: &str, args: Value| Example { ask: ask.into(), args: args.to_string() };
        let examples = [
            example("kill process 1234", json!({"pid": 1234})),
            example("force quit pid 777", json!({"pid": 777, "signal": "kill"})),
            example("send SIGHUP to process 300", json!({"pid": 300, "signal": "hup"})),
            example("stop 42 and everything below", json!({"pid": 42, "all": true})),
        ];
        let arguments = Arguments::parse(&schema.to_string()).expect("is a schema");
        let narrowed = narrowed(&arguments, &Map::new(), &examples, &Words::of(question));
        narrowed.fields.into_iter().map(|field| format!("{}: {}", field.name, field.shape)).collect()
    }

    #[test]
    fn a_value_is_offered_when_it_is_named_or_asked_for_as_in_an_example() {
        let pid = "pid: a whole number";
        assert_eq!(offered("end process 4711"), [pid]);
        assert_eq!(offered("force process 4711 to end"), [pid, "signal: one of kill"]);
        assert_eq!(offered("send hup to 4711"), [pid, "signal: one of hup"]);
        assert_eq!(offered("everything below 4711"), [pid, "all: true or false"]);
    }
}
