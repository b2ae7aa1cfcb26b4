//! The policy, through the broker: set, asked, taken back, kept, and what it does to calls.

mod house;

use aios_abi::call::Meta;
use aios_abi::tool::{CallDone, ToolReply, ToolRequest};
use aios_abi::who::{Person, Role};
use aios_abi::{CallError, ErrorCode};
use aios_toold::broker::Way;
use aios_toold::caller::Caller;
use house::House;
use serde_json::{Value, json};

/// The agent, of its own accord.
async fn alone(house: &House, tool: &str, args: Value) -> Result<CallDone, CallError> {
    let caller = Caller { by: "agentd".into(), person: None, role: Role::Operator };
    call(house, caller, tool, args).await
}

async fn call(house: &House, caller: Caller, tool: &str, args: Value) -> Result<CallDone, CallError> {
    let tool = aios_toold::tool::by_name(tool).expect("a tool").number;
    let request = ToolRequest::Call { tool, args: args.to_string(), dry_run: false };
    match house.broker.clone().answer(Way::new(caller, Meta::why("a test")), request).await? {
        ToolReply::Done(done) => Ok(done),
        other => panic!("not the end of a call: {other:?}"),
    }
}

async fn set(house: &House, document: &str) -> Result<CallDone, CallError> {
    house.call(Role::Admin, "a test", "policy.set", json!({ "document": document })).await
}

async fn verdict(house: &House, args: Value) -> Value {
    let done = house.call(Role::Viewer, "", "policy.test", args).await.expect("decides");
    serde_json::from_str(&done.result).expect("is JSON")
}

#[tokio::test]
async fn a_document_counts_at_once_survives_a_restart_and_is_taken_back() {
    let house = House::new();
    let (first, second) = (house.path("a"), house.path("b"));
    let write = |path: &std::path::Path| json!({ "path": path, "content": "x" });
    alone(&house, "fs.write", write(&first))
        .await
        .expect("new appliances let the agent do what can be undone");
    let done = set(&house, "autonomy = \"confirm\"\n").await.expect("is set");
    assert!(done.undoable);
    let refused = alone(&house, "fs.write", write(&second)).await.expect_err("asks");
    assert_eq!(refused.code, ErrorCode::Denied);
    assert!(refused.message.contains("the agent's autonomy is `confirm`"), "{refused}");
    assert!(!second.exists());
    house.change("fs.write", write(&second)).await.expect("a person is not the agent");

    let house = house.restart(|_| {});
    alone(&house, "fs.write", write(&first)).await.expect_err("the document was kept");
    house.undo(done.audit).await.expect_err("an operator cannot take back what only an administrator sets");
    let request = ToolRequest::Undo { audit: done.audit };
    house.ask(Role::Admin, "a test", request).await.expect("is taken back");
    alone(&house, "fs.write", write(&first)).await.expect("as before");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_what_counted_still_counts() {
    let house = House::new();
    set(&house, "autonomy = \"suggest\"\n").await.expect("is set");
    let table = [
        ("autonomy = \"suggest\"\nautonomi = 1", ErrorCode::Invalid, "line 2: unknown field `autonomi`"),
        (
            "rules = '''@id(\"oops\") forbid (principal, action == Action::\"policy.set\", resource);'''",
            ErrorCode::Denied,
            "this would lock you out: policy.set would be refused",
        ),
        (
            "rules = '''permit (principal in Role::\"viewer\", action == Action::\"fs.wipe\", resource);'''",
            ErrorCode::Invalid,
            "fs.wipe",
        ),
        (
            "[[exceptions]]\ntools = [\"process.kill\"]\nautonomy = \"auto-full\"",
            ErrorCode::Invalid,
            "process.kill cannot be taken back",
        ),
    ];
    for (document, code, part) in table {
        let error = set(&house, document).await.expect_err(document);
        assert_eq!(error.code, code, "{document}: {error}");
        assert!(error.message.contains(part), "{document}: {error}");
    }
    let error = house.change("policy.set", json!({ "document": "" })).await.expect_err("an operator");
    assert!(error.message.contains("policy.set needs the role admin"), "{error}");
    let shown = house.call(Role::Viewer, "", "policy.show", json!({})).await.expect("is shown");
    let shown: Value = serde_json::from_str(&shown.result).expect("is JSON");
    assert_eq!(shown["document"], "autonomy = \"suggest\"\n");
}

#[tokio::test]
async fn a_document_that_was_damaged_makes_the_agent_ask() {
    let house = House::new();
    let house = house.restart(|dir| {
        std::fs::write(dir.join("state/policy.toml"), "autonomy = \"auto-full\"\nnonsense")
            .expect("is written");
    });
    let error = alone(&house, "fs.mkdir", json!({ "path": house.path("d") })).await.expect_err("asks");
    assert!(error.message.contains("`confirm`"), "{error}");
    let shown = house.call(Role::Viewer, "", "policy.show", json!({})).await.expect("is shown");
    assert!(shown.summary.contains("the document on disk is not used (line 2:"), "{}", shown.summary);
    set(&house, "").await.expect("another is set");
    alone(&house, "fs.mkdir", json!({ "path": house.path("d") })).await.expect("as on a new appliance");
}

#[tokio::test]
async fn any_decision_is_explained() {
    let house = House::new();
    let www = house.path("www").display().to_string();
    let rule = format!(
        "@id(\"noon\")\n@says(\"nobody changes the web pages at noon\")\nforbid (principal, action in Action::\"change\", \
         resource in Directory::{www:?}) when {{ context.minute >= 720 && context.minute < 780 }};"
    );
    set(&house, &format!("protected = [\"service db\"]\nrules = '''{rule}'''")).await.expect("is set");
    let write =
        |at: &str| json!({ "tool": "fs.write", "target": format!("{www}/x"), "as": "operator", "at": at });
    let noon = verdict(&house, write("2026-11-21T12:30:00Z")).await;
    assert_eq!(noon["verdict"], "deny");
    assert_eq!(noon["says"], format!("{www}/x: nobody changes the web pages at noon (own rule noon)"));
    assert_eq!(verdict(&house, write("2026-11-21T13:00:00Z")).await["verdict"], "allow");
    let restart =
        |name: &str| json!({ "tool": "service.restart", "target": format!("service {name}"), "as": "agent" });
    let web = verdict(&house, restart("web")).await;
    assert_eq!((&web["verdict"], &web["exception"]), (&json!("allow"), &json!(1)));
    let db = verdict(&house, restart("db")).await;
    assert_eq!((&db["verdict"], &db["rules"]), (&json!("ask"), &json!(["protected"])));
    let viewer = verdict(&house, json!({ "tool": "fs.write", "as": "viewer" })).await;
    assert_eq!(viewer["says"], "fs.write needs the role operator, the caller has the role viewer");
    let error = house.call(Role::Viewer, "", "policy.test", json!({ "tool": "fs.wipe" })).await;
    assert_eq!(error.expect_err("no tool").message, "there is no tool fs.wipe");
    let error =
        house.call(Role::Viewer, "", "policy.test", json!({ "tool": "fs.write", "target": "x" })).await;
    assert!(error.expect_err("no target").message.contains("`x` names no target"));
}

#[tokio::test]
async fn too_much_in_one_minute_is_refused_and_can_be_taken_back() {
    let house = House::new();
    set(&house, "[limits.agent]\nchanges = 6\ntargets = 3\nbytes = 4096").await.expect("is set");
    let write = |name: &str, bytes: usize| json!({ "path": house.path(name), "content": "x".repeat(bytes) });
    let error = alone(&house, "fs.write", write("a", 5000)).await.expect_err("too many bytes");
    assert!(error.message.contains("too many bytes changed in one minute"), "{error}");
    for name in ["a", "b", "c", "a"] {
        alone(&house, "fs.write", write(name, 10)).await.expect(name);
    }
    let error = alone(&house, "fs.write", write("d", 10)).await.expect_err("a fourth target");
    assert!(error.message.contains("too many different targets changed in one minute"), "{error}");
    alone(&house, "fs.write", write("b", 11)).await.expect("the fifth change");
    let last = alone(&house, "fs.write", write("c", 11)).await.expect("the sixth change");
    let error = alone(&house, "fs.write", write("c", 12)).await.expect_err("a seventh change");
    assert!(error.message.contains("too many changes in one minute"), "{error}");
    let caller = Caller { by: "agentd".into(), person: None, role: Role::Operator };
    let request = ToolRequest::Undo { audit: last.audit };
    house
        .broker
        .clone()
        .answer(Way::new(caller, Meta::why("a test")), request)
        .await
        .expect("taking back is never too much");
    // The bounds are each one's own: a person, also through the agent, has others.
    let person = Some(Person { name: "ada".into(), role: Role::Operator });
    let told = Caller { by: "agentd".into(), person, role: Role::Operator };
    call(&house, told, "fs.write", write("d", 10)).await.expect("was told to");
}

#[tokio::test]
async fn a_rule_about_a_directory_counts_for_looks_too() {
    let house = House::new();
    let inner = house.path("inner");
    std::fs::create_dir(&inner).expect("is made");
    std::fs::write(inner.join("x"), "secret plans").expect("is written");
    let look = |tool: &str| (tool.to_owned(), json!({ "path": inner.join("x") }));
    let rule = format!(
        "@id(\"inner\") forbid (principal, action in Action::\"look\", resource in Directory::{:?}) unless {{ principal in \
         Role::\"admin\" }};",
        inner.display().to_string()
    );
    set(&house, &format!("rules = '''{rule}'''")).await.expect("is set");
    for (tool, args) in [look("fs.read"), look("fs.stat"), look("fs.tail"), look("fs.hash")] {
        let error = house.call(Role::Operator, "", &tool, args.clone()).await.expect_err(&tool);
        assert!(error.message.contains("it is forbidden (own rule inner)"), "{tool}: {error}");
        house.call(Role::Admin, "", &tool, args).await.expect(&tool);
    }
}
