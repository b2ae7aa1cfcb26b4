//! What a reversible tool did is taken back: a walk at random through all of them on the booted machine.

use crate::extensions::{UPLOAD, container, extension};
use crate::faults::service;
use crate::policy::KEY;
use crate::{Random, text};
use aios_tests::{Appliance, PASSWORD, said};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What these act on is in an extension: their undo is proved beside a real git and a real PostgreSQL server, by
/// `tools/src/tool/dev/dev.rs` and `tools/src/tool/db/db.rs`. Those of models load one each time: `models` takes them back.
pub(crate) const ELSEWHERE: [&str; 3] = ["dev.", "db.", "model."];

/// Changes after which the walk gives up: a tool that never does anything is a fault of this test or of the tool.
const MOST: u32 = 500;

/// Arguments at random for a tool, from a world so small that its changes meet each other. `steady` is a process that
/// nothing stops.
fn arguments(tool: &str, random: &mut Random, steady: u64) -> Option<Value> {
    let file = |name: &str| format!("/data/walk/{name}");
    let upload = |name: &str| format!("/data/{UPLOAD}/{name}.aiosx");
    let (some, other) = (file(random.one(&["a", "b", "new"])), file(random.one(&["b", "c", "new"])));
    let mode = random.one(&["0600", "0640", "0666", "4755"]);
    let person = random.one(&["ann", "bob"]);
    let role = random.one(&["viewer", "operator", "approver"]);
    let unit = random.one(&["one", "two"]);
    let entry = random.one(&["first", "second"]);
    let network = random.one(&["192.0.2.0/24", "198.51.100.7"]);
    let route = random.one(&["192.0.2.0/24", "198.51.100.0/24"]);
    let name = json!({ "name": unit });
    Some(match tool {
        "fs.write" => json!({ "path": some, "content": random.one(&["x", "yy"]), "how": "overwrite" }),
        "fs.chmod" => json!({ "path": some, "mode": mode }),
        "fs.copy" => json!({ "from": some, "to": other, "overwrite": true }),
        "fs.move" => json!({ "from": some, "to": other }),
        "fs.mkdir" => json!({ "path": file("folder") }),
        "fs.remove" => json!({ "path": some }),
        "backup.snapshot" => json!({ "name": random.one(&["mon", "tue"]), "paths": ["/data/walk"] }),
        "backup.restore" => json!({ "name": "all" }),
        "service.start" | "service.stop" | "service.enable" | "service.disable" => name,
        "service.set_limits" => json!({ "name": unit, "pids_max": random.one(&[20, 30]) }),
        "process.nice" => json!({ "pid": steady, "nice": random.one(&[-5, 3, 11]) }),
        "memory.zram" => json!({ "percent": random.one(&[0, 20, 40]) }),
        "policy.set" => {
            json!({ "document": random.one(&["", "autonomy = \"confirm\"\n", "protected = [\"/data/www\"]\n"]) })
        }
        "sec.baseline" => json!({ "paths": [random.one(&["/data/walk", "/data/config"])] }),
        "sec.permissions_fix" => json!({ "path": "/data/walk" }),
        "sec.certificate_issue" => json!({ "names": ["site.lan"], "path": some }),
        "sec.certificate_rotate" => json!({ "names": ["box.lan"] }),
        "users.create" | "users.grant" => json!({ "name": person, "role": role }),
        "users.remove" => json!({ "name": person }),
        "users.revoke" => json!({ "name": person, "to": role }),
        "users.modify" => json!({ "name": person, "disabled": random.one(&[false, true]) }),
        "users.key_add" => json!({ "name": person, "key": KEY }),
        "users.key_remove" => json!({ "name": person, "key": "bob@laptop" }),
        "schedule.add" => json!({
            "name": entry, "at": random.one(&["0 3 1 1 *", "0 4 1 1 *"]), "tool": "fs.stat",
            "arguments": json!({ "path": "/data" }).to_string(), "purpose": "a test",
        }),
        "schedule.enable" | "schedule.disable" | "schedule.remove" => json!({ "name": entry }),
        "firewall.allow" | "firewall.deny" => json!({ "from": network, "port": random.one(&[8080, 9090]) }),
        "firewall.remove" => json!({ "id": random.one(&[1, 2, 3]) }),
        "firewall.ban" => json!({ "address": network, "seconds": random.one(&[3000, 4000]) }),
        "firewall.unban" => json!({ "address": network }),
        "net.configure" => {
            json!({ "interface": "eth0", "method": "dhcp", "mtu": random.one(&[1400, 1450]) })
        }
        "net.route_add" => json!({ "to": route, "through": [{ "gateway": "10.0.2.2" }] }),
        "net.route_remove" => json!({ "to": route }),
        "net.vpn_set" => {
            // Two tunnels into one network would be a mistake of whoever sets them.
            let number = random.below(2);
            let addresses = [format!("10.{}.0.{}/24", 8 + number, random.one(&[1, 2]))];
            json!({ "interface": format!("wg{number}"), "addresses": addresses, "port": 51_820 + number })
        }
        "net.vpn_remove" => json!({ "interface": random.one(&["wg0", "wg1"]) }),
        "pkg.install" => json!({ "path": upload(random.one(&["toy-1", "toy-2", "shop"])) }),
        "pkg.update" => {
            json!({ "path": upload(random.one(&["toy-1", "toy-2"])), "allow_downgrade": true })
        }
        "pkg.update_all" => json!({ "directories": [format!("/data/{UPLOAD}")] }),
        "pkg.rollback" => json!({ "name": "toy" }),
        "pkg.remove" => json!({ "name": random.one(&["toy", "shop"]) }),
        "container.run" | "container.stop" | "container.remove" => json!({ "name": "shop" }),
        _ => return None,
    })
}

/// Looks that together show what a tool changes, and what of their results comes and goes by itself.
fn scene(tool: &str) -> &'static [(&'static str, &'static str, &'static [&'static str])] {
    const FILES: (&str, &str, &[&str]) = ("fs.find", r#"{"path":"/data/walk"}"#, &["looked_at"]);
    const SERVICES: (&str, &str, &[&str]) = (
        "service.list",
        "{}",
        &[
            "pid",
            "since_seconds",
            "restarts",
            "degraded",
            "last_exit",
            "status",
            "memory_bytes",
            "cpu_usec",
            "processes",
        ],
    );
    // The limits and the names of what is not started at boot.
    const CONFIG: (&str, &str, &[&str]) =
        ("fs.find", r#"{"path":"/data/config/services"}"#, &["modified", "looked_at"]);
    const PACKAGES: (&str, &str, &[&str]) = ("pkg.list", r#"{"kind":"extension"}"#, &[]);
    match family(tool) {
        "backup" => &[FILES, ("backup.list", "{}", &[])],
        "service" => &[SERVICES, CONFIG],
        "container" | "pkg" => &[PACKAGES, SERVICES],
        "memory" => &[("memory.swap", "{}", &["used", "zram", "priority"])],
        "policy" => &[("policy.show", "{}", &[])],
        "users" => &[("users.list", "{}", &["sessions", "tokens"])],
        "schedule" => &[("schedule.list", "{}", &["next_run_seconds", "timers"])],
        "firewall" => &[("firewall.list", "{}", &["packets", "bytes", "left_seconds"])],
        "net" => &[
            ("net.routes", "{}", &[]),
            ("net.vpn_list", "{}", &[]),
            (
                "net.interfaces",
                r#"{"name":"eth0"}"#,
                &["received_bytes", "sent_bytes", "received_packets", "sent_packets", "errors_and_drops"],
            ),
        ],
        "sec" if tool == "sec.baseline" => {
            &[("sec.integrity", "{}", &["files", "added", "removed", "changed", "facts"])]
        }
        "sec" if tool == "sec.certificate_rotate" => &[("sec.certificates", "{}", &["days_left"])],
        "process" => &[],
        _ => &[FILES],
    }
}

fn family(tool: &str) -> &str {
    tool.split_once('.').map_or("", |(family, _)| family)
}

/// Whether what this tool does gives another one something to do, which had none.
fn helps(helper: &str, tool: &str, why: &str) -> bool {
    match family(tool) {
        // Where there is none, one has to be installed; where one runs, it has to be stopped.
        "container" if why.contains("not_found") => helper == "pkg.install",
        "backup" | "sec" => family(helper) == "fs",
        own => family(helper) == own,
    }
}

fn without(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            // Whoever puts something into a directory changes its time.
            if members.get("kind").is_some_and(|kind| kind == "directory") {
                members.remove("modified");
                members.remove("size");
            }
            members.retain(|name, _| !names.contains(&name.as_str()));
            members.values_mut().for_each(|member| without(member, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without(item, names)),
        _ => {}
    }
}

struct Walk {
    appliance: Appliance,
    steady: u64,
}

/// A change and what was seen before it.
struct Done {
    tool: String,
    args: Value,
    audit: Value,
    before: Value,
    /// The certificate by which the machine was known.
    known: Option<String>,
}

impl Walk {
    fn call(&self, tool: &str, args: &Value) -> Result<Result<Value, String>> {
        let words = ["--json", "tools", "call", tool, "--args", &args.to_string(), "--why", "test"];
        let output = self.appliance.ctl(&words)?;
        match output.status.success() {
            true => Ok(Ok(serde_json::from_slice(&output.stdout)?)),
            false => Ok(Err(said(&output))),
        }
    }

    /// What can be seen of all that this tool changes.
    fn see(&self, tool: &str) -> Result<Value> {
        let mut seen = Vec::new();
        if tool == "process.nice" {
            let process =
                self.call("process.info", &json!({ "pid": self.steady }))?.map_err(anyhow::Error::msg)?;
            seen.push(process["result"]["nice"].clone());
        }
        for (look, args, passing) in scene(tool) {
            let mut found = match self.call(look, &serde_json::from_str(args)?)? {
                Ok(found) => found["result"].clone(),
                // No baseline is set.
                Err(why) if why.contains("not_found") => Value::Null,
                Err(why) => bail!("{look}: {why}"),
            };
            without(&mut found, passing);
            seen.push(found);
        }
        Ok(Value::Array(seen))
    }

    /// What is on trial shall last.
    fn confirm(&self, tool: &str) -> Result<()> {
        if tool.starts_with("net.") || tool.starts_with("firewall.") {
            match self.call("net.confirm", &json!({}))? {
                Err(why) if !why.contains("not_found") => bail!("not confirmed: {why}"),
                _ => {}
            }
        }
        Ok(())
    }

    /// Get to know the machine by another certificate.
    fn know(&self, fingerprint: &str) -> Result<()> {
        let url = self.appliance.machine.console_url();
        let words = ["login", &url, "--user", "admin", "--password-stdin", "--fingerprint", fingerprint];
        let output = self.appliance.ctl_with_input(&words, PASSWORD)?;
        ensure!(output.status.success(), "no login: {}", said(&output));
        Ok(())
    }

    /// Make one change; or why not: it was refused or nothing had to be done, and then nothing is different.
    fn step(&self, tool: &str, args: Value) -> Result<std::result::Result<Done, String>> {
        let before = self.see(tool)?;
        let changed = self.call(tool, &args)?;
        let changed = match changed {
            Ok(changed) => changed,
            Err(why) => {
                ensure!(!why.contains("\"failed\""), "{tool} {args}: {why}");
                let after = self.see(tool)?;
                ensure!(after == before, "{tool} {args} was refused ({why}), and {before} became {after}");
                return Ok(Err(format!("{args}: {why}")));
            }
        };
        ensure!(changed["undoable"] == true, "{tool} {args} cannot be taken back: {changed}");
        let known = (tool == "sec.certificate_rotate").then(|| text(&changed["result"]["before"]));
        if known.is_some() {
            self.know(&text(&changed["result"]["certificate"]["fingerprint"]))?;
        }
        self.confirm(tool)?;
        let after = self.see(tool)?;
        let done = Done { tool: tool.into(), args, audit: changed["audit"].clone(), before, known };
        if after == done.before {
            let why = format!("{}: nothing is different", done.args);
            self.back(done)?;
            return Ok(Err(why));
        }
        Ok(Ok(done))
    }

    /// Take it back: everything is as before.
    fn back(&self, done: Done) -> Result<()> {
        let Done { tool, args, audit, before, known } = done;
        let what = || format!("taking back {tool} {args}");
        self.appliance.json(&["undo", &audit.to_string(), "--why", "test"]).with_context(what)?;
        if let Some(known) = known {
            self.know(&known).with_context(what)?;
        }
        self.confirm(&tool).with_context(what)?;
        let after = self.see(&tool)?;
        ensure!(after == before, "{}: before it {before}, now {after}", what());
        Ok(())
    }

    /// The tools that say they can be taken back.
    fn reversible(&self) -> Result<BTreeSet<String>> {
        let listed = self.appliance.json(&["tools", "list"])?;
        let tools = listed.as_array().context("no list of tools")?;
        let reversible = tools.iter().filter(|tool| tool["effect"] == "reversible");
        Ok(reversible.map(|tool| text(&tool["name"])).collect())
    }
}

/// An extension that holds one small file.
fn toy(folder: &Path, version: &str) -> Result<Vec<u8>> {
    let recipe = folder.join("toy");
    std::fs::create_dir_all(&recipe)?;
    let about = "name = \"toy\"\nversion = \"1\"\ndescription = \"A toy\"\nlicence = \"MIT\"\n";
    std::fs::write(recipe.join("extension.toml"), about)?;
    let content = folder.join(format!("toy-{version}"));
    std::fs::create_dir_all(content.join("usr/share/toy"))?;
    std::fs::write(content.join("usr/share/toy/version"), version)?;
    extension(folder, &recipe, version, &["--from".as_ref(), content.as_os_str()])
}

/// Something of each kind to begin with, so that it can be removed as well.
fn furnish(walk: &Walk) -> Result<()> {
    for (tool, args) in [
        ("fs.mkdir", json!({ "path": "/data/walk" })),
        ("fs.write", json!({ "path": "/data/walk/a", "content": "a" })),
        ("fs.write", json!({ "path": "/data/walk/b", "content": "b" })),
        ("fs.chmod", json!({ "path": "/data/walk/b", "mode": "0666" })),
        ("backup.snapshot", json!({ "name": "all", "paths": ["/data/walk"] })),
        ("fs.remove", json!({ "path": "/data/walk/a" })),
        ("users.create", json!({ "name": "bob", "role": "operator" })),
        ("users.key_add", json!({ "name": "bob", "key": KEY })),
        (
            "schedule.add",
            json!({ "name": "first", "at": "0 5 1 1 *", "tool": "fs.stat", "arguments": r#"{"path":"/data"}"#, "purpose": "a test" }),
        ),
        ("firewall.ban", json!({ "address": "192.0.2.0/24", "seconds": 2000 })),
        ("firewall.allow", json!({ "from": "203.0.113.0/24", "port": 22 })),
        ("net.route_add", json!({ "to": "198.51.100.0/24", "through": [{ "gateway": "10.0.2.2" }] })),
        ("net.vpn_set", json!({ "interface": "wg0", "addresses": ["10.8.0.9/24"], "port": 51_822 })),
        ("pkg.install", json!({ "path": format!("/data/{UPLOAD}/toy-1.aiosx") })),
        ("pkg.update", json!({ "path": format!("/data/{UPLOAD}/toy-2.aiosx") })),
        ("pkg.install", json!({ "path": format!("/data/{UPLOAD}/shop.aiosx") })),
    ] {
        walk.call(tool, &args)?.map_err(anyhow::Error::msg).with_context(|| format!("{tool} {args}"))?;
        walk.confirm(tool)?;
    }
    Ok(())
}

#[test]
fn whatever_reversible_tools_did_in_any_order_is_taken_back_in_turn() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut files: Vec<(String, Vec<u8>)> =
        ["one", "two", "steady"].map(|name| service(name, "aios-netd", &["idle"], "")).into();
    for version in ["1", "2"] {
        files.push((format!("{UPLOAD}/toy-{version}.aiosx"), toy(folder.path(), version)?));
    }
    files.push((format!("{UPLOAD}/shop.aiosx"), container(folder.path())?));
    let appliance = crate::faults::machine(&files, |_| {})?;
    appliance.json(&["tools", "call", "service.start", "name=steady", "--why", "test"])?;
    let steady = appliance.service("steady")?["pid"].as_u64().context("it does not run")?;
    let walk = Walk { appliance, steady };
    furnish(&walk)?;

    let mut todo = walk.reversible()?;
    todo.retain(|tool| !ELSEWHERE.iter().any(|family| tool.starts_with(family)));
    let all: Vec<String> = todo.iter().cloned().collect();
    let seed = Random::seed()?;
    println!("undo: seed {seed}, {} tools", all.len());
    let mut random = Random::new(seed);
    let mut done: Vec<Done> = Vec::new();
    let mut steps = 0;
    // Of a tool that found nothing to do: those that give it something.
    let mut wanting = None;
    let mut whys = BTreeMap::new();
    while !todo.is_empty() {
        steps += 1;
        whys.retain(|tool, _| todo.contains(tool));
        ensure!(
            steps <= MOST,
            "after {MOST} calls these have changed nothing (seed {seed}): {todo:?}; {whys:?}"
        );
        // Now and then one step back.
        if random.below(10) == 0
            && let Some(last) = done.pop()
        {
            walk.back(last).with_context(|| format!("seed {seed}"))?;
        }
        let helpers = wanting.take();
        let helping = helpers.is_some();
        let from: Vec<String> = helpers.unwrap_or_else(|| todo.iter().cloned().collect());
        let tool = random.one(&from);
        let args = arguments(&tool, &mut random, steady).with_context(|| {
            format!("{tool} can be taken back, and this test does not know how it is called: say so in `arguments`")
        })?;
        match walk.step(&tool, args).with_context(|| format!("seed {seed}"))? {
            Ok(step) => {
                done.push(step);
                todo.remove(&tool);
            }
            Err(why) => {
                wanting = (!helping)
                    .then(|| all.iter().filter(|one| helps(one, &tool, &why)).cloned().collect::<Vec<_>>());
                whys.insert(tool, why);
            }
        }
    }
    println!("undo: each changed something within {steps} calls; {} are to be taken back", done.len());
    for last in done.into_iter().rev() {
        walk.back(last).with_context(|| format!("seed {seed}"))?;
    }
    walk.appliance.json(&["audit", "verify"])?;
    Ok(())
}
