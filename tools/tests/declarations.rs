//! What every declaration must keep to, and the table of all of them, which is pinned: clients hold
//! on to numbers and names.

use aios_abi::tool::Effect;
use aios_toold::declaration::Declaration;
use aios_toold::tool;
use rustix::thread::CapabilitySet;
use serde_json::Value;
use std::collections::HashSet;
use std::fmt::Write as _;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{text} is not JSON: {e}"))
}

/// Where a value departs from a schema, for the part of JSON Schema that the declarations use.
fn departs(schema: &Value, value: &Value, at: &str) -> Option<String> {
    for any in ["oneOf", "anyOf"].into_iter().filter_map(|word| schema[word].as_array()) {
        let all: Vec<_> = any.iter().map(|one| departs(one, value, at)).collect();
        if all.iter().all(Option::is_some) {
            return Some(format!("{at} = {value} is none of what is allowed: {all:?}"));
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{at}: a type {other} is not known here"),
    };
    if !types.is_empty() && !types.iter().any(|name| is(name)) {
        return Some(format!("{at} = {value} is no {types:?}"));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return Some(format!("{at} = {value} is not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|known| !known.contains(value)) {
        return Some(format!("{at} = {value} is not one of {}", schema["enum"]));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
        let form = regex_lite::Regex::new(pattern).unwrap_or_else(|e| panic!("{at}: {e}"));
        if !form.is_match(text) {
            return Some(format!("{at} = {value} has not the form {pattern}"));
        }
    }
    if let Some(number) = value.as_f64() {
        let beyond = schema["minimum"].as_f64().is_some_and(|least| number < least)
            || schema["maximum"].as_f64().is_some_and(|most| number > most);
        if beyond {
            return Some(format!("{at} = {value} is out of bounds"));
        }
    }
    let fields = value.as_object()?;
    let missing = schema["required"].as_array().into_iter().flatten().find(|name| {
        let name = name.as_str().expect("a name");
        !fields.contains_key(name)
    });
    if let Some(missing) = missing {
        return Some(format!("{at} lacks {missing}"));
    }
    fields.iter().find_map(|(name, field)| match schema["properties"].get(name) {
        Some(of_field) => departs(of_field, field, &format!("{at}.{name}")),
        None => Some(format!("{at}.{name} is not known")),
    })
}

fn each(check: impl Fn(&Declaration)) {
    assert!(!tool::all().is_empty());
    tool::all().iter().for_each(|tool| check(tool));
}

#[test]
fn the_table_of_tools_is_pinned() {
    let mut table = String::new();
    for tool in tool::all() {
        let info = tool.info();
        let fields = json(&info.args_schema)["properties"].clone();
        let fields: Vec<_> =
            fields.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let role = info.role.as_str();
        let (number, name, limit) = (info.number, info.name, info.timeout_ms);
        let _ = writeln!(table, "{number} {name}({}) {:?} {role} {limit} ms", fields.join(", "), info.effect);
    }
    insta::assert_snapshot!(table);
}

#[test]
fn numbers_and_names_are_unique_and_found() {
    let mut seen = HashSet::new();
    each(|tool| {
        assert_eq!(tool::by_number(tool.number).map(|t| t.name), Some(tool.name));
        assert_eq!(tool::by_name(tool.name).map(|t| t.number), Some(tool.number));
    });
    for tool in tool::all() {
        assert!(seen.insert(tool.number.to_string()) && seen.insert(tool.name.into()), "{}", tool.name);
    }
    assert!(tool::by_number(0).is_none() && tool::by_name("fs").is_none());
}

#[test]
fn every_example_fits_the_schema_and_the_type_and_is_not_asked_twice() {
    let mut asked = HashSet::new();
    each(|tool| assert!(tool.examples.len() >= 5, "{} has too few examples", tool.name));
    for tool in tool::all() {
        let schema = json(&tool.code.args_schema());
        for (ask, args) in tool.examples {
            assert!(asked.insert(ask.to_lowercase()), "{ask:?} is asked twice");
            assert_eq!(departs(&schema, &json(args), tool.name), None, "{ask}");
            tool.code.check_args(args).unwrap_or_else(|e| panic!("{} {args}: {e}", tool.name));
        }
    }
}

#[test]
fn what_may_be_left_out_is_said_by_the_schema() {
    each(|tool| {
        let schema = json(&tool.code.args_schema());
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let may_be_null = departs(field, &Value::Null, name).is_none();
            let is_said = required.contains(&name.as_str()) || may_be_null || field.get("default").is_some();
            assert!(is_said, "{}: the schema says no default of {name}; its type lacks Serialize", tool.name);
        }
    });
}

#[test]
fn unknown_fields_and_what_is_no_object_are_refused_by_schema_and_type() {
    each(|tool| {
        let schema = json(&tool.code.args_schema());
        assert_eq!(schema["additionalProperties"], Value::Bool(false), "{}", tool.name);
        let (_, args) = tool.examples.first().expect("an example");
        let mut args = json(args);
        args["surprise"] = Value::Bool(true);
        let error = tool.code.check_args(&args.to_string()).expect_err(tool.name);
        assert!(error.message.contains("surprise"), "{}: {error}", tool.name);
        for wrong in ["[]", "null", "1", "\"x\"", "{", "{} {}"] {
            assert!(tool.code.check_args(wrong).is_err(), "{} takes {wrong}", tool.name);
        }
    });
}

#[test]
fn schemas_say_what_each_argument_is_and_hold_no_references() {
    each(|tool| {
        for text in [tool.code.args_schema(), tool.code.result_schema()] {
            assert!(!text.contains("$ref"), "{}: {text}", tool.name);
            assert_eq!(json(&text)["type"], "object", "{}", tool.name);
        }
        let schema = json(&tool.code.args_schema());
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            assert!(field["description"].is_string(), "{}: {name} is not described", tool.name);
        }
    });
}

#[test]
fn declarations_are_complete_and_changes_need_more_than_a_viewer() {
    use aios_abi::who::Role;
    each(|tool| {
        assert!(!tool.touches.is_empty() && tool.timeout_ms > 0, "{}", tool.name);
        assert!(tool.summary.len() > 10 && !tool.summary.ends_with('.'), "{}", tool.name);
        // A look may ask for more: names of other people's files are not for everybody.
        assert!(tool.effect == Effect::Read || tool.role > Role::Viewer, "{}", tool.name);
    });
}

/// Power that the workshop needs besides that of tools: another user for a worker, and a root directory of its own.
const TO_MAKE_WORKERS: CapabilitySet = CapabilitySet::SETGID
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_CHROOT);

#[test]
fn the_workshop_has_what_all_tools_together_declare_and_nothing_else() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/board/rootfs");
    let loaded = aios_unit::load(&[&root.join("etc/aios/services")], &aios_unit::Users::read(&root));
    let workshop = loaded.units.iter().find(|unit| unit.name == "workshop").expect("a service");
    let needs = || tool::all().iter().map(|tool| &tool.needs);
    let declared = needs().fold(TO_MAKE_WORKERS, |all, needs| all | needs.capabilities);
    assert_eq!(workshop.sandbox.capabilities, declared);
    let families: HashSet<_> = needs().flat_map(|needs| needs.families).map(|f| format!("{f:?}")).collect();
    let granted: HashSet<_> = workshop.sandbox.families.iter().map(|f| format!("{f:?}")).collect();
    // A worker's conversation is a pair of local sockets.
    assert_eq!(granted, families.into_iter().chain(["Unix".to_owned()]).collect());
    let broker = loaded.units.iter().find(|unit| unit.name == "toold").expect("a service");
    assert!(
        broker.sandbox.capabilities.is_empty() && !broker.sandbox.network,
        "the broker has power of its own"
    );
}
