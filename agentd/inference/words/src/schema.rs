//! The JSON Schemas of tool arguments: the part of JSON Schema 2020-12 that schemars writes for them.
//!
//! A schema is read into [`Arguments`] once; grammar, prompt and validation work on that. A keyword that
//! would be needed to judge a value and is not known here is an error, never ignored.

use regex_lite::Regex;
use serde_json::{Map, Value};
use std::fmt;

/// The arguments of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Arguments {
    /// In the order of the schema as it was read.
    pub fields: Vec<Field>,
}

/// One argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it may be.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// Whether `null` stands for "not given".
    pub nullable: bool,
    /// What it is when it is not given.
    pub default: Option<Value>,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Any text.
    Text,
    /// A text of this form.
    Pattern(Pattern),
    /// A whole number between two bounds, both included.
    Whole {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// `true` or `false`.
    Truth,
    /// One of these words.
    Word(Vec<String>),
    /// A list.
    List {
        /// What stands in it.
        item: Box<Shape>,
        /// At least so many.
        min: usize,
        /// At most so many.
        max: usize,
    },
    /// An object with arguments of its own; it stands in lists only.
    Object(Arguments),
}

/// The form of a text: a regular expression that is found in it (JSON Schema Validation, 6.3.3), of those that mean the same in
/// ECMA-262 and in Rust.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Whether the text has this form.
    pub fn fits(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// What is wrong with a schema or a value: where and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Path in the document, such as `limit` or `names[2]`.
    pub place: String,
    /// One clause.
    pub what: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => f.write_str(&self.what),
            place => write!(f, "{place}: {}", self.what),
        }
    }
}

/// Keywords that say nothing about which values fit.
const REMARKS: [&str; 9] =
    ["title", "description", "default", "examples", "format", "$schema", "$comment", "deprecated", "secret"];

fn misfit(place: &str, what: impl Into<String>) -> Misfit {
    Misfit { place: place.to_owned(), what: what.into() }
}

impl Arguments {
    /// Read a schema.
    pub fn parse(schema: &str) -> Result<Self, Misfit> {
        let value: Value =
            serde_json::from_str(schema).map_err(|e| misfit("", format!("the schema is not JSON: {e}")))?;
        let object = value.as_object().ok_or_else(|| misfit("", "the schema is not an object"))?;
        if object.get("type").and_then(Value::as_str) != Some("object") {
            return Err(misfit("", "the arguments are not an object"));
        }
        Self::of("", object)
    }

    /// The arguments that an object's schema describes; `at` is where it stands.
    fn of(at: &str, object: &Map<String, Value>) -> Result<Self, Misfit> {
        known_keywords(at, object, &["type", "properties", "required", "additionalProperties"])?;
        let none = Map::new();
        let properties = match object.get("properties") {
            None => &none,
            Some(value) => value.as_object().ok_or_else(|| misfit(at, "`properties` is not an object"))?,
        };
        let required: Vec<&str> = match object.get("required") {
            None => Vec::new(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(_) => return Err(misfit(at, "`required` is not a list")),
        };
        let fields = properties
            .iter()
            .map(|(name, schema)| {
                let place = within(at, name);
                let object =
                    schema.as_object().ok_or_else(|| misfit(&place, "its schema is not an object"))?;
                let (shape, nullable) = nullable_shape(&place, object)?;
                Ok(Field {
                    name: name.clone(),
                    shape,
                    required: required.contains(&name.as_str()),
                    nullable,
                    default: object.get("default").filter(|d| !d.is_null()).cloned(),
                })
            })
            .collect::<Result<Vec<_>, Misfit>>()?;
        if let Some(unknown) = required.iter().find(|name| !properties.contains_key(**name)) {
            return Err(misfit(&within(at, unknown), "it is required but not described"));
        }
        Ok(Self { fields })
    }

    /// The argument of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether each of these arguments fits; missing ones are not missed.
    pub fn check_given(&self, given: &Map<String, Value>) -> Result<(), Misfit> {
        self.check_at("", given)
    }

    fn check_at(&self, at: &str, given: &Map<String, Value>) -> Result<(), Misfit> {
        for (name, value) in given {
            let place = within(at, name);
            let field = self.field(name).ok_or_else(|| misfit(&place, "there is no such argument"))?;
            if !(field.nullable && value.is_null()) {
                field.shape.check(&place, value)?;
            }
        }
        Ok(())
    }

    /// Whether these are arguments for a call.
    pub fn check(&self, given: &Map<String, Value>) -> Result<(), Misfit> {
        self.check_whole("", given)
    }

    fn check_whole(&self, at: &str, given: &Map<String, Value>) -> Result<(), Misfit> {
        self.check_at(at, given)?;
        match self.fields.iter().find(|field| field.required && !given.contains_key(&field.name)) {
            Some(field) => Err(misfit(&within(at, &field.name), "it is required and missing")),
            None => Ok(()),
        }
    }
}

impl Shape {
    /// Whether this value fits; `place` is where it stands.
    pub(crate) fn check(&self, place: &str, value: &Value) -> Result<(), Misfit> {
        let wrong = |expected: String| Err(misfit(place, format!("{value} is not {expected}")));
        match (self, value) {
            (Self::Text, Value::String(_)) | (Self::Truth, Value::Bool(_)) => Ok(()),
            (Self::Text, _) => wrong("a text".into()),
            (Self::Pattern(pattern), Value::String(text)) if pattern.fits(text) => Ok(()),
            (Self::Pattern(pattern), _) => wrong(format!("a text of the form {pattern}")),
            (Self::Truth, _) => wrong("true or false".into()),
            (Self::Whole { min, max }, _) => match value.as_i64() {
                Some(number) if (*min..=*max).contains(&number) => Ok(()),
                _ => wrong(self.to_string()),
            },
            (Self::Word(words), _) => match value.as_str() {
                Some(word) if words.iter().any(|w| w == word) => Ok(()),
                _ => wrong(self.to_string()),
            },
            (Self::List { item, min, max }, Value::Array(items)) => {
                if !(*min..=*max).contains(&items.len()) {
                    return Err(misfit(place, format!("{} items are not {min} to {max}", items.len())));
                }
                items
                    .iter()
                    .enumerate()
                    .try_for_each(|(n, value)| item.check(&format!("{place}[{n}]"), value))
            }
            (Self::List { .. }, _) => wrong("a list".into()),
            (Self::Object(arguments), Value::Object(given)) => arguments.check_whole(place, given),
            (Self::Object(_), _) => wrong(self.to_string()),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("a text"),
            // Few people read regular expressions.
            Self::Pattern(_) => f.write_str("a text of the right form"),
            Self::Whole { min: i64::MIN, max: i64::MAX } => f.write_str("a whole number"),
            Self::Whole { min, max: i64::MAX } => write!(f, "a whole number of at least {min}"),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Truth => f.write_str("true or false"),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
            Self::List { item, .. } => write!(f, "a list, each item {item}"),
            Self::Object(arguments) => {
                f.write_str("an object with")?;
                arguments
                    .fields
                    .iter()
                    .enumerate()
                    .try_for_each(|(n, field)| write!(f, "{} `{}`", if n > 0 { "," } else { "" }, field.name))
            }
        }
    }
}

/// The place of an argument of an object.
fn within(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn known_keywords(place: &str, object: &Map<String, Value>, known: &[&str]) -> Result<(), Misfit> {
    match object.keys().find(|key| !known.contains(&key.as_str()) && !REMARKS.contains(&key.as_str())) {
        Some(key) => Err(misfit(place, format!("the schema says `{key}`, which is not understood here"))),
        None => Ok(()),
    }
}

/// The shape, and whether `null` is allowed beside it: `"type": [T, "null"]`, `"anyOf": [T, {"type":
/// "null"}]` or a `null` among the words of an `enum`.
fn nullable_shape(place: &str, object: &Map<String, Value>) -> Result<(Shape, bool), Misfit> {
    if let Some(Value::Array(types)) = object.get("type") {
        let rest: Vec<&Value> = types.iter().filter(|t| t.as_str() != Some("null")).collect();
        let [one] = rest.as_slice() else {
            return Err(misfit(place, "the schema allows several types, which is not understood here"));
        };
        let mut plain = object.clone();
        plain.insert("type".into(), (*one).clone());
        if let Some(Value::Array(words)) = plain.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
        return Ok((shape(place, &plain)?, rest.len() < types.len()));
    }
    if let Some(Value::Array(choices)) = object.get("anyOf") {
        let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
        let (null, rest): (Vec<&Value>, Vec<&Value>) = choices.iter().partition(is_null);
        if let ([_], [one]) = (null.as_slice(), rest.as_slice())
            && let Some(inner) = one.as_object()
        {
            known_keywords(place, object, &["anyOf"])?;
            return Ok((shape(place, inner)?, true));
        }
    }
    Ok((shape(place, object)?, false))
}

fn shape(place: &str, object: &Map<String, Value>) -> Result<Shape, Misfit> {
    if let Some(words) = words(place, object)? {
        return Ok(Shape::Word(words));
    }
    let Some(kind) = object.get("type").and_then(Value::as_str) else {
        return Err(misfit(place, "the schema names no type, which is not understood here"));
    };
    match kind {
        "string" => {
            known_keywords(place, object, &["type", "pattern"])?;
            match object.get("pattern") {
                None => Ok(Shape::Text),
                Some(pattern) => match pattern.as_str().map(Regex::new) {
                    Some(Ok(regex)) => Ok(Shape::Pattern(Pattern(regex))),
                    Some(Err(error)) => Err(misfit(place, format!("`pattern`: {error}"))),
                    None => Err(misfit(place, format!("`pattern`: {pattern} is not a text"))),
                },
            }
        }
        "boolean" => known_keywords(place, object, &["type"]).map(|()| Shape::Truth),
        "integer" => {
            known_keywords(place, object, &["type", "minimum", "maximum"])?;
            let bound = |key: &str, without: i64| match object.get(key) {
                None => Ok(without),
                // A bound outside of i64 bounds nothing that is accepted here.
                Some(Value::Number(n)) => Ok(n.as_i64().unwrap_or(without)),
                Some(other) => Err(misfit(place, format!("`{key}`: {other} is not a number"))),
            };
            let (min, max) = (bound("minimum", i64::MIN)?, bound("maximum", i64::MAX)?);
            if min > max {
                return Err(misfit(place, format!("no number is at least {min} and at most {max}")));
            }
            Ok(Shape::Whole { min, max })
        }
        "array" => {
            known_keywords(place, object, &["type", "items", "minItems", "maxItems"])?;
            let items = object
                .get("items")
                .and_then(Value::as_object)
                .ok_or_else(|| misfit(place, "the schema of a list does not say what stands in it"))?;
            let count = |key: &str, without: usize| {
                object
                    .get(key)
                    .and_then(Value::as_u64)
                    .map_or(without, |n| usize::try_from(n).unwrap_or(without))
            };
            let place = format!("{place}[]");
            let item = match items.get("type").and_then(Value::as_str) {
                Some("object") => Box::new(Shape::Object(Arguments::of(&place, items)?)),
                _ => Box::new(shape(&place, items)?),
            };
            // The grammar of a list repeats that of its items: each further level would make it eight times longer.
            if matches!(*item, Shape::List { .. }) {
                return Err(misfit(&place, "the schema has lists in a list, which is not understood here"));
            }
            Ok(Shape::List { item, min: count("minItems", 0), max: count("maxItems", usize::MAX) })
        }
        other => Err(misfit(place, format!("the schema says type `{other}`, which is not understood here"))),
    }
}

/// The words of an `enum`, a `const`, or a `oneOf` of these.
fn words(place: &str, object: &Map<String, Value>) -> Result<Option<Vec<String>>, Misfit> {
    let word = |value: &Value| {
        value.as_str().map(str::to_owned).ok_or_else(|| misfit(place, format!("{value} is not a word")))
    };
    let words = if let Some(value) = object.get("const") {
        known_keywords(place, object, &["type", "const"])?;
        vec![word(value)?]
    } else if let Some(Value::Array(values)) = object.get("enum") {
        known_keywords(place, object, &["type", "enum"])?;
        values.iter().map(word).collect::<Result<_, _>>()?
    } else if let Some(Value::Array(choices)) = object.get("oneOf") {
        known_keywords(place, object, &["oneOf"])?;
        let mut all = Vec::new();
        for choice in choices {
            let inner = choice.as_object().map(|inner| words_of_choice(place, inner));
            all.extend(inner.transpose()?.flatten().ok_or_else(|| {
                misfit(
                    place,
                    "the schema chooses between things that are not words, which is not understood here",
                )
            })?);
        }
        all
    } else {
        return Ok(None);
    };
    match words.is_empty() {
        true => Err(misfit(place, "the schema allows no value at all")),
        false => Ok(Some(words)),
    }
}

/// One choice of a `oneOf`; there are no further choices in it.
fn words_of_choice(place: &str, object: &Map<String, Value>) -> Result<Option<Vec<String>>, Misfit> {
    match object.contains_key("oneOf") {
        true => Ok(None),
        false => words(place, object),
    }
}

#[cfg(test)]
mod tests;
