//! "Adding a tool means adding one file": `tools/tests/sample/sample/peek.rs` is that file, compiled into a broker of its
//! own by the feature `sample`. Nothing else names it but this test.

use crate::house::{self, House, said_by};
use aios_inferd::grammar::{Grammar, Offers, Texts};
use aios_words::Words;
use aios_words::schema::Arguments;
use serde_json::{Value, json};
use std::process::Command;

const NAME: &str = "sample.peek";

#[test]
fn a_tool_that_is_one_file_is_found_in_every_interface() {
    let house = House::with_sample();

    // The table of numbers, the schema, and what the console's form is made of.
    let list = house.json(&["tools", "list"]);
    let tool =
        list.as_array().expect("a list").iter().find(|tool| tool["name"] == NAME).expect("it is listed");
    assert_eq!(
        (&tool["number"], &tool["effect"], &tool["role"]),
        (&json!(60_000), &json!("read"), &json!("viewer"))
    );
    let schema = &tool["args_schema"];
    assert_eq!(schema["required"], json!(["path"]));
    assert!(
        schema["properties"]["path"]["description"].as_str().is_some_and(|text| text.contains("the kernel"))
    );
    assert!(schema["properties"]["manner"].to_string().contains("loud"), "{schema}");

    // The grammar under which a model fills in its arguments.
    let arguments = Arguments::parse(&schema.to_string()).expect("inferd reads the schema");
    let words = Words::of("peek loudly at /proc/version");
    let grammar = Grammar::of(&arguments, &Offers::new(), &words, Texts::Words);
    let grammar = grammar.expect("the question has what it needs").to_string();
    assert!(grammar.contains("/proc/version") && grammar.contains("loud"), "{grammar}");

    // MCP and OpenAPI, as programs of others read them.
    let output = house.python("sample.py", &[NAME]);
    assert!(output.status.success(), "{}", said_by(&output));
    let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(&seen["tool"]["input_schema"], schema);
    assert_eq!(seen["tool"]["annotations"]["read_only_hint"], true);
    assert_eq!(
        seen["tool"]["output_schema"]["properties"]["result"]["properties"]["glimpse"]["description"],
        "The text."
    );
    assert!(
        seen["called"]["result"]["glimpse"].as_str().is_some_and(|text| text.starts_with("Linux")),
        "{seen}"
    );
    assert_eq!(
        (&seen["operation"]["operationId"], &seen["operation"]["x-aios-number"]),
        (&json!(NAME), &json!(60_000))
    );

    // The command, its help and its completions.
    let done = house.json(&["sample", "peek", "/proc/version", "--manner", "loud"]);
    assert!(done["result"]["glimpse"].as_str().is_some_and(|text| text.starts_with("LINUX")), "{done}");
    let help = house.aiosctl(&["sample", "peek", "--help"], "");
    assert!(said_by(&help).contains("aiosctl sample peek /proc/version --manner loud"), "{}", said_by(&help));
    let offered = |words: &[&str]| -> Vec<String> {
        let mut command = house.command();
        command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        command
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "false")
            .env("_CLAP_IFS", "\n");
        let output = command.args(["--", "aiosctl"]).args(words).output().expect("starts");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    };
    assert_eq!(offered(&["sam"]), ["sample"]);
    assert_eq!(offered(&["sample", "pe"]), ["peek"]);
    assert_eq!(offered(&["sample", "peek", "x", "--man"]), ["--manner"]);
    assert_eq!(offered(&["sample", "peek", "x", "--manner", ""]), ["plain", "loud"]);

    // The sandbox: its code opens whatever it is told, and the kernel lets it open what was declared.
    let refused = house.aiosctl(&["--json", "sample", "peek", "/etc/passwd"], "");
    let error: Value = serde_json::from_slice(&refused.stderr).expect("an error is JSON too");
    assert_eq!((refused.status.code(), &error["code"]), (Some(3), &json!("denied")), "{}", said_by(&refused));

    // The audit log, and the reference page.
    let records = house.json(&["audit", "list"]).to_string();
    assert!(records.contains(NAME), "{records}");
    let page = Command::new(house::sample_toold()).arg("--reference").output().expect("starts");
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    for words in [
        "### sample.peek · 60000",
        "Peek at a file that a test made.",
        "reads `/proc/version`",
        "| `manner` |",
    ] {
        assert!(page.contains(words), "{words}");
    }
}
