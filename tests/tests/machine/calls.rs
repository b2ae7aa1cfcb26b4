//! Every tool does its work on the booted machine: those that only look and those that cannot be undone. What can be undone
//! is walked through by `changes`.

use crate::faults::service;
use crate::{changes, text};
use aios_qemu::disk;
use aios_tests::{Appliance, BOOT, PASSWORD, said};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// The tests that call tools on the booted machine.
const CALLED: &str = concat!(
    include_str!("calls.rs"),
    include_str!("data.rs"),
    include_str!("extensions.rs"),
    include_str!("models.rs"),
    include_str!("network.rs"),
    include_str!("power.rs"),
    include_str!("services.rs"),
);

/// What sha256sum(1) says of `one` and `two`, a line each.
const SHA256: &str = "c3f9c8c283a2b1f2f1896f27a01cbe3cddc0c9d93f752e4639035a0f5b36f6e8";

/// A call, and whether its result is what it must be.
type Expected = (&'static str, Value, fn(&Value) -> bool);

fn has(list: &Value, name: &str, wanted: &str) -> bool {
    list.as_array().is_some_and(|items| items.iter().any(|item| item[name] == wanted))
}

fn more_than(value: &Value, least: f64) -> bool {
    value.as_f64().is_some_and(|value| value > least)
}

/// `steady` is a process of the service of that name.
fn calls(steady: u64) -> Vec<Expected> {
    let pid = json!({ "pid": steady });
    let none = json!({});
    let a = json!({ "path": "/data/calls/a" });
    vec![
        ("fs.list", json!({ "path": "/data/calls" }), |it| {
            it["total"] == 3 && has(&it["entries"], "name", "a")
        }),
        ("fs.find", json!({ "path": "/data/calls", "name": "*b" }), |it| it["total"] == 1),
        ("fs.read", a.clone(), |it| it["content"] == "one\ntwo\n"),
        ("fs.stat", a.clone(), |it| it["size"] == 8 && it["kind"] == "file"),
        ("fs.tail", json!({ "path": "/data/calls/a", "lines": 1 }), |it| it["lines"] == json!(["two"])),
        ("fs.hash", a.clone(), |it| it["sha256"] == SHA256),
        ("fs.diff", json!({ "path": "/data/calls/a", "with": "/data/calls/b" }), |it| {
            it["removed"] == 1 && it["added"] == 1 && text(&it["diff"]).contains("-two\n+three\n")
        }),
        ("disk.usage", json!({ "path": "/data" }), |it| more_than(&it["file_systems"][0]["total"], 1e8)),
        ("disk.directory", json!({ "path": "/data" }), |it| has(&it["entries"], "name", "calls")),
        ("disk.io", none.clone(), |it| {
            has(&it["devices"], "name", "vdc") && it["devices"].to_string().contains("\"now\"")
        }),
        ("disk.cleanup", json!({ "path": "/data/calls/old" }), |it| it["removed"] == 1),
        ("cpu.usage", none.clone(), |it| it["cores"].as_array().is_some_and(|cores| cores.len() == 2)),
        ("memory.info", none.clone(), |it| more_than(&it["total"], 5e8) && more_than(&it["available"], 1e8)),
        ("memory.swap", none.clone(), |it| it["areas"].is_array()),
        ("memory.drop_caches", json!({ "what": "all" }), |it| more_than(&it["before"], 0.0)),
        ("system.info", none.clone(), |it| {
            it["architecture"] == "x86_64" && more_than(&it["processes"], 5.0)
        }),
        ("system.pressure", none.clone(), |it| {
            it["machine"]["cpu"]["some_10s"].is_number() && has(&it["services"], "name", "toold")
        }),
        ("system.temperature", none.clone(), |it| it["sensors"].is_array() && it["too_hot"] == json!([])),
        ("time.now", none.clone(), |it| {
            text(&it["utc"]).starts_with("20") && more_than(&it["uptime_seconds"], 1.0)
        }),
        ("process.list", json!({ "contains": "aios-hostile" }), |it| {
            has(&it["processes"], "user", "aios-netd")
        }),
        ("process.info", pid.clone(), |it| it["service"] == "steady" && it["no_new_privileges"] == true),
        ("process.files", pid.clone(), |it| {
            more_than(&it["total"], 1.0) && it["files"].to_string().contains("/dev/null")
        }),
        ("process.limits", pid.clone(), |it| {
            it["service"] == "steady"
                && it["cgroups"].to_string().contains("steady")
                && it["own"][0]["what"].is_string()
        }),
        ("process.tree", json!({ "pid": 1 }), |it| {
            it["processes"][0]["depth"] == 0 && more_than(&it["total"], 5.0)
        }),
        ("service.list", none.clone(), |it| {
            has(&it["services"], "name", "steady") && it["refused"] == json!([])
        }),
        ("service.status", json!({ "name": "steady" }), |it| it["service"]["state"] == "running"),
        // It does not know this signal and ends of it.
        ("service.reload", json!({ "name": "brief" }), |it| it["service"]["state"].is_string()),
        ("service.security", json!({ "name": "toold" }), |it| it["checks"][0]["key"].is_string()),
        ("service.rescan", none.clone(), |it| it["added"] == json!([]) && it["refused"] == json!([])),
        ("log.search", json!({ "unit": "steady", "limit": 5 }), |it| it["lines"].is_array()),
        ("log.rotate", none.clone(), |it| more_than(&it["files"], 0.0)),
        ("net.interfaces", none.clone(), |it| it.to_string().contains("10.0.2.15")),
        ("net.counters", none.clone(), |it| {
            has(&it["interfaces"], "name", "eth0")
                && more_than(&it["interfaces"][0]["received"]["packets"], 0.0)
        }),
        ("net.listen", json!({ "port": 443 }), |it| it["listeners"].to_string().contains("console")),
        ("net.check_port", json!({ "host": "127.0.0.1", "port": 443 }), |it| it["open"] == true),
        ("net.ping", json!({ "host": "10.0.2.2", "count": 2 }), |it| it["sent"] == 2 && it["received"] == 2),
        ("net.neighbours", none.clone(), |it| has(&it["neighbours"], "address", "10.0.2.2")),
        ("net.trace", json!({ "host": "10.0.2.2", "hops": 3 }), |it| it["reached"] == true),
        ("net.resolve", json!({ "name": "localhost" }), |it| {
            it["source"] == "localhost" && it["addresses"].to_string().contains("127.0.0.1")
        }),
        ("net.routes", json!({ "only_default": true }), |it| it["routes"][0]["interface"] == "eth0"),
        ("net.vpn_list", none.clone(), |it| it["tunnels"] == json!([])),
        ("net.trial", none.clone(), Value::is_object),
        ("firewall.list", none.clone(), |it| it["rules"].is_array() && it["otherwise"].is_string()),
        ("firewall.counters", none.clone(), |it| it["counters"][0]["what"].is_string()),
        ("pkg.list", none.clone(), |it| has(&it["packages"], "kind", "kernel")),
        ("pkg.search", json!({ "directory": "/data" }), |it| it["packages"] == json!([])),
        ("pkg.updates", json!({ "directories": ["/data"] }), |it| it["updates"] == json!([])),
        ("pkg.verify", none.clone(), |it| it["good"] == true),
        ("backup.list", none.clone(), |it| {
            has(&it["snapshots"], "name", "one") && has(&it["snapshots"], "name", "two")
        }),
        ("backup.verify", json!({ "name": "two" }), |it| it["files"] == 3),
        ("backup.prune", json!({ "keep": 2 }), |it| it["removed"] == json!(["one"])),
        ("backup.remove", json!({ "name": "two" }), |it| it["name"] == "two" && more_than(&it["bytes"], 0.0)),
        ("policy.show", none.clone(), |it| it["rules"].to_string().contains("permit")),
        ("policy.test", json!({ "tool": "fs.write", "target": "/data/x", "as": "viewer" }), |it| {
            it["verdict"] == "deny" && it["says"].is_string()
        }),
        ("schedule.list", none.clone(), |it| it["entries"][0]["tool"] == "model.learn"),
        ("users.list", none.clone(), |it| has(&it["accounts"], "name", "admin")),
        ("sec.audit", none.clone(), |it| {
            more_than(&it["score"], 50.0) && more_than(&json!(it["checks"].as_array().map(Vec::len)), 5.0)
        }),
        ("sec.certificates", none.clone(), |it| more_than(&it["certificates"][0]["days_left"], 1.0)),
        ("sec.permissions", json!({ "path": "/data/calls" }), |it| {
            it["findings"].as_array().is_some_and(|all| all.len() == 1)
                && it["findings"][0]["problems"] == json!(["world_writable"])
        }),
        ("sec.integrity", json!({ "paths": ["/data/calls"] }), |it| {
            it["changed"] == json!(["/data/calls/b"])
        }),
        ("power.status", none.clone(), |it| it["planned"].is_null()),
        ("run.list", none, |it| it["commands"].is_array() && it["running"] == json!([])),
    ]
}

fn call(appliance: &Appliance, tool: &str, args: &Value) -> Result<Value> {
    let called = appliance.json(&["tools", "call", tool, "--args", &args.to_string(), "--why", "test"])?;
    Ok(called["result"].clone())
}

/// What a look saw of what happens while it looks, again and again until it saw it.
fn meanwhile(
    appliance: &Appliance,
    tool: &str,
    args: &Value,
    happen: impl Fn() -> Result<()>,
) -> Result<Value> {
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| call(appliance, tool, args));
        while !looking.is_finished() {
            happen()?;
        }
        looking.join().map_err(|_| anyhow::anyhow!("{tool}: the look panicked"))?
    })
}

/// A process ends while somebody waits for that.
fn a_process_is_waited_for(appliance: &Appliance) -> Result<()> {
    let mut missed = Value::Null;
    for _ in 0..5 {
        call(appliance, "service.restart", &json!({ "name": "brief" }))?;
        let pid = appliance.service("brief")?["pid"].clone();
        let waited = meanwhile(appliance, "process.wait", &json!({ "pid": pid }), || {
            // It is gone the second time.
            let _ = call(appliance, "process.kill", &json!({ "pid": pid }));
            Ok(())
        });
        match waited {
            Ok(waited) => {
                ensure!(waited["ended"] == true, "process.wait: {waited}");
                return Ok(());
            }
            // It was gone before it was waited for.
            Err(why) if why.to_string().contains("not_found") => missed = json!(why.to_string()),
            Err(why) => return Err(why),
        }
    }
    anyhow::bail!("process.wait was late five times: {missed}")
}

/// What the calls are about.
fn furnish(appliance: &Appliance) -> Result<()> {
    for (tool, args) in [
        ("fs.chmod", json!({ "path": "/data/calls/b", "mode": "0666" })),
        ("backup.snapshot", json!({ "name": "one", "paths": ["/data/calls"] })),
        ("backup.snapshot", json!({ "name": "two", "paths": ["/data/calls"] })),
        ("backup.snapshot", json!({ "name": "three", "paths": ["/data/calls"] })),
        ("sec.baseline", json!({ "paths": ["/data/calls"] })),
        ("fs.write", json!({ "path": "/data/calls/b", "content": "one\nthree\n", "how": "overwrite" })),
        ("service.start", json!({ "name": "steady" })),
        ("service.start", json!({ "name": "brief" })),
    ] {
        call(appliance, tool, &args).with_context(|| format!("{tool} {args}"))?;
    }
    Ok(())
}

#[test]
fn every_tool_that_only_looks_or_cannot_be_undone_does_its_work() -> Result<()> {
    let unit = |name, more| service(name, "aios-netd", &["idle"], more);
    let mut files = vec![unit("steady", ""), unit("brief", "reload_signal = \"SIGUSR1\"\n")];
    for (name, content) in [("a", "one\ntwo\n"), ("b", ""), ("old/x", "litter")] {
        files.push((format!("calls/{name}"), content.into()));
    }
    let mut appliance = crate::faults::machine(&files, |machine| {
        machine.reboots = true;
        // Nobody has touched it for years.
        let times = ["atime", "mtime", "ctime"]
            .map(|time| format!("set_inode_field /calls/old/x {time} 20200101\n"))
            .concat();
        disk::debugfs(&machine.data, &times).expect("debugfs");
    })?;
    furnish(&appliance)?;
    let steady = appliance.service("steady")?["pid"].as_u64().context("it does not run")?;

    let listed = appliance.json(&["tools", "list"])?;
    let mut wrong = Vec::new();
    for tool in listed.as_array().context("no list of tools")? {
        let name = text(&tool["name"]);
        let walked = tool["effect"] == "reversible"
            && !changes::ELSEWHERE.iter().any(|family| name.starts_with(family));
        if !walked && !CALLED.contains(&format!("\"{name}\"")) {
            wrong
                .push(format!("no test calls {name} on the booted machine: say in `calls` how it is called"));
        }
    }
    for (tool, args, right) in &calls(steady) {
        match call(&appliance, tool, args) {
            Ok(result) if right(&result) => {}
            Ok(result) => wrong.push(format!("{tool} {args}: {result}")),
            Err(why) => wrong.push(format!("{tool} {args}: {why:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    let seen = meanwhile(
        &appliance,
        "fs.watch",
        &json!({ "path": "/data/calls", "limit": 8, "seconds": 60 }),
        || {
            call(
                &appliance,
                "fs.write",
                &json!({ "path": "/data/calls/new", "content": "x", "how": "overwrite" }),
            )
            .map(drop)
        },
    )?;
    ensure!(has(&seen["events"], "name", "new"), "fs.watch: {seen}");
    let args = json!({ "unit": "init", "contains": "steady", "limit": 1, "seconds": 60 });
    let seen = meanwhile(&appliance, "log.tail", &args, || {
        call(&appliance, "service.restart", &json!({ "name": "steady" })).map(drop)
    })?;
    ensure!(text(&seen["lines"]).contains("steady"), "log.tail: {seen}");
    let reloaded = call(&appliance, "service.status", &json!({ "name": "brief" }))?["service"].clone();
    ensure!(text(&reloaded["last_exit"]).contains("USR1"), "service.reload: {reloaded}");
    a_process_is_waited_for(&appliance)?;

    // What was tried is taken back before its time is over.
    let tried = json!({ "interface": "eth0", "method": "dhcp", "mtu": 1400 });
    call(&appliance, "net.configure", &tried)?;
    ensure!(call(&appliance, "net.trial", &json!({}))?["trial"].is_object(), "nothing is on trial");
    let reverted = call(&appliance, "net.revert", &json!({}))?;
    let after = call(&appliance, "net.interfaces", &json!({ "name": "eth0" }))?;
    ensure!(after.to_string().contains("1500"), "net.revert: {reverted}, then {after}");

    // Whoever was logged in is not any more.
    call(&appliance, "sec.rotate_credentials", &json!({}))?;
    let refused = appliance.ctl(&["tools", "call", "time.now"])?;
    ensure!(!refused.status.success(), "the token still counts: {}", said(&refused));
    let url = appliance.machine.console_url();
    let login = ["login", &url, "--user", "admin", "--password-stdin"];
    let output = appliance.ctl_with_input(&login, PASSWORD)?;
    ensure!(output.status.success(), "no login: {}", said(&output));

    let boot = |appliance: &Appliance| {
        let id = call(appliance, "fs.read", &json!({ "path": "/proc/sys/kernel/random/boot_id" }))?;
        Ok::<_, anyhow::Error>(text(&id["content"]))
    };
    let before = boot(&appliance)?;
    call(&appliance, "power.reboot", &json!({ "reason": "test" }))?;
    appliance.machine.wait_ready(BOOT)?;
    let after = boot(&appliance)?;
    ensure!(before != after, "it did not restart: {after}");
    Ok(())
}
