//! The reference page, `TOOLS.md`: made from the declarations, so nothing on it can be out of date.

use crate::declaration::Declaration;
use crate::reach::{Needs, Way};
use crate::tool;
use aios_abi::tool::Effect;
use rustix::thread::CapabilitySet;
use serde_json::Value;
use std::fmt::Write as _;

/// How deep a result is shown; what is deeper is named by its type.
const DEEPEST: usize = 4;

/// The page of all tools of this program.
pub fn page(how: &str) -> String {
    let mut page = String::from(
        "# Tools\n\nWhat the appliance can do, by family. Each tool is called in the same words everywhere: as `POST \
         /api/v1/tools/NAME`, as `aiosctl FAMILY VERB`, as an MCP tool, from the console's form and by the agent. A change needs a \
         reason (`why`) and can be tried out (`dry_run`). What is not named under *kernel* is refused by the kernel, whatever the \
         tool's code says; the paths that a call's arguments name come to it.\n",
    );
    let mut families: Vec<(&str, Vec<&Declaration>)> = Vec::new();
    let mut tools: Vec<_> = tool::all().to_vec();
    tools.sort_by_key(|tool| tool.name);
    for tool in tools {
        let family = tool.name.split('.').next().unwrap_or_default();
        match families.last_mut().filter(|(last, _)| *last == family) {
            Some((_, tools)) => tools.push(tool),
            None => families.push((family, vec![tool])),
        }
    }
    for (family, tools) in families {
        let _ = write!(page, "\n## {family}\n");
        for tool in tools {
            section(&mut page, tool);
        }
    }
    page + &format!("\n---\nThis page is made from the declarations: `{how}`.\n")
}

fn section(page: &mut String, tool: &Declaration) {
    let (effect, undo) = match tool.effect {
        Effect::Read => ("looks only", "nothing to take back"),
        Effect::Reversible => {
            ("changes something", "takes all of it back, or refuses because somebody changed it since")
        }
        Effect::Irreversible => ("changes something for good", "none"),
    };
    let _ = write!(
        page,
        "\n### {} · {}\n\n{}.\n\n| | |\n|---|---|\n| effect | {effect} |\n| undo | {undo} |\n| least role | {} |\n| time limit | {} \
         |\n| touches | {} |\n| kernel | {} |\n",
        tool.name,
        tool.number,
        tool.summary,
        tool.role.as_str(),
        span(tool.timeout_ms),
        tool.touches.join(", "),
        kernel(tool),
    );
    fields(page, "argument", &tool.code.args_schema());
    fields(page, "result", &tool.code.result_schema());
    page.push_str("\nExamples:\n");
    for (ask, args) in tool.examples {
        let _ = writeln!(page, "- {ask} → `{args}`");
    }
}

fn span(milliseconds: u32) -> String {
    match milliseconds % 1000 {
        0 => format!("{} s", milliseconds / 1000),
        _ => format!("{milliseconds} ms"),
    }
}

/// What a worker of this tool keeps, in words.
fn kernel(tool: &Declaration) -> String {
    let needs = &tool.needs;
    if needs.in_broker {
        return "nothing: the broker answers itself".into();
    }
    let mut parts = Vec::new();
    let mut list = |what: &str, items: Vec<String>| {
        if !items.is_empty() {
            parts.push(format!("{what} {}", items.join(", ")));
        }
    };
    let code = |paths: &[&str]| paths.iter().map(|path| format!("`{path}`")).collect();
    list("named by the arguments:", ways(tool));
    list("reads", code(needs.read));
    list("lists", code(needs.list));
    list("capabilities", capabilities(needs));
    list("sockets", needs.families.iter().map(|family| format!("{family:?}")).collect());
    list("system calls", needs.calls.iter().map(|group| format!("{group:?}")).collect());
    list("asks", needs.asks.iter().map(|asks| format!("{asks:?}")).collect());
    if needs.looks_into_processes {
        parts.push("looks into other processes, alone with `/proc`".into());
    }
    if needs.memory != Needs::NOTHING.memory {
        parts.push(format!("memory {} MiB", needs.memory >> 20));
    }
    if parts.is_empty() { "nothing".into() } else { parts.join("; ") }
}

/// How the paths are used that the arguments of the examples name.
fn ways(tool: &Declaration) -> Vec<String> {
    let named = tool.examples.iter().filter_map(|(_, args)| tool.code.paths(args).ok()).flatten();
    let mut words: Vec<String> = Vec::new();
    for (way, _) in named {
        let word = match way {
            Way::List => "names and facts",
            Way::Read => "content",
            Way::Change => "a directory, to be changed",
        };
        if !words.iter().any(|known| known == word) {
            words.push(word.into());
        }
    }
    words
}

fn capabilities(needs: &Needs) -> Vec<String> {
    let all: CapabilitySet = needs.capabilities;
    all.iter_names().map(|(name, _)| name.to_owned()).collect()
}

/// A table of what a schema describes.
fn fields(page: &mut String, what: &str, schema: &str) {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let mut rows = Vec::new();
    collect(&mut rows, "", &schema, what == "argument", 0);
    if rows.is_empty() {
        let _ = write!(page, "\nNo {what}.\n");
        return;
    }
    let _ = write!(page, "\n| {what} | type | what it is |\n|---|---|---|\n");
    for [name, kind, text] in rows {
        let _ = writeln!(page, "| `{name}` | {kind} | {text} |");
    }
}

fn collect(rows: &mut Vec<[String; 3]>, above: &str, schema: &Value, is_argument: bool, depth: usize) {
    for (name, node) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let name = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        let (kind, inner, list) = kind(node);
        let default = match &node["default"] {
            Value::Null => String::new(),
            value => format!(", else `{value}`"),
        };
        let needed = if is_argument && is_required { ", needed" } else { "" };
        let text = node["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        rows.push([name.clone(), format!("{kind}{needed}{default}"), text]);
        if depth < DEEPEST {
            collect(rows, &if list { format!("{name}[]") } else { name }, inner, is_argument, depth + 1);
        }
    }
}

/// A type in words, the schema of what is inside, and whether there may be several.
fn kind(node: &Value) -> (String, &Value, bool) {
    let parts: Vec<&Value> = ["oneOf", "anyOf"]
        .into_iter()
        .filter_map(|word| node[word].as_array())
        .flatten()
        .filter(|part| part["type"] != "null")
        .collect();
    if let [only] = parts[..] {
        return kind(only);
    }
    let constants = |part: &Value| match (&part["const"], &part["enum"]) {
        (Value::String(one), _) => vec![one.clone()],
        (_, Value::Array(several)) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let mut choices: Vec<String> = parts.iter().flat_map(|part| constants(part)).collect();
    choices.extend(constants(node));
    if !choices.is_empty() {
        let quoted: Vec<String> = choices.iter().map(|choice| format!("`{choice}`")).collect();
        return (quoted.join(" or "), node, false);
    }
    let name = match &node["type"] {
        Value::String(name) => name.as_str(),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("any")
        }
        _ => "any",
    };
    match name {
        "array" => {
            let (item, inner, _) = kind(&node["items"]);
            (format!("list of {item}"), inner, true)
        }
        "string" => ("text".into(), node, false),
        name => (name.into(), node, false),
    }
}
