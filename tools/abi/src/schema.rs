//! JSON Schemas (2020-12) that follow from a tool's declaration: what a call comes to, whoever shows it. MCP, OpenAPI and
//! the reference page say the same because they ask here.

use crate::call::MAX_KEY;
use crate::tool::{Effect, ToolInfo};
use serde_json::{Map, Value, json};

/// Name of what accompanies the arguments of a change: the reason. No tool has an argument of this name.
pub const WHY: &str = "why";
/// Name of what accompanies the arguments of a change: only say what would be done. No tool has an argument of this name.
pub const DRY_RUN: &str = "dry_run";

/// Name of what accompanies the arguments of a change: what the client calls this request
/// ([`Meta::key`](crate::call::Meta::key)). No tool has an argument of this name.
pub const KEY: &str = "idempotency_key";

/// Name of what accompanies the arguments of a change on the console's API: the reason is what a person asked for in words
/// ([`ASKED`](crate::call::ASKED)). No tool has an argument of this name.
pub const ASKED: &str = "asked";

/// A reason.
pub fn why() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_WHY,
        "description": "The reason, in one sentence; it is kept in the audit log"
    })
}

/// Bytes of a reason.
pub const LONGEST_WHY: usize = 2_000;

/// Whether the call only says what would be done.
pub fn dry_run() -> Value {
    json!({
        "type": "boolean",
        "default": false,
        "description": "Only say what would be changed; nothing is"
    })
}

/// Whether the reason is what a person asked for.
pub fn asked() -> Value {
    json!({
        "type": "boolean",
        "default": false,
        "description": "The reason is what a person asked for in words and this call was proposed for; the machine may learn from it"
    })
}

/// What the client calls the request.
pub fn key() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY,
        "pattern": "^[!-~]+$",
        "description": "The client's own name of this request, such as a UUID. Sent again under it within a day the change is \
                        not made again, and answered as the first time"
    })
}

/// The members that accompany the arguments of a change.
pub fn of_a_change() -> Map<String, Value> {
    Map::from_iter([(WHY.into(), why()), (DRY_RUN.into(), dry_run()), (KEY.into(), key())])
}

/// What a dry run says, of every tool: the broker's `Preview`.
pub fn preview() -> Value {
    json!({
        "type": "object",
        "description": "What a dry run says",
        "properties": {
            "would": { "type": "string", "description": "What would be done, in one sentence" },
            "diff": {
                "type": ["string", "null"],
                "description": "The change of a text, as a unified diff"
            }
        },
        "required": ["would"]
    })
}

/// The arguments of a tool.
pub fn arguments(tool: &ToolInfo) -> Map<String, Value> {
    object(&tool.args_schema)
}

/// What a call of a tool comes to: the tool's own result, and what the broker says of the call.
pub fn answer(tool: &ToolInfo) -> Map<String, Value> {
    let result = Value::Object(object(&tool.result_schema));
    done(match tool.effect {
        Effect::Read => result,
        Effect::Reversible | Effect::Irreversible => json!({ "anyOf": [result, preview()] }),
    })
}

/// What taking a change back comes to.
pub fn undone() -> Map<String, Value> {
    done(json!({
        "type": "object",
        "properties": {
            "undone": { "type": "integer", "minimum": 0, "description": "The record whose change was taken back" },
            "what": { "type": "string", "description": "What was done for it" }
        },
        "required": ["undone", "what"]
    }))
}

fn done(result: Value) -> Map<String, Value> {
    let Value::Object(schema) = json!({
        "type": "object",
        "properties": {
            "result": result,
            "summary": { "type": "string", "description": "The result in a few words" },
            "audit": { "type": "integer", "minimum": 0, "description": "Number of this call's record in the audit log" },
            "undoable": { "type": "boolean", "description": "Whether `undo` of that record can take it back" },
            "repeated": {
                "type": "boolean",
                "description": "Whether it was made before, under the same idempotency key, and not again"
            }
        },
        "required": ["result", "summary", "audit", "undoable", "repeated"],
        "additionalProperties": false
    }) else {
        return Map::new();
    };
    schema
}

/// The arguments that say something: not those that are none, nor those that are what they would be without being given.
pub fn said(schema: &Value, args: &Value) -> Map<String, Value> {
    let says = |(key, value): &(&String, &Value)| {
        !value.is_null() && schema["properties"][key.as_str()].get("default") != Some(value)
    };
    let args = args.as_object().into_iter().flatten();
    args.filter(says).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A schema that is an object, as those of all declarations are.
fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}
