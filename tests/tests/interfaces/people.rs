//! Accounts with the true broker, console and command line: one asks the other, in both directions at once.

use crate::house::{House, PASSWORD, said_by};
use serde_json::{Value, json};
use std::process::Output;

const OWN: &str = "a password of my own";

/// `aiosctl` as bob, who is logged in under this name.
fn bob(house: &House, arguments: &[&str]) -> Output {
    house.aiosctl(&[&["--context", "bob"], arguments].concat(), "")
}

/// A change by the administrator; the result.
fn change(house: &House, tool: &str, args: &[&str]) -> Value {
    house.json(&[&["--context", "ada", "tools", "call", tool], args, &["--why", "a test"]].concat())
}

fn login(house: &House, command: &[&str], input: &str) -> Output {
    let config =
        std::fs::read_to_string(house.path("home/aios/config.toml")).expect("the login is remembered");
    let pin = config.lines().find_map(|line| line.strip_prefix("fingerprint = \"")?.strip_suffix('"'));
    let pin = ["--fingerprint", pin.expect("a fingerprint"), "--password-stdin"];
    house.aiosctl(&[command, &pin].concat(), input)
}

#[test]
fn people_come_choose_a_password_and_are_logged_out_at_once() {
    let house = House::start();
    let url = house.url.clone();
    let entered = login(&house, &["--context", "ada", "login", &url, "--user", "ada"], PASSWORD);
    assert!(entered.status.success(), "{}", said_by(&entered));

    let made = change(&house, "users.create", &["name=bob", "role=operator"]);
    let first = made["result"]["one_time_password"].as_str().expect("a password").to_owned();
    assert_eq!(made["result"]["account"]["password_due"], json!(true));
    assert!(!made["summary"].as_str().expect("a summary").contains(&first), "{made}");
    let again = house.aiosctl(&["--context", "ada", "users", "create", "bob", "--why", "twice"], "");
    assert!(!again.status.success() && said_by(&again).contains("already"), "{}", said_by(&again));

    // The password that was made serves for one thing alone.
    let early = login(&house, &["--context", "bob", "login", &url, "--user", "bob"], &first);
    assert_eq!(early.status.code(), Some(3), "{}", said_by(&early));
    assert!(said_by(&early).contains("aiosctl password"), "{}", said_by(&early));
    let chosen =
        login(&house, &["--context", "bob", "password", &url, "--user", "bob"], &format!("{first}\n{OWN}"));
    assert!(chosen.status.success(), "{}", said_by(&chosen));
    assert!(said_by(&chosen).contains("operator"), "{}", said_by(&chosen));
    // Roles are proven on the booted machine: the console of this house is root's, and root is an administrator.
    let twice = login(&house, &["--context", "bob", "login", &url, "--user", "bob"], &first);
    assert_eq!(twice.status.code(), Some(3), "the made password still lets in: {}", said_by(&twice));

    // Disabled, bob's token is worth nothing at the next request; enabled again it stays so.
    assert!(bob(&house, &["status"]).status.success());
    let off = change(&house, "users.modify", &["name=bob", "disabled=true"]);
    assert_eq!(bob(&house, &["status"]).status.code(), Some(3));
    let undo = off["audit"].as_u64().expect("a record").to_string();
    let undone = house.aiosctl(&["--context", "ada", "undo", &undo, "--why", "a test"], "");
    assert!(undone.status.success(), "{}", said_by(&undone));
    assert_eq!(bob(&house, &["status"]).status.code(), Some(3));
    let back = login(&house, &["--context", "bob", "login", &url, "--user", "bob"], OWN);
    assert!(back.status.success(), "{}", said_by(&back));

    // Removed and brought back: with the password and the role, which no undo data held.
    let gone = change(&house, "users.remove", &["name=bob"]);
    assert_eq!(bob(&house, &["status"]).status.code(), Some(3));
    let undo = gone["audit"].as_u64().expect("a record").to_string();
    let undone = house.aiosctl(&["--context", "ada", "undo", &undo, "--why", "a test"], "");
    assert!(undone.status.success(), "{}", said_by(&undone));
    let back = login(&house, &["--context", "bob", "login", &url, "--user", "bob"], OWN);
    assert!(back.status.success(), "{}", said_by(&back));
    change(&house, "users.grant", &["name=bob", "role=admin"]);
    let ended = change(&house, "users.revoke", &["name=bob"]);
    assert_eq!(ended["result"]["account"]["role"], json!("viewer"));
    let alone = house.aiosctl(&["--context", "ada", "users", "remove", "ada", "--why", "me"], "");
    assert!(!alone.status.success() && said_by(&alone).contains("only administrator"), "{}", said_by(&alone));

    // What was said once stands nowhere.
    let secrets = [first.as_str(), OWN, PASSWORD];
    for file in ["audit.redb", "audit.journal"] {
        let audit = std::fs::read(house.path("toold").join(file)).expect("reads");
        for secret in secrets {
            let found = audit.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{file} has a password");
        }
    }
    for entry in std::fs::read_dir(house.path("toold/undo")).expect("lists").flatten() {
        let saved = std::fs::read(entry.path()).unwrap_or_default();
        let has = |text: &str| saved.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!secrets.iter().any(|secret| has(secret)) && !has("hash"), "undo data has a password");
    }
}
