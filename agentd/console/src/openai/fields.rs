//! Members of a request's objects, with the place where each stands. `null` is the same as nothing, as clients send it
//! for options that nobody chose.

use super::error::Error;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Characters of a wrong value that a sentence repeats.
const SHOWN: usize = 40;

/// An object, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    members: &'a Map<String, Value>,
    place: String,
}

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    pub(super) value: &'a Value,
    pub(super) place: String,
}

impl<'a> Fields<'a> {
    /// The whole body.
    pub(super) fn whole(body: &'a Value) -> Result<Self, Error> {
        match body {
            Value::Object(members) => Ok(Self { members, place: String::new() }),
            other => Err(Error::invalid("", format!("the body is {}, not an object", shown(other)))),
        }
    }

    /// Where a member stands.
    pub(super) fn place(&self, name: &str) -> String {
        match self.place.as_str() {
            "" => name.to_owned(),
            place => format!("{place}.{name}"),
        }
    }

    /// A member, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Item<'a>> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        Some(Item { value, place: self.place(name) })
    }

    /// A member that must be there.
    pub(super) fn need(&self, name: &str) -> Result<Item<'a>, Error> {
        self.get(name).ok_or_else(|| Error::invalid(self.place(name), "is missing"))
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.get(name).map(|item| item.text()).transpose()
    }

    /// Yes or no; no, if it is not there.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(false),
            Some(item) => item.value.as_bool().ok_or_else(|| item.is_no("true or false")),
        }
    }

    /// A number.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, Error> {
        let Some(item) = self.get(name) else { return Ok(None) };
        let wanted = || format!("a number from {} to {}", range.start(), range.end());
        let number = item.value.as_f64().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| item.is_no(&wanted()))
    }

    /// A whole number of at least so much.
    pub(super) fn count(&self, name: &str, least: u64) -> Result<Option<u64>, Error> {
        let Some(item) = self.get(name) else { return Ok(None) };
        let count = item.value.as_u64().filter(|count| *count >= least);
        count.map(Some).ok_or_else(|| item.is_no(&format!("a whole number of at least {least}")))
    }

    /// An object.
    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, Error> {
        self.get(name).map(|item| item.fields()).transpose()
    }
}

impl<'a> Item<'a> {
    /// The error that this is not what is wanted.
    pub(super) fn is_no(&self, wanted: &str) -> Error {
        Error::invalid(self.place.clone(), format!("{} is not {wanted}", shown(self.value)))
    }

    /// It as a text.
    pub(super) fn text(&self) -> Result<&'a str, Error> {
        self.value.as_str().ok_or_else(|| self.is_no("a string"))
    }

    /// It as an object.
    pub(super) fn fields(&self) -> Result<Fields<'a>, Error> {
        let members = self.value.as_object().ok_or_else(|| self.is_no("an object"))?;
        Ok(Fields { members, place: self.place.clone() })
    }

    /// It as a list.
    pub(super) fn items(&self) -> Result<Vec<Item<'a>>, Error> {
        let values = self.value.as_array().ok_or_else(|| self.is_no("a list"))?;
        let item = |(index, value)| Item { value, place: format!("{}[{index}]", self.place) };
        Ok(values.iter().enumerate().map(item).collect())
    }
}

/// A value as a sentence repeats it.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_member_is_named_with_its_place() {
        let body = json!({ "a": [{ "b": { "c": "x" } }], "n": 3, "none": null, "long": "ä".repeat(99) });
        let fields = Fields::whole(&body).expect("an object");
        let first = fields.need("a").and_then(|a| a.items()).expect("a list").remove(0);
        let inner = first.fields().and_then(|first| first.object("b")).expect("an object").expect("there");
        let wrong = inner.count("c", 1).expect_err("no number");
        assert_eq!(wrong.param.as_deref(), Some("a[0].b.c"));
        assert_eq!(wrong.message, r#"a[0].b.c: "x" is not a whole number of at least 1"#);
        assert_eq!(fields.text("n").expect_err("no text").message, "n: 3 is not a string");
        assert_eq!(
            fields.number("n", 0.0..=2.0).expect_err("too much").message,
            "n: 3 is not a number from 0 to 2"
        );
        assert!(fields.flag("long").expect_err("no flag").message.contains("ä… is not true or false"));
        assert!(fields.get("none").is_none() && fields.number("n", 0.0..=3.0) == Ok(Some(3.0)));
        assert_eq!(fields.need("none").expect_err("nothing").message, "none: is missing");
        assert_eq!(Fields::whole(&json!([1])).expect_err("a list").message, "the body is [1], not an object");
    }
}
