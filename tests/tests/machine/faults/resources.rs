//! What every service shares: memory, open files, the sockets of PID 1, the data disk, the clock.

use super::{Pids, end, machine, said, service, start, wait_until};
use crate::text;
use aios_qemu::disk;
use aios_tests::{PATIENCE, said as words};
use anyhow::{Context, Result, ensure};
use std::time::Instant;

const ONESHOT: &str = "kind = \"oneshot\"\n";

#[test]
fn a_service_that_takes_sockets_and_files_without_end_shuts_nobody_out() -> Result<()> {
    let appliance = machine(
        &[
            service("siege", "aios-netd", &["connections", "400"], ONESHOT),
            service("chatter", "aios-netd", &["chatter", "8"], ONESHOT),
            service("open", "aios-netd", &["open", "60"], ONESHOT),
        ],
        |_| {},
    )?;

    let before = Pids::now(&appliance)?;
    start(&appliance, "chatter")?;
    let answers = said(&appliance, "chatter", "answers meanwhile")?;
    said(&appliance, "chatter", "chatter: done")?;
    println!("fault chatter: {answers}");
    let slowest =
        answers.rsplit_once(" ms").and_then(|(rest, _)| rest.rsplit(' ').next()?.parse::<u64>().ok());
    ensure!(slowest.is_some_and(|ms| ms < 4000), "PID 1 did not answer for too long: {answers}");
    before.same(&appliance, "chatter")?;

    start(&appliance, "open")?;
    let line = said(&appliance, "open", "all hold")?;
    let netd = appliance.kill_daemon("netd")?;
    appliance.json(&["tools", "call", "fs.read", "path=/etc/os-release"])?;
    end(&appliance, "open")?;
    println!("fault open: {line}; netd was killed meanwhile and came back as process {netd}");

    start(&appliance, "siege")?;
    let line = said(&appliance, "siege", "are held")?;
    // One that comes later needs PID 1 as well.
    appliance.kill_daemon("toold")?;
    appliance.kill_daemon("workshop")?;
    let netd = appliance.json(&["tools", "call", "service.status", "name=netd"])?;
    println!(
        "fault siege: {line}; toold was killed meanwhile, came back and asked PID 1: {}",
        netd["summary"]
    );
    end(&appliance, "siege")?;
    Ok(())
}

#[test]
fn a_service_that_eats_all_memory_is_killed_named_and_started_again_later() -> Result<()> {
    let appliance =
        machine(&[service("eat", "aios-netd", &["eat", "3"], "state_directory = \"/data/eat\"\n")], |_| {})?;
    let before = Pids::now(&appliance)?.without("inferd");
    let begun = Instant::now();
    start(&appliance, "eat")?;
    said(&appliance, "eat", "content after 3 meals")?;
    let took = begun.elapsed().as_secs();
    let status = wait_until(&appliance, "eat", |s| s["state"] == "running")?;
    let last = text(&status["last_exit"]);
    // The kernel may choose twice while the first one is still dying; inferd is the one to be spared last.
    let inferd = wait_until(&appliance, "inferd", |s| s["state"] == "running")?;
    let now = Pids::now(&appliance)?.without("inferd");
    ensure!(now == before, "services that manage the machine were harmed: before {before:?}, after {now:?}");
    println!("fault eat: inferd was started again {} times", inferd["restarts"]);
    println!(
        "fault eat: the machine was out of memory three times in {took} s; eat: {last}; no other service died but perhaps inferd"
    );
    ensure!(last.contains("out of memory"), "the reason is not told: {status}");
    ensure!(status["restarts"] == 3, "it was not started again after each: {status}");
    let lines = appliance.json(&["logs", "--unit", "init", "--grep", "eat: killed", "-n", "50"])?;
    let lines = lines["lines"].as_array().context("no lines")?;
    ensure!(lines.len() >= 3, "the culprit is not named three times: {lines:?}");
    Ok(())
}

#[test]
fn a_full_disk_stops_nobody_and_the_logs_go_on_when_there_is_room_again() -> Result<()> {
    let fill = |name: &str, user: &str, seconds: &str| {
        let more = format!("{ONESHOT}state_directory = \"/data/{name}\"\n");
        service(name, user, &["fill", seconds], &more)
    };
    let mut appliance = machine(&[fill("fill", "aios-netd", "5"), fill("fill-root", "root", "20")], |_| {})?;
    let before = Pids::now(&appliance)?;
    for name in ["fill", "fill-root"] {
        start(&appliance, name)?;
        let line = said(&appliance, name, "MiB, ")?;
        ensure!(line.contains("No space left"), "the disk is not full: {line}");
        // The rings are in memory.
        said(&appliance, "init", "the console answers")?;
        let write = ["tools", "call", "fs.write", "path=/data/note.txt", "content=x", "--why", "test"];
        let write = words(&appliance.ctl(&write)?);
        let keeper = appliance.service("log")?;
        said(&appliance, name, "given back")?;
        println!(
            "fault {name}: {line}; a write says {:?}; the log keeper was {}",
            write.lines().next().unwrap_or_default(),
            text(&keeper["state"])
        );
        wait_until(&appliance, "log", |s| s["state"] == "running")?;
        before.same(&appliance, name)?;
    }
    appliance.json(&["tools", "call", "fs.write", "path=/data/note.txt", "content=x", "--why", "test"])?;
    appliance.machine.power_off(PATIENCE)?;
    let stored = disk::get(&appliance.machine.config().data, "log/current.log")?;
    let stored = String::from_utf8_lossy(&stored);
    for name in ["fill", "fill-root"] {
        let line = stored.lines().find(|l| l.contains(&format!(" {name} <6> hostile: fill: ")));
        ensure!(line.is_some(), "what {name} said is not stored");
    }
    Ok(())
}

#[test]
fn a_clock_that_jumps_kills_nobody_and_leaves_the_order_of_the_log() -> Result<()> {
    const TEN_YEARS: &str = "315360000";
    let more = format!("{ONESHOT}[sandbox]\ncapabilities = [\"CAP_SYS_TIME\"]\nsyscalls = [\"clock\"]\n");
    let back = format!("-{TEN_YEARS}");
    let appliance = machine(
        &[
            service("forward", "root", &["clock", TEN_YEARS], &more),
            service("back", "root", &["clock", &back], &more),
        ],
        |_| {},
    )?;
    let before = Pids::now(&appliance)?;
    for name in ["forward", "back"] {
        start(&appliance, name)?;
        let line = said(&appliance, name, "moved by")?;
        before.same(&appliance, name)?;
        println!("fault {name}: {line}; every service runs on, the command line is still logged in");
    }
    let begun = Instant::now();
    appliance.kill_daemon("netd")?;
    let log = appliance.json(&["logs", "-n", "1000"])?;
    let lines = log["lines"].as_array().context("no lines")?;
    let sorted = lines.is_sorted_by_key(|line| line["seq"].as_u64());
    ensure!(sorted, "the lines are not in the order in which they came");
    println!("fault clock: a killed netd was ready again {} ms later", begun.elapsed().as_millis());
    Ok(())
}
