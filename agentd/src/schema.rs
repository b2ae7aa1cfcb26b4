//! The arguments of a tool, read from its JSON Schema.
//!
//! Only the part of JSON Schema that the declarations use is understood; an argument of another shape
//! can be given in a written-out call but is never guessed.

use serde_json::{Map, Value};

/// One argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// A call without it is refused.
    pub required: bool,
}

/// What an argument holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number within bounds.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// Yes or no.
    Boolean,
    /// One of these words.
    Choice(Vec<String>),
    /// Something else.
    Other,
}

/// The arguments of a schema, in its order.
pub fn properties(schema: &str) -> Vec<Property> {
    let Ok(schema) = serde_json::from_str::<Value>(schema) else { return Vec::new() };
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|found| found == name))
    };
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    properties
        .iter()
        .map(|(name, part)| Property {
            name: name.clone(),
            kind: kind(part, &schema, 0),
            required: required(name),
        })
        .collect()
}

fn kind(part: &Value, root: &Value, depth: u8) -> Kind {
    if depth > 8 {
        return Kind::Other;
    }
    if let Some(name) = part["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
        return kind(&root["$defs"][name], root, depth + 1);
    }
    if let Some(words) = words(part) {
        return Kind::Choice(words);
    }
    for list in ["anyOf", "oneOf"] {
        // An optional argument is written as "this or null".
        let Some(parts) = part[list].as_array() else { continue };
        let mut others = parts.iter().filter(|part| part["type"] != "null");
        if let (Some(only), None) = (others.next(), others.next()) {
            return kind(only, root, depth + 1);
        }
    }
    let is = |name: &str| match &part["type"] {
        Value::String(found) => found == name,
        Value::Array(found) => found.iter().any(|found| found == name),
        _ => false,
    };
    if is("string") {
        Kind::Text
    } else if is("integer") {
        let bound = |key: &str| part[key].as_i64().or_else(|| part[key].as_f64().map(|f| f as i64));
        Kind::Integer { min: bound("minimum").unwrap_or(i64::MIN), max: bound("maximum").unwrap_or(i64::MAX) }
    } else if is("boolean") {
        Kind::Boolean
    } else {
        Kind::Other
    }
}

/// The words of an enumeration: a list, or one constant each with a description.
fn words(part: &Value) -> Option<Vec<String>> {
    if let Some(list) = part["enum"].as_array() {
        return list.iter().map(|word| word.as_str().map(str::to_owned)).collect();
    }
    let mut words = Vec::new();
    for one in part["oneOf"].as_array()? {
        match (one["const"].as_str(), one["enum"].as_array()) {
            (Some(word), _) => words.push(word.to_owned()),
            (None, Some(list)) => {
                words.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            (None, None) => return None,
        }
    }
    Some(words)
}

impl Property {
    /// The value that these characters stand for, if they can stand for one of this argument.
    pub fn value(&self, text: &str) -> Option<Value> {
        match &self.kind {
            Kind::Text => Some(text.into()),
            Kind::Integer { min, max } => {
                let number: i64 = text.parse().ok()?;
                (*min..=*max).contains(&number).then(|| number.into())
            }
            Kind::Boolean => match text.to_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true.into()),
                "false" | "no" | "off" | "0" => Some(false.into()),
                _ => None,
            },
            Kind::Choice(words) => {
                words.iter().find(|word| word.eq_ignore_ascii_case(text)).map(|word| word.as_str().into())
            }
            Kind::Other => serde_json::from_str(text).ok(),
        }
    }

    /// What may be given, for people.
    pub fn wanted(&self) -> String {
        match &self.kind {
            Kind::Text => "a text".into(),
            Kind::Integer { min, max } if *min == i64::MIN && *max == i64::MAX => "a whole number".into(),
            Kind::Integer { min, max } if *max == i64::MAX => format!("a whole number from {min}"),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Boolean => "true or false".into(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Other => "a JSON value".into(),
        }
    }
}

/// Whether nothing that is required is missing.
pub fn is_complete(properties: &[Property], args: &Map<String, Value>) -> bool {
    properties.iter().all(|property| !property.required || args.contains_key(&property.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{"type":"object","required":["pid"],"properties":{
        "pid":{"type":"integer","minimum":1},
        "signal":{"$ref":"#/$defs/Signal","default":"term"},
        "unit":{"type":["string","null"]},
        "how":{"anyOf":[{"$ref":"#/$defs/Signal"},{"type":"null"}]},
        "all":{"type":"boolean"},
        "list":{"type":"array"}},
        "$defs":{"Signal":{"oneOf":[{"type":"string","const":"term"},{"type":"string","const":"kill"}]}}}"##;

    #[test]
    fn references_options_and_bounds_are_read() {
        let found = properties(SCHEMA);
        let kinds: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.kind.clone(), p.required)).collect();
        let signal = Kind::Choice(vec!["term".into(), "kill".into()]);
        assert_eq!(
            kinds,
            [
                ("pid", Kind::Integer { min: 1, max: i64::MAX }, true),
                ("signal", signal.clone(), false),
                ("unit", Kind::Text, false),
                ("how", signal, false),
                ("all", Kind::Boolean, false),
                ("list", Kind::Other, false),
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_no_value() {
        let found = properties(SCHEMA);
        assert_eq!(found[0].value("12"), Some(12.into()));
        assert_eq!(found[0].value("0"), None);
        assert_eq!(found[0].value("x"), None);
        assert_eq!(found[1].value("KILL"), Some("kill".into()));
        assert_eq!(found[1].value("murder"), None);
        assert_eq!(found[4].value("yes"), Some(true.into()));
    }

    #[test]
    fn a_schema_that_loops_or_is_none_is_not_followed_for_ever() {
        assert!(properties("no json").is_empty());
        let looping = r##"{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"$ref":"#/$defs/A"}}}"##;
        assert_eq!(properties(looping)[0].kind, Kind::Other);
    }
}
