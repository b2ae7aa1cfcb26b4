//! Results of tools for people. Their types are the tools' own, so only their shape is known here.

use crate::args::resolve;
use crate::error::Outcome;
use crate::output::{Output, bytes, clean};
use serde_json::{Map, Value};

/// Sizes below this are shown to the byte.
const EXACT: u64 = 10 * 1024;

/// The same result with its sizes in units that people read. A number is one when its name or its description
/// in the tool's schema of results says so, or the description of the object that it is in.
pub(crate) fn with_sizes(value: &Value, schema: &Value) -> Value {
    sized(value, schema, schema, false)
}

fn sized(value: &Value, declared: &Value, root: &Value, in_bytes: bool) -> Value {
    let node = resolve(declared, root, 0);
    let in_bytes = in_bytes || [declared, node].iter().any(|node| says_bytes(&node["description"]));
    match value {
        Value::Number(number) if in_bytes => match number.as_u64() {
            Some(count) if count < EXACT => format!("{count} B").into(),
            Some(count) => bytes(count).into(),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|item| sized(item, &node["items"], root, in_bytes)).collect(),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let declared = &node["properties"][name];
                let in_bytes =
                    name == "bytes" || name.ends_with("_bytes") || (in_bytes && is_integer(declared));
                (name.clone(), sized(value, declared, root, in_bytes))
            };
            Value::Object(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

fn says_bytes(description: &Value) -> bool {
    let words = description.as_str().unwrap_or("").split(|c: char| !c.is_alphanumeric());
    words.into_iter().any(|word| word.eq_ignore_ascii_case("bytes"))
}

/// Percentages and the like stand beside sizes, and are numbers with a fraction.
fn is_integer(declared: &Value) -> bool {
    match &declared["type"] {
        Value::Array(types) => types.iter().any(|name| name == "integer"),
        name => name == "integer",
    }
}

/// The result without members that say nothing, or only the summary's sentence again.
pub(crate) fn beyond(mut value: Value, summary: &str) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| {
            let repeats = |text: &str| text.contains(' ') && summary.ends_with(text);
            !member.is_null() && !member.as_str().is_some_and(repeats)
        });
    }
    value
}

/// Print a result: a list of objects as a table, an object as one line a member, a text as it is.
pub(crate) fn print(value: &Value, output: &Output) -> Outcome {
    match value {
        Value::Null => Ok(()),
        Value::Object(members) => object(members, output),
        Value::Array(items) => list(items, output),
        // A text of several lines often ends its last one itself.
        other => output.line(clean(cell(other).trim_end_matches('\n'))),
    }
}

fn object(members: &Map<String, Value>, output: &Output) -> Outcome {
    let (long, short): (Vec<_>, Vec<_>) = members.iter().partition(|(_, value)| is_long(value));
    let width = short.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in short {
        output.line(clean(&format!("{name:width$}  {}", cell(value))))?;
    }
    for (name, value) in long {
        output.line(clean(&format!("{name}:")))?;
        print(value, output)?;
    }
    Ok(())
}

fn list(items: &[Value], output: &Output) -> Outcome {
    let columns = columns(items);
    if columns.is_empty() {
        return items.iter().try_for_each(|item| output.line(clean(&cell(item))));
    }
    let head: Vec<String> = columns.iter().map(|name| name.to_uppercase()).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| columns.iter().map(|name| cell(&item[*name])).collect()).collect();
    if output.has_room_for(&head, &rows) {
        return output.table(&head, rows);
    }
    items.iter().enumerate().try_for_each(|(index, item)| {
        if index > 0 {
            output.text("\n")?;
        }
        print(item, output)
    })
}

/// The members of all objects in the order of their first appearance; none when some item is no object.
fn columns(items: &[Value]) -> Vec<&str> {
    let mut columns = Vec::new();
    for item in items {
        let Some(members) = item.as_object() else { return Vec::new() };
        for name in members.keys() {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
    }
    columns
}

/// Whether a value takes lines of its own.
fn is_long(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(Value::is_object),
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => text.contains('\n'),
        _ => false,
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let words: Vec<String> =
                members.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect();
            words.join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_the_members_of_all_its_objects() {
        let items = [json!({"pid": 1, "name": "init"}), json!({"pid": 2, "user": "root"})];
        let mut names = columns(&items);
        names.sort_unstable();
        assert_eq!(names, ["name", "pid", "user"]);
        assert!(columns(&[json!({"a": 1}), json!(2)]).is_empty());
    }

    #[test]
    fn sizes_are_known_by_name_or_by_what_the_schema_says() {
        let integer = |description| json!({"type": "integer", "description": description});
        let schema = json!({"description": "A file.", "properties": {
            "size": {"type": ["integer", "null"], "description": "Bytes."},
            "links": integer("Names that it has."),
            "list": {"items": {"$ref": "#/$defs/Memory"}}
        }, "$defs": {"Memory": {"description": "Memory in bytes.", "properties": {
            "total": integer("All."), "percent": {"type": "number", "description": "Used part."}
        }}}});
        let value = json!({"size": 10 << 20, "links": 20_000, "sent_bytes": 1500,
            "list": [{"total": 20 << 10, "percent": 12.5}]});
        let expected = json!({"size": "10 MiB", "links": 20_000, "sent_bytes": "1500 B",
            "list": [{"total": "20 KiB", "percent": 12.5}]});
        assert_eq!(with_sizes(&value, &schema), expected);
        assert_eq!(with_sizes(&json!({"bytes": 3, "x": 4}), &Value::Null), json!({"bytes": "3 B", "x": 4}));
    }

    #[test]
    fn a_result_does_not_repeat_its_summary() {
        let preview = json!({"would": "write 5 bytes", "diff": "+a b"});
        assert_eq!(beyond(preview, "dry run: would write 5 bytes"), json!({"diff": "+a b"}));
        assert_eq!(beyond(json!({"would": "end it", "diff": null}), "dry run: would end it"), json!({}));
        let status = json!({"state": "running"});
        assert_eq!(beyond(status.clone(), "netd is running"), status);
    }

    #[test]
    fn cells_are_short_words_not_json() {
        let shown = [json!(null), json!("x"), json!(3), json!(["a", "b"]), json!([{"a": 1, "b": "x"}])]
            .map(|value| cell(&value));
        assert_eq!(shown, ["-", "x", "3", "a, b", "a=1 b=x"]);
    }

    #[test]
    fn texts_of_several_lines_and_lists_of_objects_stand_alone() {
        assert!(is_long(&json!("a\nb")) && is_long(&json!([{"a": 1}])) && is_long(&json!({"a": 1})));
        assert!(!is_long(&json!("a")) && !is_long(&json!(["a"])) && !is_long(&json!({})));
    }
}
