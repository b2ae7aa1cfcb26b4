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
