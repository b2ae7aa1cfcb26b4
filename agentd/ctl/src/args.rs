//! Arguments of a tool between the command line and JSON: `key=value` read by the tool's schema
//! (JSON Schema 2020-12), and the command line that means given arguments.

use crate::error::{Failure, Outcome};
use crate::output;
use serde_json::{Map, Value};

/// Schemas refer to each other no deeper than this; a circle ends here.
const DEEPEST: u32 = 8;

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Any text; taken as it is.
    Text,
    /// One of these texts.
    Choice(Vec<String>),
    /// A number without fraction.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Several of a kind; the key is given once for each.
    List(Box<Kind>),
    /// Anything else is written as JSON.
    Json,
}

/// One argument of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Argument {
    /// Its key.
    pub name: String,
    /// What it may be.
    pub kind: Kind,
    /// Whether it must be given.
    pub required: bool,
    /// What it is for.
    pub help: String,
}

/// The arguments that a schema describes.
pub(crate) fn arguments(schema: &Value) -> Vec<Argument> {
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|list| list.iter().any(|n| n == name));
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    properties
        .iter()
        .map(|(name, declared)| {
            let node = resolve(declared, schema, 0);
            let help =
                [declared, node].into_iter().find_map(|node| node["description"].as_str()).unwrap_or("");
            Argument {
                name: name.clone(),
                kind: kind(node, schema, 0),
                required: required(name),
                help: help.to_owned(),
            }
        })
        .collect()
}

/// Follow `$ref`, and take `anyOf [T, null]` for T.
pub(crate) fn resolve<'a>(node: &'a Value, root: &'a Value, depth: u32) -> &'a Value {
    if depth > DEEPEST {
        return node;
    }
    if let Some(name) = node["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
        return resolve(&root["$defs"][name], root, depth + 1);
    }
    let union = ["anyOf", "oneOf"].into_iter().find_map(|word| node[word].as_array());
    let mut rest = union.into_iter().flatten().filter(|part| part["type"] != "null");
    match (rest.next(), rest.next()) {
        (Some(only), None) => resolve(only, root, depth + 1),
        _ => node,
    }
}

fn kind(node: &Value, root: &Value, depth: u32) -> Kind {
    let choices = choices(node);
    if !choices.is_empty() {
        return Kind::Choice(choices);
    }
    let types: Vec<&str> = match &node["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => Vec::new(),
    };
    match types[..] {
        ["string"] => Kind::Text,
        ["integer"] => Kind::Integer,
        ["number"] => Kind::Number,
        ["boolean"] => Kind::Boolean,
        ["array"] if depth < DEEPEST => match kind(resolve(&node["items"], root, 0), root, depth + 1) {
            Kind::List(_) | Kind::Json => Kind::Json,
            simple => Kind::List(Box::new(simple)),
        },
        _ => Kind::Json,
    }
}

/// The texts of an `enum`, or of a `oneOf` of constants (how schemars writes an enum with comments).
fn choices(node: &Value) -> Vec<String> {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let listed = texts(&node["enum"]);
    if !listed.is_empty() {
        return listed;
    }
    let parts = node["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let each: Vec<Vec<String>> = parts
        .iter()
        .map(|part| part["const"].as_str().map_or_else(|| texts(&part["enum"]), |text| vec![text.to_owned()]))
        .collect();
    if each.iter().any(Vec::is_empty) { Vec::new() } else { each.concat() }
}

impl Kind {
    /// In words, for people.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Choice(choices) => choices.join("|"),
            Self::Integer => "integer".into(),
            Self::Number => "number".into(),
            Self::Boolean => "true|false".into(),
            Self::List(item) => format!("{} (may be given several times)", item.words()),
            Self::Json => "JSON".into(),
        }
    }

    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Choice(choices) => choices.iter().any(|choice| value == choice),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::List(item) => value.as_array().is_some_and(|items| items.iter().all(|one| item.holds(one))),
            Self::Json => true,
        }
    }

    fn read(&self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Text | Self::Choice(_) => text.into(),
            Self::List(item) => return item.read(text),
            Self::Integer | Self::Number | Self::Boolean | Self::Json => serde_json::from_str(text).ok()?,
        };
        self.holds(&value).then_some(value)
    }
}

/// Read `key=value` words. What is wrong is told before anything is sent.
pub(crate) fn parse(tool: &str, schema: &Value, words: &[String]) -> Outcome<Map<String, Value>> {
    let arguments = arguments(schema);
    let mut args = Map::new();
    for word in words {
        let Some((key, text)) = word.split_once('=') else {
            return Err(Failure::usage(format!("{word:?} is not of the form key=value")));
        };
        let Some(argument) = arguments.iter().find(|argument| argument.name == key) else {
            let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
            let known = match names.is_empty() {
                true => "it takes none".to_owned(),
                false => format!("it takes {}", names.join(", ")),
            };
            return Err(Failure::usage(format!("{tool} has no argument {key:?}: {known}")));
        };
        let Some(value) = argument.kind.read(text) else {
            let wanted = argument.kind.words();
            return Err(Failure::usage(format!("{key}={text:?} does not fit: {tool} takes {key}={wanted}")));
        };
        match (&argument.kind, args.get_mut(key)) {
            (Kind::List(_), Some(Value::Array(items))) => items.push(value),
            (Kind::List(_), _) => drop(args.insert(key.to_owned(), Value::Array(vec![value]))),
            (_, Some(_)) => return Err(Failure::usage(format!("{key} is given twice"))),
            (_, None) => drop(args.insert(key.to_owned(), value)),
        }
    }
    match arguments.iter().find(|argument| argument.required && !args.contains_key(&argument.name)) {
        Some(missing) => Err(Failure::usage(format!(
            "{tool} needs {name}={wanted}; `aiosctl tools show {tool}` explains it",
            name = missing.name,
            wanted = missing.kind.words()
        ))),
        None => Ok(args),
    }
}

/// Whether these are arguments that the schema allows.
pub(crate) fn fits(schema: &Value, args: &Value) -> bool {
    let (arguments, Some(args)) = (arguments(schema), args.as_object()) else { return false };
    let fits = |(key, value): (&String, &Value)| {
        let known = arguments.iter().find(|argument| argument.name == *key);
        known.is_some_and(|known| match value {
            Value::Null => !known.required,
            value => {
                let node = resolve(&schema["properties"][key], schema, 0);
                known.kind.holds(value) && within(node, value)
            }
        })
    };
    args.iter().all(fits) && arguments.iter().all(|known| !known.required || args.contains_key(&known.name))
}

fn within(node: &Value, value: &Value) -> bool {
    let Some(number) = value.as_f64() else { return true };
    let least = node["minimum"].as_f64().is_none_or(|least| number >= least);
    least && node["maximum"].as_f64().is_none_or(|most| number <= most)
}

/// The command line that calls a tool with exactly these arguments, because a person asked for it with these words. Without a schema, or when `key=value`
/// cannot express them, they are given as one JSON object.
pub(crate) fn line(
    tool: &str,
    schema: Option<&Value>,
    args: &Value,
    why: &str,
    context: Option<&str>,
) -> String {
    let mut words: Vec<String> = vec!["aiosctl".into()];
    if let Some(name) = context {
        words.extend(["--context".into(), name.to_owned()]);
    }
    words.extend(["tools", "call", tool].map(str::to_owned));
    match schema.and_then(|schema| pairs(tool, schema, args)) {
        Some(pairs) => words.extend(pairs),
        None => words.extend(["--args".into(), visible(&args.to_string())]),
    }
    if !why.is_empty() {
        words.extend(["--why".into(), output::clean_line(why), "--asked".into()]);
    }
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// The arguments as words that are read as the same arguments again.
fn pairs(tool: &str, schema: &Value, args: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut words = Vec::new();
    for (key, value) in args.as_object()? {
        let list = matches!(arguments(schema).iter().find(|a| a.name == *key)?.kind, Kind::List(_));
        match value {
            Value::Array(items) if list => {
                words.extend(items.iter().map(|item| format!("{key}={}", text(item))))
            }
            value => words.push(format!("{key}={}", text(value))),
        }
    }
    let same = parse(tool, schema, &words).ok().is_some_and(|again| Some(&again) == args.as_object());
    // A line to be copied is one line and shows all that is in it.
    let plain = words.iter().all(|word| output::clean_line(word) == *word);
    (same && plain).then_some(words)
}

/// JSON in which no control character and no change of direction is hidden.
fn visible(json: &str) -> String {
    json.chars()
        .map(|c| match output::is_harmful(c) {
            true => format!("\\u{:04x}", u32::from(c)),
            false => c.to_string(),
        })
        .collect()
}

/// A word as a POSIX shell takes it (Shell Command Language, 2.2.2).
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Where"},
                "limit": {"anyOf": [{"$ref": "#/$defs/Count"}, {"type": "null"}]},
                "ratio": {"type": ["number", "null"]},
                "force": {"type": "boolean"},
                "signal": {"$ref": "#/$defs/Signal"},
                "units": {"type": "array", "items": {"type": "string"}},
                "extra": {"type": "object"}
            },
            "required": ["path"],
            "$defs": {
                "Count": {"type": "integer", "minimum": 0},
                "Signal": {"oneOf": [{"const": "TERM", "description": "x"}, {"enum": ["KILL", "HUP"]}]}
            }
        })
    }

    fn read(words: &[&str]) -> Outcome<Value> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse("a.b", &schema(), &words).map(Value::Object)
    }

    #[test]
    fn values_are_read_as_the_schema_says() {
        let words = [
            "path=12",
            "limit=3",
            "ratio=0.5",
            "force=true",
            "signal=KILL",
            "units=x",
            "units=[y]",
            "extra={\"a\":1}",
        ];
        let expected = json!({
            "path": "12", "limit": 3, "ratio": 0.5, "force": true, "signal": "KILL", "units": ["x", "[y]"],
            "extra": {"a": 1}
        });
        assert_eq!(read(&words), Ok(expected));
        assert_eq!(read(&["path=a=b "]), Ok(json!({"path": "a=b "})));
        assert_eq!(read(&["path="]), Ok(json!({"path": ""})));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let said = |words: &[&str]| read(words).expect_err("refused").message;
        assert!(said(&["path"]).contains("key=value"));
        assert!(said(&["paht=x"]).contains("it takes extra, force") || said(&["paht=x"]).contains("path"));
        assert!(said(&["path=x", "limit=many"]).contains("limit=integer"));
        assert!(said(&["path=x", "limit=1.5"]).contains("limit=integer"));
        assert!(said(&["path=x", "signal=STOP"]).contains("TERM|KILL|HUP"));
        assert!(said(&["path=x", "path=y"]).contains("twice"));
        assert!(said(&["limit=1"]).contains("needs path=text"));
        assert!(
            parse("a.b", &json!({"type": "object"}), &["x=1".into()])
                .expect_err("none")
                .message
                .contains("none")
        );
    }

    #[test]
    fn the_line_of_a_proposal_is_read_as_the_same_arguments() {
        let args = json!({"path": "/data/it's here", "limit": 3, "units": ["a", "b"], "extra": {"a": [1]}});
        let line = line("a.b", Some(&schema()), &args, "asked for", Some("box"));
        assert!(line.starts_with("aiosctl --context box tools call a.b "), "{line}");
        assert!(
            line.contains(r"'path=/data/it'\''s here'") && line.ends_with("--why 'asked for' --asked"),
            "{line}"
        );
        let words = pairs("a.b", &schema(), &args).expect("expressed");
        assert_eq!(parse("a.b", &schema(), &words).map(Value::Object), Ok(args));
    }

    #[test]
    fn what_words_cannot_express_is_given_as_json() {
        for args in
            [json!({"path": "two\nlines"}), json!({"path": "x", "limit": null}), json!({"path": "\u{202e}x"})]
        {
            let line = line("a.b", Some(&schema()), &args, "w", None);
            assert!(line.contains("--args '{"), "{line}");
            assert!(!line.contains(output::is_harmful) && !line.contains('\n'), "{line}");
            let json = line.split('\'').nth(1).expect("quoted");
            assert_eq!(serde_json::from_str::<Value>(json).expect("JSON"), args);
        }
        assert!(line("a.b", None, &json!({"x": 1}), "w", None).contains(r#"--args '{"x":1}'"#));
    }

    #[test]
    fn a_circle_of_references_ends() {
        let circle = json!({
            "properties": {"x": {"$ref": "#/$defs/X"}, "y": {"$ref": "#/$defs/Y"}},
            "$defs": {"X": {"$ref": "#/$defs/X"}, "Y": {"type": "array", "items": {"$ref": "#/$defs/Y"}}}
        });
        assert!(arguments(&circle).iter().all(|argument| argument.kind == Kind::Json));
    }
}
