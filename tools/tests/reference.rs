//! `TOOLS.md` is what the declarations say.

use aios_toold::{declaration, reference};
use serde_json::Value;
use std::path::Path;

const RENEW: &str = "RENEW_REFERENCE";
const HOW: &str = "RENEW_REFERENCE=1 cargo test --release -p aios-toold --test reference";

#[test]
fn the_reference_page_is_that_of_the_declarations() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("TOOLS.md");
    let page = reference::page(HOW);
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&file, &page).expect("the page is written");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == page, "tools/TOOLS.md is not what the declarations say; make it anew with: {HOW}");
}

#[test]
fn a_dry_run_is_what_the_interfaces_say_that_it_is() {
    let made = schemars::schema_for!(declaration::Preview);
    let said = aios_abi::schema::preview();
    let members = |schema: &Value| -> Vec<(String, Value)> {
        let all = schema["properties"].as_object().expect("members");
        all.iter().map(|(name, node)| (name.clone(), node["type"].clone())).collect()
    };
    assert_eq!(members(made.as_value()), members(&said));
    assert_eq!(made.as_value()["required"], said["required"]);
}

#[test]
fn no_argument_takes_a_word_that_accompanies_every_call() {
    // `why` and `dry_run` stand beside the arguments over MCP, and they and the others are flags of `aiosctl`.
    for tool in aios_toold::tool::all() {
        let schema: Value = serde_json::from_str(&tool.code.args_schema()).expect("a schema");
        for word in ["why", "dry_run", "idempotency_key", "json", "context", "help"] {
            assert!(schema["properties"].get(word).is_none(), "{} has an argument {word}", tool.name);
        }
    }
}
