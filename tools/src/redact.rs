//! Arguments as the audit chain keeps them: secrets replaced, long texts shortened but still provable.

use crate::declaration::Declaration;
use crate::tool;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Marks a secret in an argument's schema: `#[schemars(extend("secret" = true))]`.
const MARK: &str = "secret";
/// Texts up to this many bytes are kept as they are.
const MAX_TEXT: usize = 512;
/// Arguments that do not even parse are kept up to this length.
const MAX_RAW: usize = 256;

/// The schema of each tool's arguments: to make one takes longer than a whole call.
static SCHEMAS: LazyLock<HashMap<u16, Value>> = LazyLock::new(|| {
    let schema = |tool: &Declaration| serde_json::from_str(&tool.code.args_schema()).unwrap_or(Value::Null);
    tool::all().iter().map(|tool| (tool.number, schema(tool))).collect()
});

/// The arguments for the audit record. Fields that the tool marked as secret are replaced by their length, a long
/// text by its beginning, its length and its hash.
pub fn for_audit(args: &str, tool: &Declaration) -> String {
    redacted(args, SCHEMAS.get(&tool.number).unwrap_or(&Value::Null))
}

/// Whether a tool takes a secret.
pub(crate) fn has_secrets(tool: &Declaration) -> bool {
    fn any(schema: &Value) -> bool {
        match schema {
            Value::Object(fields) => fields.get(MARK) == Some(&Value::Bool(true)) || fields.values().any(any),
            Value::Array(items) => items.iter().any(any),
            _ => false,
        }
    }
    SCHEMAS.get(&tool.number).is_some_and(any)
}

fn redacted(args: &str, schema: &Value) -> String {
    if matches!(args, "" | "{}") {
        return "{}".into();
    }
    let Ok(mut value) = serde_json::from_str::<Value>(args) else {
        // It may hold a secret in a place that cannot be known, so only its size and hash are kept.
        return Value::String(format!("not JSON: {}", digest(args))).to_string();
    };
    redact(&mut value, schema);
    let text = value.to_string();
    if text.len() > 16 * MAX_TEXT { Value::String(shorten(&text, MAX_RAW)).to_string() } else { text }
}

fn redact(value: &mut Value, schema: &Value) {
    if schema.get(MARK) == Some(&Value::Bool(true)) {
        let length = value.as_str().map_or_else(|| value.to_string().len(), str::len);
        *value = Value::String(format!("(secret of {length} bytes)"));
        return;
    }
    match value {
        Value::String(text) if text.len() > MAX_TEXT => *text = shorten(text, 128),
        Value::Array(items) => {
            let of_items = schema.get("items").unwrap_or(&Value::Null);
            items.iter_mut().for_each(|item| redact(item, of_items));
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let of_field = schema.get("properties").and_then(|p| p.get(name)).unwrap_or(&Value::Null);
                redact(field, of_field);
            }
        }
        _ => {}
    }
}

fn shorten(text: &str, keep: usize) -> String {
    let end = text.floor_char_boundary(keep);
    format!("{}… ({})", text.get(..end).unwrap_or_default(), digest(text))
}

fn digest(text: &str) -> String {
    format!("{} bytes, blake3 {}", text.len(), blake3::hash(text.as_bytes()).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"properties": {
        "password": {"type": "string", "secret": true},
        "users": {"items": {"properties": {"pin": {"secret": true}}}}}}"#;

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).expect("JSON")
    }

    #[test]
    fn secrets_are_replaced_by_their_length_also_in_lists() {
        let args = r#"{"password": "hunter2", "name": "ada", "users": [{"pin": 1234, "name": "b"}]}"#;
        let kept = redacted(args, &schema());
        assert!(!kept.contains("hunter2") && !kept.contains("1234"), "{kept}");
        assert!(kept.contains("secret of 7 bytes") && kept.contains("ada"), "{kept}");
    }

    #[test]
    fn long_texts_are_shortened_to_something_that_can_still_be_proved() {
        let content = "ü".repeat(5000);
        let kept = redacted(&format!(r#"{{"content": "{content}"}}"#), &schema());
        assert!(kept.len() < 400 && kept.contains("10000 bytes"), "{kept}");
        assert!(kept.contains(&blake3::hash(content.as_bytes()).to_hex().to_string()));
        assert!(serde_json::from_str::<Value>(&kept).is_ok());
    }

    #[test]
    fn what_is_no_json_is_kept_as_size_and_hash() {
        let kept = redacted("{\"password\": \"hunter2\"", &schema());
        assert!(!kept.contains("hunter2") && serde_json::from_str::<Value>(&kept).is_ok(), "{kept}");
        assert_eq!(redacted("", &schema()), "{}");
    }
}
