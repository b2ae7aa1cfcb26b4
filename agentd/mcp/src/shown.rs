//! A declaration as an MCP tool.

use aios_abi::schema;
use aios_abi::tool::{Effect, ToolInfo};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

/// Examples in a description: enough to show the form, few enough to leave room for other tools.
const EXAMPLES: usize = 2;

/// The tool as it is listed.
pub fn tool(info: &ToolInfo) -> Tool {
    let mut tool = Tool::new(info.name.clone(), description(info), arguments(info));
    tool.output_schema = Some(schema::answer(info).into());
    tool.annotations = Some(hints(info.effect, info.outside));
    tool
}

/// The tool's own arguments; those of a change are accompanied by the reason and the wish for a dry run.
fn arguments(info: &ToolInfo) -> JsonObject {
    let mut arguments = schema::arguments(info);
    if info.effect != Effect::Read {
        if let Value::Object(properties) = arguments.entry("properties").or_insert_with(|| json!({})) {
            properties.extend(schema::of_a_change());
        }
        if let Value::Array(required) = arguments.entry("required").or_insert_with(|| json!([])) {
            required.push(schema::WHY.into());
        }
    }
    arguments
}

/// What a program may conclude. A change that can be taken back destroys nothing; whether one may be repeated no
/// declaration says, so only looks are said to be idempotent.
pub fn hints(effect: Effect, outside: bool) -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(effect == Effect::Read)
        .destructive(effect == Effect::Irreversible)
        .idempotent(effect == Effect::Read)
        .open_world(outside)
}

fn description(info: &ToolInfo) -> String {
    let effect = match info.effect {
        Effect::Read => "Looks only.",
        Effect::Reversible => {
            "Changes something; `undo` with the `audit` number of the answer takes it back."
        }
        Effect::Irreversible => "Changes something for good: it cannot be taken back.",
    };
    let mut text = format!(
        "{}. {effect} Touches {}. Needs the role {}.",
        info.summary,
        info.touches.join(", "),
        info.role.as_str()
    );
    for example in info.examples.iter().take(EXAMPLES) {
        text += &format!("\n\"{}\": {}", example.ask, example.args);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_abi::tool::Example;
    use aios_abi::who::Role;

    fn info(effect: Effect) -> ToolInfo {
        ToolInfo {
            number: 1,
            name: "fs.write".into(),
            summary: "Write a file".into(),
            effect,
            touches: vec!["the file named".into()],
            outside: false,
            role: Role::Operator,
            timeout_ms: 1_000,
            args_schema: r#"{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}"#
                .into(),
            result_schema: r#"{"type":"object","properties":{"bytes":{"type":"integer"}}}"#.into(),
            examples: vec![Example { ask: "write x".into(), args: r#"{"path":"x"}"#.into() }; 3],
        }
    }

    #[test]
    fn a_change_asks_for_its_reason_and_a_look_does_not() {
        let change = tool(&info(Effect::Reversible));
        assert_eq!(change.input_schema["required"], json!(["path", "why"]));
        assert_eq!(change.input_schema["properties"]["dry_run"]["type"], "boolean");
        let look = tool(&info(Effect::Read));
        assert_eq!(look.input_schema["required"], json!(["path"]));
        assert_eq!(look.input_schema["properties"].as_object().map(|all| all.len()), Some(1));
    }

    #[test]
    fn the_hints_are_those_of_the_effect() {
        let hints = |effect| {
            let hints = tool(&info(effect)).annotations.expect("hints");
            [hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint]
        };
        assert_eq!(hints(Effect::Read), [Some(true), Some(false), Some(true), Some(false)]);
        assert_eq!(hints(Effect::Reversible), [Some(false), Some(false), Some(false), Some(false)]);
        assert_eq!(hints(Effect::Irreversible), [Some(false), Some(true), Some(false), Some(false)]);
    }

    #[test]
    fn the_result_of_a_change_may_also_be_that_of_a_dry_run() {
        let of =
            |effect| tool(&info(effect)).output_schema.expect("a schema")["properties"]["result"].clone();
        assert_eq!(of(Effect::Read)["properties"]["bytes"]["type"], "integer");
        assert_eq!(of(Effect::Irreversible)["anyOf"][0]["properties"]["bytes"]["type"], "integer");
        assert_eq!(of(Effect::Irreversible)["anyOf"][1], schema::preview());
    }

    #[test]
    fn a_description_says_what_the_declaration_says_and_shows_two_examples() {
        assert_eq!(
            tool(&info(Effect::Irreversible)).description.as_deref(),
            Some(
                "Write a file. Changes something for good: it cannot be taken back. Touches the file named. Needs the \
                 role operator.\n\"write x\": {\"path\":\"x\"}\n\"write x\": {\"path\":\"x\"}"
            )
        );
    }
}
