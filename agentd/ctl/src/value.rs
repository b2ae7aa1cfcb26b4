//! Results of tools for people. Their types are the tools' own, so only their shape is known here.

use crate::error::Outcome;
use crate::output::{Output, clean};
use serde_json::{Map, Value};

/// Print a result: a list of objects as a table, an object as one line a member, a text as it is.
pub(crate) fn print(value: &Value, output: &Output) -> Outcome {
    match value {
        Value::Null => Ok(()),
        Value::Object(members) => object(members, output),
        Value::Array(items) => list(items, output),
        other => output.line(clean(&cell(other))),
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
