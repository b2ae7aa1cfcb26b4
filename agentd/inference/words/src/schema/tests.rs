use super::*;
use serde_json::json;

fn one(schema: Value) -> Result<Field, Misfit> {
    let schema = json!({"type": "object", "properties": {"it": schema}, "additionalProperties": false});
    Arguments::parse(&schema.to_string()).map(|mut arguments| arguments.fields.remove(0))
}

fn form(pattern: &str) -> Shape {
    Shape::Pattern(Pattern(Regex::new(pattern).expect("is a pattern")))
}

#[test]
fn what_schemars_writes_for_tools_is_understood() {
    let word = |w: &str| json!({"type": "string", "const": w, "description": "…"});
    let words = Shape::Word(vec!["a".into(), "b".into()]);
    let cases = [
        (json!({"type": "string", "description": "…"}), Shape::Text, false),
        (json!({"type": ["string", "null"], "default": null}), Shape::Text, true),
        (json!({"type": ["string", "null"], "pattern": "^a+$"}), form("^a+$"), true),
        (json!({"type": "boolean", "default": false}), Shape::Truth, false),
        (json!({"type": "string", "enum": ["a", "b"]}), words.clone(), false),
        (json!({"oneOf": [word("a"), word("b")], "default": "a"}), words.clone(), false),
        (json!({"oneOf": [word("a"), {"type": "string", "enum": ["b"]}]}), words.clone(), false),
        (json!({"anyOf": [{"oneOf": [word("a"), word("b")]}, {"type": "null"}]}), words, true),
        (
            json!({"type": "integer", "format": "uint16", "minimum": 0, "maximum": 65535}),
            Shape::Whole { min: 0, max: 65535 },
            false,
        ),
        (
            json!({"type": ["integer", "null"], "format": "uint64", "minimum": 1}),
            Shape::Whole { min: 1, max: i64::MAX },
            true,
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 3}),
            Shape::List { item: Box::new(Shape::Text), min: 0, max: 3 },
            false,
        ),
    ];
    for (schema, shape, nullable) in cases {
        let field = one(schema.clone()).unwrap_or_else(|e| panic!("{schema}: {e}"));
        assert_eq!((field.shape, field.nullable), (shape, nullable), "{schema}");
    }
}

#[test]
fn what_is_not_understood_is_named() {
    let cases = [
        (json!({"type": "string", "pattern": "["}), "`pattern`"),
        (json!({"type": "string", "pattern": 1}), "`pattern`"),
        (json!({"type": "string", "minLength": 1}), "`minLength`"),
        (json!({"type": "number"}), "`number`"),
        (json!({"type": "object"}), "`object`"),
        (json!({"$ref": "#/$defs/X"}), "names no type"),
        (json!({"type": ["string", "integer"]}), "several types"),
        (json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}), "names no type"),
        (json!({"oneOf": [{"type": "string"}, {"const": "a"}]}), "not words"),
        (json!({"type": "integer", "multipleOf": 2}), "`multipleOf`"),
        (json!({"type": "integer", "minimum": 2, "maximum": 1}), "no number"),
        (json!({"enum": []}), "no value"),
        (json!({"enum": [1]}), "1 is not a word"),
        (json!({"type": "array"}), "what stands in it"),
        (
            json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}),
            "lists in a list",
        ),
        (json!(true), "not an object"),
    ];
    for (schema, what) in cases {
        let error = one(schema.clone()).expect_err("is refused").to_string();
        assert!(error.contains(what) && error.starts_with("it"), "{schema}: {error}");
    }
    assert!(Arguments::parse("[]").is_err());
    assert!(Arguments::parse("{").is_err());
    assert!(Arguments::parse(r#"{"type":"object","required":["x"]}"#).is_err());
}

#[test]
fn values_are_judged_with_their_place() {
    let arguments = Arguments::parse(
        &json!({
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "key": {"type": "string", "pattern": "^[ab]{2}$"},
                "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": 9},
                "kinds": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
            },
            "required": ["name"],
        })
        .to_string(),
    )
    .expect("is a schema");
    let check = |value: Value| {
        let object = value.as_object().cloned().expect("an object");
        arguments.check(&object).map_err(|e| e.to_string())
    };
    assert_eq!(check(json!({"name": "x", "limit": null, "kinds": ["a", "b"], "key": "ba"})), Ok(()));
    for (value, what) in [
        (json!({}), "name: it is required and missing"),
        (json!({"name": 1}), "name: 1 is not a text"),
        (json!({"name": null}), "name: null is not a text"),
        (json!({"name": "x", "key": "abc"}), "key: \"abc\" is not a text of the form ^[ab]{2}$"),
        (json!({"name": "x", "key": 1}), "key: 1 is not a text of the form ^[ab]{2}$"),
        (json!({"name": "x", "limit": 10}), "limit: 10 is not a whole number from 1 to 9"),
        (json!({"name": "x", "limit": 1.5}), "limit: 1.5 is not a whole number from 1 to 9"),
        (json!({"name": "x", "kinds": ["a", "c"]}), "kinds[1]: \"c\" is not one of a, b"),
        (json!({"name": "x", "kinds": ["a", "a", "a"]}), "kinds: 3 items are not 0 to 2"),
        (json!({"name": "x", "other": 1}), "other: there is no such argument"),
    ] {
        assert_eq!(check(value), Err(what.to_owned()));
    }
}
