//! What is written, taken back and proved.

use aios_qemu::Claim;
use aios_tests::{Appliance, PATIENCE, said};
use anyhow::{Context, Result, ensure};

#[test]
fn a_write_is_taken_back_and_what_must_not_be_touched_is_not() -> Result<()> {
    let appliance = Appliance::claimed()?;
    let write = ["tools", "call", "fs.write", "path=/data/note.txt", "content=hello", "--why", "test"];
    let done = appliance.json(&write)?;
    ensure!(done["undoable"] == true, "the write cannot be taken back: {done}");
    let read = appliance.json(&["tools", "call", "fs.read", "path=/data/note.txt"])?;
    ensure!(read["result"].to_string().contains("hello"), "not what was written: {read}");
    appliance.json(&["undo", &done["audit"].to_string(), "--why", "test"])?;
    let gone = appliance.ctl(&["tools", "call", "fs.read", "path=/data/note.txt"])?;
    ensure!(gone.status.code() == Some(5), "the file should be gone: {}", said(&gone));
    let made =
        appliance.json(&["tools", "call", "fs.mkdir", "path=/data/folder", "mode=0750", "--why", "test"])?;
    let facts = appliance.json(&["tools", "call", "fs.stat", "path=/data/folder"])?;
    let facts = facts["result"].to_string();
    ensure!(
        facts.contains("\"mode\":\"0750\"") && facts.contains("\"uid\":0"),
        "not as it should be: {facts}"
    );
    appliance.json(&["undo", &made["audit"].to_string(), "--why", "test"])?;
    let gone = appliance.ctl(&["tools", "call", "fs.stat", "path=/data/folder"])?;
    ensure!(gone.status.code() == Some(5), "the directory should be gone: {}", said(&gone));
    let stopped = appliance.json(&["tools", "call", "service.stop", "name=netd", "--why", "test"])?;
    ensure!(appliance.service("netd")?["state"] == "stopped", "netd was not stopped: {stopped}");
    appliance.json(&["undo", &stopped["audit"].to_string(), "--why", "test"])?;
    ensure!(appliance.service("netd")?["state"] == "running", "netd was not started again");
    let twice = appliance.ctl(&["undo", &done["audit"].to_string(), "--why", "test"])?;
    ensure!(!twice.status.success(), "the same write was taken back twice");

    for path in ["/etc/shadow", "/data/toold/audit.key", "/tmp/../data/console/key.pem", "/proc/1/mem"] {
        let refused = appliance.ctl(&["tools", "call", "fs.read", &format!("path={path}")])?;
        ensure!(!refused.status.success(), "{path} was read: {}", said(&refused));
    }
    // The worker that reads this is one of those that the limits are for.
    for (file, limit) in [("memory.max", "134217728"), ("pids.max", "16")] {
        let path = format!("path=/sys/fs/cgroup/aios/workshop/worker-0/{file}");
        let read = appliance.json(&["tools", "call", "fs.read", &path])?;
        ensure!(read["result"].to_string().contains(limit), "a worker's {file} is not {limit}: {read}");
    }
    let init = appliance.ctl(&["tools", "call", "process.kill", "pid=1", "signal=kill", "--why", "test"])?;
    ensure!(init.status.code() == Some(3), "PID 1 is not protected: {}", said(&init));
    let silent =
        appliance.ctl(&["tools", "call", "fs.write", "path=/etc/passwd", "content=x", "--why", "test"])?;
    ensure!(!silent.status.success(), "the system was written to: {}", said(&silent));
    Ok(())
}

#[test]
fn the_firewall_counts_and_comes_back_after_a_power_cut() -> Result<()> {
    let mut appliance = Appliance::claimed()?;
    let call = |appliance: &Appliance, arguments: &[&str]| {
        appliance.json(&[&["tools", "call"], arguments, &["--why", "test"]].concat())
    };
    let allowed = call(&appliance, &["firewall.allow", "port=443"])?;
    let banned = call(&appliance, &["firewall.ban", "address=203.0.113.9", "seconds=3600"])?;
    // Everything else is closed, and this client still gets answers.
    call(&appliance, &["firewall.deny", "seconds=60"])?;
    appliance.json(&["tools", "call", "net.confirm", "--why", "test"])?;
    let counted = appliance.json(&["tools", "call", "firewall.counters"])?["result"].clone();
    let first = &counted["counters"][0];
    ensure!(first["packets"].as_u64() > Some(0), "what the console gets is not counted: {counted}");
    // Nobody is left out for good.
    let last = appliance.ctl(&["tools", "call", "firewall.remove", "id=1", "--why", "test"])?;
    ensure!(!last.status.success(), "the console was closed to everybody: {}", said(&last));

    appliance = appliance.cut_power()?;
    let list = appliance.json(&["tools", "call", "firewall.list"])?["result"].clone();
    let ids: Vec<_> = list["rules"].as_array().into_iter().flatten().map(|rule| rule["id"].clone()).collect();
    ensure!(ids == [1, 2], "not the rules that there were: {list}");
    ensure!(list["bans"][0]["left_seconds"].as_u64() > Some(3000), "the ban is gone: {list}");
    appliance.json(&["undo", &banned["audit"].to_string(), "--why", "test"])?;
    call(&appliance, &["firewall.remove", "id=2"])?;
    appliance.json(&["undo", &allowed["audit"].to_string(), "--why", "test"])?;
    let list = appliance.json(&["tools", "call", "firewall.list"])?["result"].clone();
    ensure!(
        list["rules"] == serde_json::json!([]) && list["bans"] == serde_json::json!([]),
        "something is left: {list}"
    );
    Ok(())
}

#[test]
fn the_audit_chain_survives_pulled_plugs_and_is_proved() -> Result<()> {
    let mut appliance = Appliance::claimed()?;
    for round in 0..3 {
        for n in 0..5 {
            let content = format!("content={round}-{n}");
            appliance.json(&[
                "tools",
                "call",
                "fs.write",
                "path=/data/note.txt",
                &content,
                "--why",
                "test",
            ])?;
        }
        appliance = appliance.cut_power()?;
        ensure!(appliance.ready.claim == Claim::Claimed, "the machine forgot its owner");
        let verified = appliance.json(&["audit", "verify"])?;
        println!("after pulled plug {}: {verified}", round + 1);
        let read = appliance.json(&["tools", "call", "fs.read", "path=/data/note.txt"])?;
        ensure!(read["result"].to_string().contains(&format!("{round}-4")), "a write was lost: {read}");
    }
    appliance.machine.power_off(PATIENCE).context("the power button")
}

#[test]
fn what_was_saved_comes_back_limits_hold_and_planned_calls_are_made_up_for() -> Result<()> {
    let appliance = Appliance::claimed()?;
    let call = |appliance: &Appliance, tool: &str, args: serde_json::Value| {
        appliance.json(&["tools", "call", tool, "--args", &args.to_string(), "--why", "test"])
    };
    call(&appliance, "fs.mkdir", serde_json::json!({ "path": "/data/www" }))?;
    let page = |content: &str| serde_json::json!({ "path": "/data/www/page", "content": content });
    call(&appliance, "fs.write", page("first"))?;
    let saved = call(&appliance, "backup.snapshot", serde_json::json!({ "name": "all" }))?;
    ensure!(saved["result"]["files"].as_u64() > Some(0), "nothing was saved: {saved}");
    call(&appliance, "fs.write", page("second"))?;
    let back = serde_json::json!({ "name": "all", "path": "/data/www" });
    let restored = call(&appliance, "backup.restore", back)?;
    let read = |appliance: &Appliance| appliance.json(&["tools", "call", "fs.read", "path=/data/www/page"]);
    ensure!(read(&appliance)?["result"].to_string().contains("first"), "not brought back: {restored}");
    let squeezed = call(&appliance, "memory.zram", serde_json::json!({ "percent": 25 }))?;
    println!("{}", crate::text(&squeezed["summary"]));
    let appliance = appliance.cut_power()?;
    ensure!(read(&appliance)?["result"].to_string().contains("first"), "lost with the power");
    let swap =
        || appliance.json(&["tools", "call", "memory.swap"]).map(|swap| swap["result"]["areas"].clone());
    ensure!(swap()?[0]["path"] == "/dev/zram0", "no memory is compressed after the start: {}", swap()?);
    appliance.json(&["undo", &squeezed["audit"].to_string(), "--why", "test"])?;
    ensure!(swap()? == serde_json::json!([]), "it is swapped to after the undo: {}", swap()?);
    appliance.json(&["undo", &restored["audit"].to_string(), "--why", "test"])?;
    ensure!(read(&appliance)?["result"].to_string().contains("second"), "not taken back");
    let whole = appliance.json(&["tools", "call", "backup.verify", "name=all"])?;
    ensure!(whole["result"]["blake3"] == saved["result"]["blake3"], "{whole} is not {saved}");

    // Limits reach the kernel at once and go with the undo.
    let of_netd = |file: &str| {
        let path = format!("path=/sys/fs/cgroup/aios/netd/{file}");
        appliance.json(&["tools", "call", "fs.read", &path]).map(|read| read["result"].to_string())
    };
    let before = (of_netd("pids.max")?, of_netd("memory.max")?);
    let args = serde_json::json!({ "name": "netd", "memory_max": "200M", "pids_max": 77 });
    let set = call(&appliance, "service.set_limits", args)?;
    ensure!(of_netd("pids.max")?.contains("77") && of_netd("memory.max")?.contains("209715200"), "{set}");
    appliance.json(&["undo", &set["audit"].to_string(), "--why", "test"])?;
    ensure!((of_netd("pids.max")?, of_netd("memory.max")?) == before, "not as before");
    let narrow = serde_json::json!({ "name": "toold", "memory_max": "8M" });
    let refused = ["tools", "call", "service.set_limits", "--args", &narrow.to_string(), "--why", "test"];
    ensure!(!appliance.ctl(&refused)?.status.success(), "toold could be strangled");

    let rotated = call(&appliance, "log.rotate", serde_json::json!({}))?;
    ensure!(rotated["result"]["files"].as_u64() >= Some(2), "no new log file: {rotated}");
    call(&appliance, "memory.drop_caches", serde_json::json!({}))?;

    // Each minute, so that one moment is reached.
    let planned = serde_json::json!({
        "name": "note", "at": "* * * * *", "tool": "fs.write", "purpose": "test",
        "arguments": serde_json::json!({ "path": "/data/www/planned", "content": "x", "how": "append" }).to_string(),
    });
    call(&appliance, "schedule.add", planned)?;
    let begun = std::time::Instant::now();
    loop {
        let listed = appliance.json(&["tools", "call", "schedule.list"])?;
        let entries = listed["result"]["entries"].as_array().context("no entries")?;
        let note = entries.iter().find(|entry| entry["name"] == "note").context("it is not planned")?;
        if note["runs"].as_u64() > Some(0) && note["ended"].is_string() {
            ensure!(note["error"].is_null(), "the planned call failed: {listed}");
            break;
        }
        ensure!(begun.elapsed() < std::time::Duration::from_secs(90), "it did not run: {listed}");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    Ok(())
}
