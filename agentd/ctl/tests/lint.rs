//! `aiosctl service lint`, as an author runs it: without a machine.

use std::path::Path;
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../image/board/rootfs");

fn lint(directory: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aiosctl"));
    command.args(["service", "lint"]).args(words).current_dir(directory);
    command.output().expect("aiosctl runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_service_file_is_judged_without_a_machine() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, more: &str| {
        let text = format!("description = \"d\"\nexec = [\"/x\"]\nuser = \"web\"\n{more}\n");
        std::fs::write(directory.path().join(name), text).expect("written");
    };
    write("good.toml", "[resources]\nmemory_max = \"1M\"\npids_max = 1\n[sandbox]\nnetwork = false");
    write("bad.toml", "stop_timeout = \"soon\"");

    let good = lint(directory.path(), &["good.toml"]);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    assert!(said(&good).ends_with("good.toml is valid\n"), "{}", said(&good));
    assert!(said(&good).starts_with("good.toml:3: note: whether there is a user \"web\""), "{}", said(&good));

    let both = lint(directory.path(), &["good.toml", "bad.toml"]);
    assert_eq!(both.status.code(), Some(1));
    assert!(
        said(&both).contains("bad.toml:4: \"soon\" is not a duration; write a number"),
        "{}",
        said(&both)
    );
    assert!(!said(&both).contains("bad.toml is valid"));

    let rooted = lint(directory.path(), &["--root", ROOT, "good.toml"]);
    assert_eq!(rooted.status.code(), Some(1));
    assert!(said(&rooted).contains("good.toml:3: there is no user \"web\""), "{}", said(&rooted));
    let elsewhere = lint(directory.path(), &["--root", "/nowhere", "good.toml"]);
    assert_eq!(elsewhere.status.code(), Some(2), "{}", said(&elsewhere));

    let mut json = Command::new(env!("CARGO_BIN_EXE_aiosctl"));
    let json = json.args(["--json", "service", "lint", "bad.toml"]).current_dir(directory.path());
    let json = json.output().expect("aiosctl runs");
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one document");
    assert_eq!(
        (&document[0]["valid"], &document[0]["remarks"][0]["weight"]),
        (&false.into(), &"error".into())
    );
}

#[test]
fn the_service_files_of_the_image_are_valid_together() {
    let services = Path::new(ROOT).join("etc/aios/services");
    let entries = std::fs::read_dir(&services).expect("the image has services");
    let names: Vec<String> =
        entries.map(|entry| entry.expect("is read").file_name().to_string_lossy().into_owned()).collect();
    let mut words = vec!["--root", ROOT];
    words.extend(names.iter().map(String::as_str));
    let output = lint(&services, &words);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
