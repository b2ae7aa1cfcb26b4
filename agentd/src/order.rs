//! A call that is written out: `fs.read path=/etc/os-release`, `disk.usage {"path": "/data"}`.

use crate::catalog::{Catalog, Tool};
use crate::words;
use serde_json::{Map, Value};

/// A call, or why what looks like one is none.
#[derive(Debug, PartialEq)]
pub struct Order<'a> {
    /// The tool that is named.
    pub tool: &'a Tool,
    /// Its arguments, or one sentence on what is wrong with them.
    pub args: Result<Map<String, Value>, String>,
}

/// Read a sentence as a call; nothing when it does not begin with the name of a tool.
pub fn parse<'a>(sentence: &str, catalog: &'a Catalog) -> Option<Order<'a>> {
    let mut rest = sentence.trim();
    for verb in ["call ", "run "] {
        rest = rest.strip_prefix(verb).unwrap_or(rest).trim_start();
    }
    let end = rest.find(|c: char| c.is_whitespace() || c == '{').unwrap_or(rest.len());
    let tool = catalog.by_name(&rest[..end].to_lowercase())?;
    Some(Order { tool, args: arguments(tool, rest[end..].trim()) })
}

fn arguments(tool: &Tool, text: &str) -> Result<Map<String, Value>, String> {
    let args = if text.starts_with('{') {
        serde_json::from_str(text)
            .map_err(|e| format!("the arguments of {} are not a JSON object: {e}", tool.info.name))?
    } else {
        by_name(tool, text)?
    };
    match tool.properties.iter().find(|p| p.required && !args.contains_key(&p.name)) {
        Some(missing) => Err(format!("{} needs {}; {}", tool.info.name, missing.name, usage(tool))),
        None => Ok(args),
    }
}

/// `name=value` after `name=value`.
fn by_name(tool: &Tool, text: &str) -> Result<Map<String, Value>, String> {
    let mut args = Map::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((name, after)) = rest.split_once('=') else {
            return Err(format!("{rest:?} is no argument of {}; {}", tool.info.name, usage(tool)));
        };
        let name = name.trim();
        let Some(property) = tool.properties.iter().find(|property| property.name == name) else {
            return Err(format!("{} has no argument {name:?}; {}", tool.info.name, usage(tool)));
        };
        let (value, remaining) = value(after);
        let fitting = property
            .value(&value)
            .ok_or_else(|| format!("{name} of {} is {}, not {value:?}", tool.info.name, property.wanted()))?;
        if args.insert(name.to_owned(), fitting).is_some() {
            return Err(format!("{name} is given twice"));
        }
        rest = remaining.trim_start();
    }
    Ok(args)
}

/// The value at the beginning of a text, and what follows it.
fn value(text: &str) -> (String, &str) {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    // A quotation may hold blanks.
    match words::split(text).into_iter().next() {
        Some(word) if word.quoted && word.start() == 0 => {
            let end = word.end();
            (word.text, &text[end..])
        }
        _ => (text[..end].to_owned(), &text[end..]),
    }
}

/// Which arguments a tool takes.
fn usage(tool: &Tool) -> String {
    if tool.properties.is_empty() {
        return "it takes none".into();
    }
    let one = |p: &crate::schema::Property| {
        format!("{}{} ({})", p.name, if p.required { "" } else { "?" }, p.wanted())
    };
    format!("it takes {}", tool.properties.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::catalog;
    use proptest::prelude::*;

    fn args(sentence: &str) -> Result<String, String> {
        let catalog = catalog();
        let order = parse(sentence, &catalog).expect("names a tool");
        order.args.map(|args| Value::Object(args).to_string())
    }

    #[test]
    fn arguments_are_taken_by_name_and_type() {
        assert_eq!(
            args("fs.read path=/etc/os-release limit=10"),
            Ok(r#"{"path":"/etc/os-release","limit":10}"#.into())
        );
        assert_eq!(
            args("call fs.write path=/tmp/x content=\"a b\" how=append"),
            Ok(r#"{"path":"/tmp/x","content":"a b","how":"append"}"#.into())
        );
        assert_eq!(args("fs.read {\"path\": \"/x\"}"), Ok(r#"{"path":"/x"}"#.into()));
        assert_eq!(args("memory.info"), Ok("{}".into()));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        assert_eq!(args("fs.read"), Err("fs.read needs path; it takes path (a text), offset? (a whole number from 0), limit? (a whole number from 1 to 262144)".into()));
        assert!(args("fs.read file=/x").expect_err("wrong").contains("has no argument \"file\""));
        assert!(args("process.kill pid=abc").expect_err("wrong").contains("a whole number from 1"));
        assert!(
            args("fs.write path=/x content=y how=burn")
                .expect_err("wrong")
                .contains("one of overwrite, create, append")
        );
        assert!(args("memory.info of today").expect_err("wrong").contains("it takes none"));
        assert!(args("fs.read {path").expect_err("wrong").contains("JSON"));
        assert!(args("fs.read {}").expect_err("wrong").starts_with("fs.read needs path; "));
    }

    #[test]
    fn other_sentences_are_no_call() {
        let catalog = catalog();
        assert_eq!(parse("how much memory is free?", &catalog), None);
        assert_eq!(parse("", &catalog), None);
        assert_eq!(parse("fs.burn path=/x", &catalog), None);
    }

    proptest! {
        #[test]
        fn any_text_behind_a_name_is_an_answer_and_no_panic(text in "\\PC{0,60}") {
            let _ = parse(&format!("fs.write {text}"), &catalog());
        }
    }
}
