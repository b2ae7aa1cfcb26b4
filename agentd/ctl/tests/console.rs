//! `aiosctl` against the true console over TLS; only the daemons behind the console are stood in for.

#[allow(unreachable_pub)]
mod appliance;

use appliance::{Appliance, PASSWORD, said};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_machine_is_claimed_once_with_its_code_and_its_certificate() {
    let appliance = Appliance::start();
    let early = appliance.run(&["status"]);
    assert_eq!(early.status.code(), Some(3), "{}", said(&early));
    assert!(said(&early).contains("aiosctl login"), "{}", said(&early));

    let wrong = appliance.claim("AAAA-BBBB-CCCC", &appliance.fingerprint);
    assert_eq!(wrong.status.code(), Some(3), "{}", said(&wrong));
    assert!(said(&wrong).contains("code"), "{}", said(&wrong));

    let forged =
        format!("{:02X}{}", u8::from(appliance.fingerprint.starts_with("00")), &appliance.fingerprint[2..]);
    let other = appliance.claim(&appliance.code, &forged);
    assert_eq!(other.status.code(), Some(1), "{}", said(&other));
    assert!(said(&other).contains("certificate"), "{}", said(&other));

    let blind = ["login", &appliance.url, "--user", "admin", "--password-stdin"];
    let blind = appliance.run_with_input(&blind, PASSWORD);
    assert_eq!(blind.status.code(), Some(2), "nobody compared the certificate: {}", said(&blind));

    let early = ["login", &appliance.url, "--fingerprint", &appliance.fingerprint];
    let early = appliance.run(&early);
    assert_eq!(early.status.code(), Some(3), "{}", said(&early));
    assert!(said(&early).contains(&format!("`aiosctl claim {}`", appliance.url)), "{}", said(&early));

    let claimed = appliance.claim(&appliance.code, &appliance.fingerprint);
    assert!(claimed.status.success(), "{}", said(&claimed));
    let config = std::fs::metadata(appliance.path("home/aios/config.toml")).expect("the login is remembered");
    assert_eq!(config.permissions().mode() & 0o777, 0o600);
    let again = appliance.claim(&appliance.code, &appliance.fingerprint);
    assert_eq!(again.status.code(), Some(1), "claimed twice: {}", said(&again));
    assert!(said(&again).contains("aiosctl login"), "{}", said(&again));
}

#[test]
fn a_login_is_taken_given_back_and_then_worth_nothing() {
    let appliance = Appliance::claimed();
    // The certificate is known by now, so that it need not be given again.
    let login = ["login", &appliance.url, "--user", "admin", "--password-stdin"];
    let wrong = appliance.run_with_input(&login, "not the password");
    assert_eq!(wrong.status.code(), Some(3), "{}", said(&wrong));
    let right = appliance.run_with_input(&[&["--json"], &login[..]].concat(), PASSWORD);
    assert!(right.status.success(), "{}", said(&right));
    let document: serde_json::Value = serde_json::from_slice(&right.stdout).expect("one document");
    assert_eq!(document["session"]["user"], json!({"name": "admin", "role": "admin"}));
    // The firewall hears of each, so that it knows who guesses.
    let heard = appliance.logins.lock().expect("whole");
    let one = || heard.recv_timeout(std::time::Duration::from_secs(10)).expect("the firewall is told");
    let here = std::net::IpAddr::from([127, 0, 0, 1]);
    let mut both = [one(), one()];
    both.sort();
    assert_eq!(both, [(here, false), (here, true)]);
    drop(heard);

    let kept = std::fs::read(appliance.path("home/aios/config.toml")).expect("config");
    assert!(appliance.text(&["logout"]).contains("logged out"));
    assert_eq!(appliance.run(&["status"]).status.code(), Some(3));
    // Somebody kept a copy of the token.
    std::fs::write(appliance.path("home/aios/config.toml"), kept).expect("writes");
    let stolen = appliance.run(&["status"]);
    assert_eq!(stolen.status.code(), Some(3), "{}", said(&stolen));
}

#[test]
fn the_overview_services_and_logs_are_shown_for_people_and_programs() {
    let appliance = Appliance::claimed();
    let status = appliance.json(&["status"]);
    assert_eq!(status["machine"]["hostname"], "box");
    assert!(status.pointer("/inference/Err").is_some(), "{status}");
    let text = appliance.text(&["status"]);
    assert!(
        text.contains("aiOS 0.1.0") && text.contains("3.0 MiB") && text.contains("typo.toml:3"),
        "{text}"
    );
    let table = || text.lines().skip_while(|line| !line.starts_with("SERVICE")).take(2);
    assert!(table().count() == 2 && table().all(|line| line.chars().count() <= 80), "{text}");

    let list = appliance.json(&["services", "list"]);
    assert_eq!(list["services"][0]["pid"], 71);
    assert_eq!(list["refused"].as_array().map(Vec::len), Some(1));

    assert_eq!(
        appliance.text(&["service", "security", "netd"]),
        "yes  is root  0.34  user\n\nnetd  1.8 OK\n"
    );
    let scores = appliance.json(&["service", "security"]);
    assert_eq!(scores["services"][0]["exposure"], 1.8);

    let logs = appliance.json(&["logs", "--unit", "netd", "--grep", "a", "-n", "5"]);
    assert_eq!(logs["lines"][0]["text"], "a\u{1b}[2Jb");
    let text = appliance.text(&["logs"]);
    assert!(text.contains("4 older lines") && text.contains("a\u{fffd}[2Jb"), "{text:?}");
    let followed = appliance.run(&["logs", "--follow"]);
    let text = said(&followed);
    assert!(text.contains("netd first\n") && text.contains("netd second\n"), "{text}");
    assert_eq!(followed.status.code(), Some(4), "{text}");
}

#[test]
fn tools_are_listed_explained_called_and_taken_back() {
    let appliance = Appliance::claimed();
    assert!(appliance.text(&["tools", "list"]).contains("What fs.write does"));
    let shown = appliance.text(&["tools", "show", "fs.read"]);
    assert!(shown.contains("'path=/data/a b'") && shown.contains("Where"), "{shown}");
    assert_eq!(appliance.run(&["tools", "show", "fs.none"]).status.code(), Some(5));

    let done = appliance.json(&["tools", "call", "fs.read", "path=7", "count=7"]);
    assert_eq!(done["result"], json!({"path": "7", "count": 7}));
    let piped =
        appliance.run_with_input(&["--json", "tools", "call", "fs.read", "--args", "-"], r#"{"path":"p"}"#);
    assert!(said(&piped).contains(r#""path": "p""#), "{}", said(&piped));
    for (wrong, status) in [("count=x", 2), ("pfad=x", 2), ("path=/etc/shadow", 3)] {
        let refused = appliance.run(&["tools", "call", "fs.read", wrong]);
        assert_eq!(refused.status.code(), Some(status), "{wrong}: {}", said(&refused));
    }
    let silent = appliance.run(&["tools", "call", "fs.write", "path=/data/x"]);
    assert_eq!(silent.status.code(), Some(2), "a change without a reason: {}", said(&silent));
    assert_eq!(said(&silent), "aiosctl: a change needs a reason for the audit log: give --why REASON\n");

    let written = appliance.json(&["tools", "call", "fs.write", "path=/data/x", "--why", "test"]);
    assert_eq!(written["undoable"], true);
    let undone = appliance.json(&["undo", &written["audit"].to_string(), "--why", "test"]);
    assert!(undone["audit"].as_u64() > written["audit"].as_u64(), "{undone}");
    let refused = appliance.run(&["--json", "tools", "call", "fs.read", "path=/etc/shadow"]);
    let error: serde_json::Value = serde_json::from_slice(&refused.stderr).expect("an error is JSON too");
    assert_eq!((error["code"].as_str(), refused.stdout.is_empty()), (Some("denied"), true));
}

#[test]
fn an_answer_is_told_step_by_step_and_a_proposal_can_be_copied() {
    let appliance = Appliance::claimed();
    let document = appliance.json(&["ask", "is", "all", "well?"]);
    assert_eq!(document["answer"]["text"], "All well.");
    assert_eq!(document["events"].as_array().map(Vec::len), Some(6));

    let text = appliance.text(&["ask", "is all well?"]);
    let line = text.lines().find(|line| line.contains("tools call fs.write ")).expect("a command line");
    assert!(line.contains(" count=3 ") && line.contains(" 'path=/data/a b' "), "{line}");
    assert!(line.starts_with("  aiosctl ") && line.ends_with(" --why 'it was wished' --asked"), "{line}");
    let steps = "looking\nfs.read  path=/data/x  to know\n  done in 4 ms, audit record 3\nAll well.\n";
    assert_eq!(text, format!("{steps}\n{line}\n"));

    // The answer itself says what was refused; programs get the sentence as an error.
    let refused = appliance.run(&["ask", "be", "refused"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert_eq!(said(&refused), "fs.read  path=/etc/shadow  to know\n  failed in 2 ms\nThat was refused.\n");
    let refused = appliance.run(&["--json", "ask", "be refused"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let document: serde_json::Value = serde_json::from_slice(&refused.stdout).expect("one document");
    assert_eq!(document["answer"]["text"], "That was refused.");
    let error: serde_json::Value = serde_json::from_slice(&refused.stderr).expect("an error is JSON too");
    assert_eq!(error, json!({"code": "failed", "message": "not for anybody"}));

    let broken = appliance.run(&["ask", "break"]);
    assert_eq!(broken.status.code(), Some(4));
    assert!(
        said(&broken).contains("Once upon\naiosctl: ") && said(&broken).contains("ended in the middle"),
        "{}",
        said(&broken)
    );
}

#[test]
fn what_words_mean_is_said_and_measured_and_nothing_is_called() {
    let appliance = Appliance::claimed();
    let line = appliance.text(&["ask", "--dry-run", "what", "is", "in", "/data/x"]);
    assert_eq!(line, "aiosctl tools call fs.read path=/data/x\n");
    let none = appliance.run(&["ask", "--dry-run", "tell me a story"]);
    assert_eq!((none.status.code(), said(&none).contains("No tool")), (Some(1), true), "{}", said(&none));

    let cases = [
        json!({ "ask": "show /data/x", "tool": "fs.read", "args": { "path": "/data/x" } }),
        json!({ "ask": "show /data/y to me", "tool": "fs.read", "args": { "path": "/data/z" } }),
        json!({ "ask": "put x into /data/x", "tool": "fs.write", "args": { "path": "/data/x" } }),
        json!({ "ask": "tell me a story", "tool": null }),
    ];
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    let file = appliance.file("cases.jsonl", &lines);
    let measured = appliance.json(&["eval", "tools", &file]);
    let all = &measured["scores"]["all"];
    assert_eq!(
        [&all["questions"], &all["valid_percent"], &all["right_tool_percent"], &all["tokens"]],
        [&json!(4), &json!(100.0), &json!(75.0), &json!(12.0)]
    );
    assert_eq!(all["right_tool_and_arguments_percent"], 50.0);
    assert_eq!(measured["scores"]["nobody"]["questions"], 1);
    assert_eq!(measured["confused"], json!([{ "wanted": "fs.write", "found": "fs.read", "count": 1 }]));
    let table = appliance.text(&["eval", "tools", "--wrong", &file]);
    assert!(table.contains("retrieval") && table.contains("put x into /data/x"), "{table}");

    for (content, wanted) in [
        ("", "holds no question"),
        ("\n{\"ask\": 1}\n", "cases.jsonl:2: "),
        (r#"{"ask": "x", "tool": "no.such", "args": {}}"#, "no tool \"no.such\""),
    ] {
        let refused = appliance.run(&["eval", "tools", &appliance.file("cases.jsonl", content)]);
        assert!(!refused.status.success() && said(&refused).contains(wanted), "{}", said(&refused));
    }
}

#[test]
fn the_audit_log_is_listed_exported_and_proved_here() {
    let appliance = Appliance::claimed();
    for n in 0..3 {
        appliance.json(&["tools", "call", "fs.write", &format!("path=/data/{n}"), "--why", "test"]);
    }
    let page = appliance.json(&["audit", "list", "-n", "3"]);
    let seqs: Vec<_> =
        page["records"].as_array().expect("records").iter().map(|r| r["seq"].as_u64()).collect();
    assert_eq!(seqs, [Some(3), Some(4), Some(5)]);
    let text = appliance.text(&["audit", "list"]);
    assert!(text.contains("begun") && text.contains("end of 4") && text.contains("admin"), "{text}");

    let first = appliance.json(&["audit", "verify"]);
    assert_eq!((&first["records"], &first["proved_before"]), (&json!(6), &json!(null)));
    let file = appliance.path("log.jsonl");
    assert_eq!(appliance.json(&["audit", "export", &file])["records"], 6);
    let again = appliance.json(&["audit", "verify", "--file", &file]);
    assert_eq!(again["proved_before"], 5);
    assert!(!appliance.run(&["audit", "export", &file]).status.success(), "a file was overwritten");
    let written = std::fs::read_to_string(&file).expect("file");
    std::fs::write(&file, written.replace("/data/1", "/data/9")).expect("writes");
    let altered = appliance.run(&["audit", "verify", "--file", &file]);
    assert!(said(&altered).contains("record 2 was altered"), "{}", said(&altered));

    // The machine cuts its newest records off and signs what is left.
    appliance.records.lock().expect("whole").truncate(4);
    let cut = appliance.run(&["audit", "verify"]);
    assert_eq!(cut.status.code(), Some(1), "{}", said(&cut));
    assert!(said(&cut).contains("became shorter"), "{}", said(&cut));
    let evidence = appliance.run(&["audit", "export", &appliance.path("cut.jsonl")]);
    assert!(said(&evidence).contains("as it came"), "{}", said(&evidence));
    assert_eq!(appliance.json(&["audit", "verify", "--forget"])["records"], 4);
    appliance.json(&["audit", "verify"]);
}

#[test]
fn every_tool_is_a_command_with_its_help_and_completions() {
    let appliance = Appliance::claimed();
    let done = appliance.json(&["fs", "read", "/data/a b", "--count", "7", "--order", "up"]);
    assert_eq!(done["result"], json!({"path": "/data/a b", "count": 7, "order": "up"}));
    for (wrong, status) in [
        (&["fs", "read"][..], 2),
        (&["fs", "read", "x", "--count", "many"], 2),
        (&["fs", "read", "x", "--order", "sideways"], 2),
        (&["fs", "read", "x", "--why", "w"], 2),
        (&["fs", "fly", "x"], 2),
        (&["fs", "read", "/etc/shadow"], 3),
        (&["fs", "write", "x"], 2),
    ] {
        let refused = appliance.run(wrong);
        assert_eq!(refused.status.code(), Some(status), "{wrong:?}: {}", said(&refused));
    }
    let written = appliance.json(&["fs", "write", "/data/x", "--why", "test"]);
    assert_eq!(written["undoable"], true);
    assert!(appliance.json(&["fs", "write", "/data/x", "--dry-run"])["audit"].is_u64());

    let help = appliance.text(&["fs", "write", "--help"]);
    for words in
        ["What fs.write does", "Where", "--why", "--dry-run", "up, down", "files under the path given"]
    {
        assert!(help.contains(words), "{words}: {help}");
    }
    assert!(appliance.text(&["--help"]).contains("Tools of the machine: fs"));
    let offered = |words: &[&str]| appliance.completed(words).lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(offered(&["f"]).contains(&"fs".into()));
    assert_eq!(offered(&["fs", ""])[..2], ["read", "write"]);
    assert!(offered(&["service", ""]).contains(&"security".into()));
    assert_eq!(offered(&["fs", "read", "x", "--or"]), ["--order"]);
    assert_eq!(offered(&["fs", "read", "x", "--order", ""]), ["up", "down"]);
    assert!(offered(&["fs", "write", "--"]).contains(&"--why".into()));

    // What was seen of another release is asked for once more before it is refused.
    let kept = std::fs::read_dir(appliance.path("cache/aios/tools")).expect("kept").next().expect("one");
    let kept = kept.expect("read").path();
    std::fs::write(&kept, "[]").expect("writes");
    assert_eq!(appliance.json(&["fs", "read", "x"])["result"]["path"], "x");
    assert!(std::fs::read_to_string(&kept).expect("reads").contains("fs.read"));
}

#[test]
fn completions_need_no_machine() {
    let appliance = Appliance::start();
    for shell in ["bash", "zsh", "fish"] {
        assert!(appliance.text(&["completion", shell]).contains("aiosctl"), "{shell}");
    }
    assert_eq!(appliance.run(&["tools", "cal"]).status.code(), Some(2));
}
