//! The tools of a request as words for the model, and as a grammar of what it may answer.
//!
//! A call is written as models of several houses learnt it (chat templates of SmolLM2 and Qwen2.5):
//! `<tool_call>`, a line end, `{"name": …, "arguments": …}`. The grammar (llguidance, `docs/syntax.md`, "Tool calling")
//! writes all of it but the choice of the tool and its arguments, which fit the tool's own schema.

use super::error::Error;
use super::fields::Fields;
use aios_abi::engine::Grammar;
use serde_json::{Value, json};

/// Before a call.
pub(super) const OPEN: &str = "<tool_call>";
/// After a call, where a conversation is told; an answer ends without it.
pub(super) const CLOSE: &str = "</tool_call>";
/// Tools of one request (API reference, "tools").
const MAX_TOOLS: usize = 128;
/// Characters of a tool's name (API reference, "function.name").
const MAX_NAME: usize = 64;

/// A function that the client can call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    description: Option<String>,
    /// JSON Schema of the arguments.
    parameters: Value,
}

/// What an answer may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// Words, in this form.
    Words(Form),
    /// Words in this form, or a call of one of these tools.
    Either(Form, Vec<Tool>),
    /// A call of one of these tools.
    Call(Vec<Tool>),
}

/// The form of words.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    /// Any.
    Free,
    /// A JSON value that fits this schema.
    Json(Value),
}

impl Shape {
    /// Read it.
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, Error> {
        let form = form(fields)?;
        let tools = tools(fields)?;
        let Some(choice) = fields.get("tool_choice") else {
            return Ok(if tools.is_empty() { Self::Words(form) } else { Self::Either(form, tools) });
        };
        let some = |tools: Vec<Tool>| match tools.is_empty() {
            true => Err(Error::invalid("tool_choice", "asks for a call, but `tools` names none")),
            false => Ok(tools),
        };
        match choice.value {
            Value::String(word) => match word.as_str() {
                "none" => Ok(Self::Words(form)),
                "auto" if tools.is_empty() => Ok(Self::Words(form)),
                "auto" => Ok(Self::Either(form, tools)),
                "required" => Ok(Self::Call(some(tools)?)),
                _ => Err(choice.is_no("none, auto, required, or an object that names a function")),
            },
            Value::Object(_) => {
                let function = choice.fields()?.need("function")?.fields()?;
                let name = function.need("name")?;
                let wanted = name.text()?;
                let one = tools.into_iter().find(|tool| tool.name == wanted);
                one.map(|tool| Self::Call(vec![tool])).ok_or_else(|| name.is_no("one of `tools`"))
            }
            _ => Err(choice.is_no("none, auto, required, or an object that names a function")),
        }
    }

    /// The tools that may be called.
    pub(super) fn tools(&self) -> &[Tool] {
        match self {
            Self::Words(_) => &[],
            Self::Either(_, tools) | Self::Call(tools) => tools,
        }
    }

    /// What the model is told; nothing where there is nothing to tell.
    pub(super) fn words(&self) -> Option<String> {
        let form = match self {
            Self::Words(form) | Self::Either(form, _) => form,
            Self::Call(_) => &Form::Free,
        };
        let form = match form {
            Form::Free => None,
            Form::Json(schema) => Some(format!("Answer with JSON that fits this schema: {schema}")),
        };
        let tools = match self {
            Self::Words(_) => None,
            Self::Either(_, tools) => Some(list(tools, "To call one, answer with")),
            Self::Call(tools) => Some(list(tools, "Call one: answer with")),
        };
        let words: Vec<String> = tools.into_iter().chain(form).collect();
        (!words.is_empty()).then(|| words.join("\n\n"))
    }

    /// What the answer begins with.
    pub(super) fn prefix(&self) -> String {
        match self {
            Self::Call(_) => format!("{OPEN}\n"),
            Self::Words(_) | Self::Either(..) => String::new(),
        }
    }

    /// What the rest of the answer must follow.
    pub(super) fn grammar(&self) -> Option<Grammar> {
        match self {
            Self::Words(Form::Free) => None,
            Self::Words(Form::Json(schema)) => Some(Grammar::Schema(tight(schema).to_string())),
            Self::Call(tools) => Some(Grammar::Lark(format!("start: call\n{}", calls(tools)))),
            Self::Either(form, tools) => {
                let words = match form {
                    Form::Free => "words: TEXT".into(),
                    Form::Json(schema) => format!("words: %json {}", tight(schema)),
                };
                // Lazy: with the mark the call begins, wherever it stands.
                let lead = match form {
                    Form::Free => format!("lead[lazy]: TEXT {}\nTEXT: /(.|\\n)*/", literal(OPEN)),
                    Form::Json(_) => format!("lead: {}", literal(OPEN)),
                };
                let calls = calls(tools);
                Some(Grammar::Lark(format!("start: words | lead \"\\n\" call\n{words}\n{lead}\n{calls}")))
            }
        }
    }
}

/// A call as it is written.
pub(super) fn call_text(name: &str, arguments: &Value) -> String {
    format!("{}{arguments}}}", head(name))
}

/// A call up to its arguments.
pub(super) fn head(name: &str) -> String {
    format!("{{\"name\": {}, \"arguments\": ", Value::from(name))
}

/// The rules of a call of one of these tools. Each schema is a grammar of its own, so that its references stay right.
fn calls(tools: &[Tool]) -> String {
    let names: Vec<String> = (0..tools.len()).map(|n| format!("call_{n}")).collect();
    let mut rules = format!("call: {}\n", names.join(" | "));
    for (tool, name) in tools.iter().zip(names) {
        let (head, schema) = (literal(&head(&tool.name)), tight(&tool.parameters));
        rules.push_str(&format!("{name}: {head} args_{name} \"}}\"\nargs_{name}: %json {schema}\n"));
    }
    rules
}

/// A text in Lark's quotes, which are JSON's.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

/// A schema whose values are written as models mostly write them, without room for endless blanks (llguidance,
/// `docs/json_schema.md`, "Whitespace handling").
fn tight(schema: &Value) -> Value {
    let mut schema = schema.clone();
    // `true` is any value.
    if let Value::Bool(true) = schema {
        schema = json!({});
    }
    if let Value::Object(members) = &mut schema {
        let layout = json!({
            "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": ", "coerce_one_of": true
        });
        members.insert("x-guidance".into(), layout);
    }
    schema
}

fn list(tools: &[Tool], how: &str) -> String {
    let mut words =
        String::from("You can call tools. Each is named with the JSON Schema of its arguments:\n");
    for Tool { name, description, parameters } in tools {
        let tool = json!({ "name": name, "description": description, "parameters": parameters });
        words.push_str(&format!("{tool}\n"));
    }
    words.push_str(&format!(
        "{how}\n{OPEN}\n{{\"name\": \"the tool's name\", \"arguments\": {{its arguments}}}}\n{CLOSE}"
    ));
    words
}

fn tools(fields: &Fields<'_>) -> Result<Vec<Tool>, Error> {
    let Some(list) = fields.get("tools") else { return Ok(Vec::new()) };
    let items = list.items()?;
    if items.len() > MAX_TOOLS {
        let sentence = format!("{} tools are too many, up to {MAX_TOOLS} are taken", items.len());
        return Err(Error::invalid(list.place, sentence));
    }
    let mut tools: Vec<Tool> = Vec::with_capacity(items.len());
    for item in items {
        let item = item.fields()?;
        let kind = item.need("type")?;
        if kind.text()? != "function" {
            return Err(kind.is_no("a kind of tool that is known here: \"function\" is"));
        }
        let function = item.need("function")?.fields()?;
        let name = function.need("name")?;
        let own = name.text()?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if own.is_empty() || own.len() > MAX_NAME || !own.chars().all(is_name) {
            return Err(name.is_no("a name of 1 to 64 letters, digits and _ - ."));
        }
        if tools.iter().any(|tool| tool.name == own) {
            return Err(Error::invalid(name.place, format!("{own:?} is named twice")));
        }
        let parameters = match function.get("parameters") {
            Some(schema) => schema.fields().map(|_| schema.value.clone())?,
            // A function without parameters (API reference, "function.parameters").
            None => json!({ "type": "object", "properties": {}, "additionalProperties": false }),
        };
        let description = function.text("description")?.map(str::to_owned);
        tools.push(Tool { name: own.to_owned(), description, parameters });
    }
    Ok(tools)
}

fn form(fields: &Fields<'_>) -> Result<Form, Error> {
    let Some(format) = fields.object("response_format")? else { return Ok(Form::Free) };
    let kind = format.need("type")?;
    match kind.text()? {
        "text" => Ok(Form::Free),
        "json_object" => Ok(Form::Json(json!({ "type": "object" }))),
        "json_schema" => {
            let schema = format.need("json_schema")?.fields()?.need("schema")?;
            schema.fields().map(|_| Form::Json(schema.value.clone()))
        }
        _ => Err(kind.is_no("text, json_object or json_schema")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use llguidance::api::TopLevelGrammar;
    use llguidance::toktrie::ApproximateTokEnv;
    use llguidance::{Matcher, ParserFactory};

    pub(in super::super) fn shape(body: Value) -> Result<Shape, Error> {
        Shape::of(&Fields::whole(&body)?)
    }

    /// Two tools, one with references inside its schema.
    pub(in super::super) fn two() -> Value {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["city"],
            "properties": { "city": { "$ref": "#/$defs/City" }, "days": { "type": "integer" } },
            "$defs": { "City": { "enum": ["Rome", "Oslo"] } }
        });
        json!([
            { "type": "function", "function": { "name": "weather", "description": "Weather of a city", "parameters": schema } },
            { "type": "function", "function": { "name": "now" } }
        ])
    }

    /// Whether the engines' library takes this answer, up to its end.
    fn takes(shape: &Shape, answer: &str) -> bool {
        let env = ApproximateTokEnv::single_byte_env();
        let mut factory = ParserFactory::new_simple(&env).expect("a vocabulary");
        factory.quiet();
        let grammar = match shape.grammar().expect("a grammar") {
            Grammar::Lark(rules) => TopLevelGrammar::from_lark(rules),
            Grammar::Schema(schema) => {
                TopLevelGrammar::from_json_schema(serde_json::from_str(&schema).expect("JSON"))
            }
        };
        let mut matcher = Matcher::new(factory.create_parser(grammar));
        assert_eq!(matcher.get_error(), None);
        let bytes: Vec<u32> = answer.bytes().map(u32::from).collect();
        let taken = matcher.try_consume_tokens(&bytes).expect("no failure");
        taken == bytes.len() && (matcher.is_stopped() || matcher.is_accepting().expect("no failure"))
    }

    #[test]
    fn a_call_that_is_required_is_one_of_the_tools_with_arguments_that_fit() {
        let shape = shape(json!({ "tools": two(), "tool_choice": "required" })).expect("fits");
        assert_eq!(shape.prefix(), "<tool_call>\n");
        assert!(takes(&shape, r#"{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}"#));
        assert!(takes(&shape, r#"{"name": "now", "arguments": {}}"#));
        for wrong in [
            r#"{"name": "weather", "arguments": {"city": "Bern"}}"#,
            r#"{"name": "weather", "arguments": {}}"#,
            r#"{"name": "weather", "arguments": {"city":   "Oslo"}}"#,
            r#"{"name": "now", "arguments": {"city": "Oslo"}}"#,
            r#"{"name": "format_disk", "arguments": {}}"#,
            r#"{"name": "now", "arguments": {}"#,
            "It is noon.",
        ] {
            assert!(!takes(&shape, wrong), "{wrong}");
        }
    }

    #[test]
    fn one_function_alone_is_called_when_it_is_named() {
        let choice = json!({ "type": "function", "function": { "name": "now" } });
        let shape = shape(json!({ "tools": two(), "tool_choice": choice })).expect("fits");
        assert!(takes(&shape, r#"{"name": "now", "arguments": {}}"#));
        assert!(!takes(&shape, r#"{"name": "weather", "arguments": {"city": "Oslo"}}"#));
        assert!(!shape.words().expect("words").contains("weather"));
    }

    #[test]
    fn an_answer_is_words_or_a_call_when_the_model_may_choose() {
        let free = shape(json!({ "tools": two() })).expect("fits");
        assert_eq!(free.prefix(), "");
        let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}";
        for right in ["", "It is noon.", "a < b, <b>and</b>\n\n<tool", call, &format!("Let me look.\n{call}")]
        {
            assert!(takes(&free, right), "{right}");
        }
        for wrong in ["<tool_call>\nnow()", "<tool_call>{}", "Well: <tool_call>\n{\"name\": \"rm\""] {
            assert!(!takes(&free, wrong), "{wrong}");
        }
        assert_eq!(shape(json!({ "tools": two(), "tool_choice": "auto" })), Ok(free));

        let format = json!({ "type": "json_object" });
        let json = shape(json!({ "tools": two(), "response_format": format })).expect("fits");
        assert!(takes(&json, call) && takes(&json, r#"{"a": [1, "x"]}"#));
        assert!(!takes(&json, "It is noon.") && !takes(&json, &format!("Look.{call}")));
    }

    #[test]
    fn words_follow_a_schema() {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": {
            "type": "object", "properties": { "n": { "oneOf": [{ "type": "integer" }, { "type": "null" }] } },
            "required": ["n"], "additionalProperties": false
        } } });
        let shape =
            shape(json!({ "response_format": format, "tools": two(), "tool_choice": "none" })).expect("fits");
        assert!(shape.tools().is_empty());
        assert!(
            takes(&shape, r#"{"n": 3}"#)
                && takes(&shape, r#"{"n": null}"#)
                && !takes(&shape, r#"{"n": "x"}"#)
        );
        assert!(shape.words().expect("words").contains("oneOf"));
    }

    #[test]
    fn without_tools_and_form_nothing_is_told_and_all_may_be_answered() {
        for body in
            [json!({}), json!({ "tools": [], "tool_choice": "auto", "response_format": { "type": "text" } })]
        {
            let shape = shape(body).expect("fits");
            assert_eq!((shape.words(), shape.grammar(), shape.prefix()), (None, None, String::new()));
        }
    }

    #[test]
    fn what_is_no_tool_is_said_with_its_place() {
        let tool = |function: Value| json!({ "tools": [{ "type": "function", "function": function }] });
        for (body, place) in [
            (json!({ "tools": {} }), "tools"),
            (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
            (tool(json!({})), "tools[0].function.name"),
            (tool(json!({ "name": "two words" })), "tools[0].function.name"),
            (tool(json!({ "name": "x", "parameters": "{}" })), "tools[0].function.parameters"),
            (tool(json!({ "name": "x", "description": 7 })), "tools[0].function.description"),
            (json!({ "tools": [two()[1], two()[1]] }), "tools[1].function.name"),
            (json!({ "tool_choice": "required" }), "tool_choice"),
            (json!({ "tool_choice": "sometimes" }), "tool_choice"),
            (
                json!({ "tool_choice": { "type": "function", "function": { "name": "x" } } }),
                "tool_choice.function.name",
            ),
            (json!({ "response_format": { "type": "xml" } }), "response_format.type"),
            (json!({ "response_format": { "type": "json_schema" } }), "response_format.json_schema"),
            (
                json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": 1 } } }),
                "response_format.json_schema.schema",
            ),
        ] {
            let error = shape(body.clone()).expect_err("no tools");
            assert_eq!(error.param.as_deref(), Some(place), "{body}: {error}");
        }
    }
}
