//! Results in words, by fixed code: no model comes between what a tool found and what a person reads.

use aios_abi::tool::CallDone;
use serde_json::{Map, Value};
use std::fmt::Write;

/// Rows of a list that are written out.
const ROWS: usize = 12;
/// Details in a row.
const DETAILS: usize = 5;
/// Characters of a detail; longer ones are left to those who look at the result itself.
const LONGEST_DETAIL: usize = 32;
/// Characters of a heading.
const LONGEST: usize = 80;
/// Characters of a text, such as a file's content.
const LONGEST_TEXT: usize = 2_000;

/// A call's result: its summary, and below it what the summary leaves out.
pub fn result(done: &CallDone) -> String {
    let mut text = sentence(&done.summary);
    let value: Value = serde_json::from_str(&done.result).unwrap_or_default();
    let Some(fields) = value.as_object() else { return text };
    if let Some(content) = fields.get("content").and_then(Value::as_str).filter(|content| !content.is_empty())
    {
        let _ = write!(text, "\n\n{}", shortened(content, LONGEST_TEXT));
    }
    // The first list of a result is what was asked for.
    if let Some(rows) = fields.values().find_map(Value::as_array).filter(|rows| !rows.is_empty()) {
        text.push('\n');
        for row in rows.iter().take(ROWS) {
            let _ = write!(text, "\n- {}", line(row));
        }
        if rows.len() > ROWS {
            let _ = write!(text, "\n- and {} more", rows.len() - ROWS);
        }
    }
    text
}

/// The same words with a capital letter in front and a full stop behind.
pub fn sentence(words: &str) -> String {
    let mut characters = words.trim().chars();
    let mut text: String =
        characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect();
    if text.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | '%' | '"' | '/')) {
        text.push('.');
    }
    text
}

fn line(row: &Value) -> String {
    match row {
        Value::Object(fields) => of_fields(fields),
        other => shortened(&scalar("", other).unwrap_or_default(), LONGEST),
    }
}

/// The first text is the heading, a few other details follow.
fn of_fields(fields: &Map<String, Value>) -> String {
    let told = |name: &str, value: &Value| scalar(name, value).map(|text| (name.to_owned(), text));
    let head = ["name", "path", "mount", "target", "destination", "id"]
        .iter()
        .find_map(|name| Some((*name, fields.get(*name)?.as_str()?)))
        .or_else(|| fields.iter().find_map(|(name, value)| Some((name.as_str(), value.as_str()?))));
    let mut details = fields
        .iter()
        .filter(|(name, value)| {
            head.is_none_or(|(head, _)| head != name.as_str()) && **value != Value::Bool(false)
        })
        .filter_map(|(name, value)| told(name, value))
        .filter(|(_, text)| !text.is_empty() && text.chars().count() <= LONGEST_DETAIL)
        // `aios-toold: command /usr/bin/aios-toold` says nothing new.
        .filter(|(_, text)| head.is_none_or(|(_, head)| head.is_empty() || !text.contains(head)))
        .map(|(name, text)| format!("{} {text}", name.trim_end_matches("_bytes").replace('_', " ")))
        .take(DETAILS);
    let mut text = head.map(|(_, text)| shortened(text, LONGEST)).unwrap_or_default();
    if let Some(first) = details.next() {
        let rest = details.fold(first, |all, detail| format!("{all}, {detail}"));
        let _ = write!(text, "{}{rest}", if text.is_empty() { "" } else { ": " });
    }
    text
}

/// A value that fits in a line; none for lists, objects and nothing.
fn scalar(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(yes) => Some(if *yes { "yes" } else { "no" }.into()),
        Value::Number(number) => Some(match number.as_u64() {
            Some(bytes)
                if name.ends_with("bytes")
                    || matches!(name, "total" | "available" | "used" | "free" | "size") =>
            {
                size(bytes)
            }
            _ => number.to_string(),
        }),
        Value::Array(list) => {
            let all: Option<Vec<String>> = list.iter().map(|one| scalar(name, one)).collect();
            all.map(|all| all.join(" ")).filter(|text| !text.is_empty())
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let (value, unit) = aios_abi::units::scale(bytes);
    let digits = usize::from(unit != "B" && value < 100.0);
    format!("{value:.digits$} {unit}")
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(summary: &str, result: &str) -> CallDone {
        CallDone {
            result: result.into(),
            summary: summary.into(),
            audit: 1,
            undoable: false,
            repeated: false,
        }
    }

    #[test]
    fn the_summary_comes_first_and_then_the_list() {
        let text = result(&done(
            "2 services are running",
            r#"{"services":[{"name":"netd","state":"running","pid":12,"degraded":false,"memory_bytes":2097152,"status":null},
                {"name":"x","state":"failed"}],"refused":[]}"#,
        ));
        assert_eq!(
            text,
            "2 services are running.\n\n- netd: state running, pid 12, memory 2.0 MiB\n- x: state failed"
        );
    }

    #[test]
    fn content_is_shown_as_it_is_and_long_lists_end() {
        assert_eq!(result(&done("2 lines", r#"{"content":"a\nb"}"#)), "2 lines.\n\na\nb");
        let many = format!("{{\"list\":[{}]}}", vec!["1"; 20].join(","));
        assert!(result(&done("x", &many)).ends_with("\n- 1\n- and 8 more"));
        assert_eq!(result(&done("a line", "7")), "A line.");
    }

    #[test]
    fn sizes_have_the_units_that_people_read() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(123 << 20), "123 MiB");
        assert_eq!(size(u64::MAX), "16777216 TiB");
    }
}
