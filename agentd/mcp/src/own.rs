//! The two tools that no declaration has, because they are about calls themselves.

use crate::shown::hints;
use aios_abi::CallError;
use aios_abi::schema;
use aios_abi::tool::Effect;
use rmcp::model::{JsonObject, Tool};
use serde::Deserialize;
use serde_json::{Value, json};

/// Takes a change back. A name without a family: no declaration can have it.
pub const UNDO: &str = "undo";
/// Shows the audit log.
pub const AUDIT: &str = "audit";

/// Records of one answer.
const MOST: u32 = 200;
/// Records when the call does not say.
const USUAL: u32 = 20;

/// Arguments of [`UNDO`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UndoArgs {
    pub audit: u64,
    #[serde(default)]
    pub why: String,
}

/// Arguments of [`AUDIT`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditArgs {
    pub from: Option<u64>,
    #[serde(default = "usual")]
    pub limit: u32,
}

fn usual() -> u32 {
    USUAL
}

impl AuditArgs {
    pub(crate) fn limit(&self) -> Result<u32, CallError> {
        match self.limit {
            limit @ 1..=MOST => Ok(limit),
            other => Err(CallError::invalid(format!("`limit` is {other}; it must be 1 to {MOST}"))),
        }
    }
}

/// Arguments that have a type here.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(args: JsonObject) -> Result<T, CallError> {
    serde_json::from_value(Value::Object(args))
        .map_err(|e| CallError::invalid(format!("the arguments do not fit: {e}")))
}

/// Both, as they are listed after the others.
pub fn tools() -> [Tool; 2] {
    let undo = tool(
        UNDO,
        "Take back a change that is `undoable`. It is refused when somebody has changed the same thing since. Needs the \
         role operator, or that of the tool if it is higher.",
        json!({
            "audit": { "type": "integer", "minimum": 0, "description": "The `audit` number in the change's answer" },
            (schema::WHY): schema::why(),
        }),
        json!(["audit", schema::WHY]),
        schema::undone(),
        Effect::Reversible,
    );
    let records = json!({
        "type": "object",
        "properties": {
            "records": {
                "type": "array", "items": { "type": "object" },
                "description": "The records, oldest first: number, time, who, for whom, which tool, why, what came of it"
            },
            "head": { "type": "object", "description": "The newest record's number and hash, signed by the machine" }
        },
        "required": ["records", "head"]
    });
    let audit = tool(
        AUDIT,
        "Show what was done on this machine, by whom, for whom and why. Looks only. Without `from` the newest records.",
        json!({
            "from": { "type": "integer", "minimum": 0, "description": "Number of the first record" },
            "limit": {
                "type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL,
                "description": "At most this many"
            },
        }),
        json!([]),
        object(records),
        Effect::Read,
    );
    [undo, audit]
}

fn tool(
    name: &'static str,
    text: &'static str,
    properties: Value,
    required: Value,
    result: JsonObject,
    effect: Effect,
) -> Tool {
    let arguments = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false
    });
    let mut tool = Tool::new(name, text, object(arguments));
    tool.output_schema = Some(result.into());
    tool.annotations = Some(hints(effect, false));
    tool
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(members) => members,
        _ => JsonObject::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args<T: for<'a> Deserialize<'a>>(value: Value) -> Result<T, CallError> {
        read(object(value))
    }

    #[test]
    fn arguments_are_bounded_and_unknown_ones_refused() {
        let audit: AuditArgs = args(json!({})).expect("nothing is needed");
        assert_eq!((audit.from, audit.limit()), (None, Ok(USUAL)));
        for limit in [0, MOST + 1] {
            assert!(args::<AuditArgs>(json!({ "limit": limit })).expect("read").limit().is_err());
        }
        for wrong in [json!({}), json!({"audit": -1}), json!({"audit": 1, "x": 2}), json!({"audit": "1"})] {
            assert!(args::<UndoArgs>(wrong.clone()).is_err(), "{wrong}");
        }
        assert_eq!(args::<UndoArgs>(json!({"audit": 7, "why": "w"})).expect("read").audit, 7);
    }
}
