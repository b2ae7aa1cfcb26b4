//! Services and their files.

use crate::faults::{machine, start, wait_until};
use crate::text;
use aios_tests::{Appliance, BOOT, PATIENCE};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Instant;

#[test]
fn every_daemon_that_is_killed_comes_back_and_works() -> Result<()> {
    let appliance = Appliance::claimed()?;
    appliance.wait_for_model()?;
    for name in ["toold", "workshop", "inferd", "agentd", "netd", "console"] {
        // The workshop has none: the workers that outlive it for a moment are ended first.
        let standby = (name != "workshop").then(|| standby(&appliance, name)).transpose()?;
        let next = appliance.kill_daemon(name)?;
        ensure!(
            standby.is_none_or(|standby| next == standby),
            "{name} should go on as its standby {standby:?}, and is {next}"
        );
        if name == "inferd" {
            appliance.wait_for_model()?;
        }
        let answer = appliance.json(&["ask", "which services are running?"])?;
        ensure!(answer["answer"]["text"].is_string(), "no answer after {name} was killed: {answer}");
        let status = appliance.service(name)?;
        ensure!(status["restarts"].as_u64() == Some(1), "{name} should have one restart: {status}");
        ensure!(text(&status["last_exit"]).contains("KILL"), "the reason is not told: {status}");
    }
    // A standby that is gone is not missed, and one that is there is not used for what a person asked for.
    let gone = standby(&appliance, "netd")?;
    let kill = ["tools", "call", "process.kill", &format!("pid={gone}"), "signal=kill", "--why", "test"];
    appliance.json(&kill)?;
    let next = appliance.kill_daemon("netd")?;
    ensure!(next != gone, "netd goes on as a process that was killed");
    let unused = standby(&appliance, "netd")?;
    appliance.json(&["services", "restart", "netd", "--why", "test"])?;
    let fresh = appliance.service("netd")?;
    ensure!(fresh["pid"] != next && fresh["pid"] != unused, "not a new process: {fresh}");
    ensure!(standby(&appliance, "netd")? != unused, "the standby of the run before is still there");
    let head = appliance.json(&["audit", "verify"])?;
    println!("audit after six kills: {head}");
    Ok(())
}

/// The process of a daemon that is none yet: the kernel shows it in the state t, traced (proc_pid_stat(5)).
fn standby(appliance: &Appliance, name: &str) -> Result<u64> {
    let begin = Instant::now();
    loop {
        let list = ["tools", "call", "process.list", "contains=aios-", "sort=pid", "limit=500"];
        let found = appliance.json(&list)?;
        let all = found.pointer("/result/processes").and_then(Value::as_array).context("no processes")?;
        // Of a user of its own: broker and workshop are one program.
        let user = format!("aios-{name}");
        let standby = all.iter().find(|process| process["state"] == "t" && process["user"] == user);
        if let Some(pid) = standby.and_then(|process| process["pid"].as_u64()) {
            return Ok(pid);
        }
        // It is made when nothing else is to be done, and nobody is told.
        ensure!(begin.elapsed() < PATIENCE, "{name} has no standby: {found}");
    }
}

#[test]
fn broken_service_files_are_named_and_nothing_else_stops() -> Result<()> {
    let files: [(&str, &[u8]); 3] = [
        (
            "config/services/typo.toml",
            b"description = \"x\"\nexec = [\"/usr/bin/aios-netd\"]\nreedy = \"notify\"\n",
        ),
        ("config/services/cut.toml", b"exec = [\"/usr/bin"),
        (
            "config/services/loop.toml",
            b"description = \"x\"\nexec = [\"/usr/bin/aios-netd\"]\nrequires = [\"loop\"]\n",
        ),
    ];
    let appliance = Appliance::boot(&files, |_| {})?;
    appliance.claim()?;
    let list = appliance.json(&["services", "list"])?;
    let refused = list["refused"].to_string();
    println!("refused: {refused}");
    ensure!(refused.contains("typo.toml:3") && refused.contains("reedy"), "the typo is not named: {refused}");
    ensure!(refused.contains("cut.toml:1"), "the file that was cut is not named: {refused}");
    ensure!(refused.contains("loop"), "the cycle is not named: {refused}");
    for name in ["toold", "workshop", "inferd", "strategic", "agentd", "netd", "console"] {
        ensure!(appliance.service(name)?["state"] == "running", "{name} does not run");
    }
    Ok(())
}

#[test]
fn a_hostile_service_gets_clear_errors_and_nothing_else_stops() -> Result<()> {
    let service =
        b"description = \"a hostile program\"\nexec = [\"/usr/bin/aios-hostile\", \"strange-packets\"]\nuser = \"aios-netd\"\n\
        kind = \"oneshot\"\nafter = [\"toold\", \"agentd\", \"inferd\", \"console\"]\n";
    let appliance = Appliance::boot(&[("config/services/hostile.toml", service)], |_| {})?;
    appliance.claim()?;
    let mut log = appliance.follow(&["logs", "--unit", "hostile", "-n", "100", "--follow"])?;
    let mut lines = Vec::new();
    log.wait_for(|line| {
        lines.push(line.trim().to_owned());
        line.contains("hostile: done")
    })?;
    drop(log);
    let lines = lines.join("\n");
    println!("{lines}");
    for name in ["init", "toold", "agentd", "inferd", "netd"] {
        for (packet, says) in [
            ("an oversized packet", "nothing of it was used"),
            ("another version", "version"),
            ("garbage", "not a valid"),
        ] {
            let wanted = format!("hostile: {name} to {packet}: ");
            let line =
                lines.lines().find(|l| l.contains(&wanted)).with_context(|| format!("no line {wanted}"))?;
            ensure!(line.contains(says), "{line:?} should say {says:?}");
        }
    }
    ensure!(!lines.contains("SUCCESS"), "something was allowed: {lines}");
    ensure!(lines.contains("hostile: init to a power-off: denied"), "the power-off was not denied: {lines}");
    ensure!(lines.contains("hostile: toold to a call: denied"), "the call was not denied: {lines}");
    for name in ["toold", "workshop", "inferd", "agentd", "netd", "console"] {
        let status = appliance.service(name)?;
        ensure!(status["state"] == "running" && status["restarts"] == 0, "{name} suffered: {status}");
    }
    Ok(())
}

#[test]
fn services_start_by_a_timer_and_by_a_connection_and_are_ready_when_they_say_so() -> Result<()> {
    let file = |name: &str, exec: &str, more: &str| {
        let text = format!(
            "description = \"{name}\"\nexec = [\"/usr/bin/aios-hostile\", {exec}]\nuser = \"aios-netd\"\n{more}"
        );
        (format!("config/services/{name}.toml"), text.into_bytes())
    };
    let door = "[[socket]]\nname = \"door\"\nkind = \"stream\"\npath = \"/run/door.sock\"\n";
    let appliance = machine(
        &[
            file(
                "clock",
                "\"say\", \"tick\"",
                "kind = \"oneshot\"\n[timer]\nafter_boot = \"1s\"\nevery = \"1s\"\n",
            ),
            file("shop", "\"answer\"", &format!("start = \"socket\"\n{door}")),
            file("guest", "\"knock\", \"/run/door.sock\"", "kind = \"oneshot\"\nstart = \"manual\"\n"),
            file("quick", "\"ready\", \"3\"", "ready = \"fd\"\nready_fd = 3\n"),
            file("mute", "\"idle\"", "ready = \"fd\"\nready_fd = 3\nstart_timeout = \"1s\"\n"),
            file(
                "stubborn",
                "\"idle\"",
                "standby = true\nstop_signal = \"SIGWINCH\"\nstop_timeout = \"3s\"\n",
            ),
            file("pair@", "\"idle\"", "instances = [\"a\", \"b\"]\n"),
        ],
        |_| {},
    )?;
    let until = Instant::now() + PATIENCE;
    let ticks = loop {
        let log = appliance.ctl(&["logs", "--unit", "clock", "--grep", "tick", "-n", "10"])?;
        let ticks = log.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        if ticks >= 3 {
            break ticks;
        }
        ensure!(Instant::now() < until, "the timer ran {ticks} times");
    };
    let clock = wait_until(&appliance, "clock", |status| status["state"] == "scheduled")?;
    ensure!(clock["next_run_ms"].as_u64().is_some_and(|ms| ms <= 1000), "no next run: {clock}");

    let listening = |status: &Value| status["state"] == "listening";
    wait_until(&appliance, "shop", listening)?;
    let mut answers = Vec::new();
    for _ in 0..2 {
        start(&appliance, "guest")?;
        let last = answers.last().cloned();
        // The same words come twice, from two processes.
        let other =
            |line: &str| line.contains("come in, says process") && Some(line.trim()) != last.as_deref();
        let mut log = appliance.follow(&["logs", "--unit", "guest", "-n", "10", "--follow"])?;
        answers.push(log.wait_for(other)?.trim().to_owned());
        wait_until(&appliance, "shop", listening)?;
    }

    wait_until(&appliance, "quick", |status| status["state"] == "running")?;
    let mute = wait_until(&appliance, "mute", |status| status["restarts"].as_u64() >= Some(1))?;
    ensure!(text(&mute["last_exit"]).contains("was not ready within 1 s"), "the reason is not told: {mute}");
    for instance in ["pair@a", "pair@b"] {
        wait_until(&appliance, instance, |status| status["state"] == "running")?;
    }

    // What stops has no standby any more, and gets none while it takes its time.
    wait_until(&appliance, "stubborn", |status| status["processes"] == 2)?;
    start(&appliance, "stubborn")?;
    wait_until(&appliance, "stubborn", |status| status["state"] == "stopping")?;
    let mut while_stopping = Vec::new();
    wait_until(&appliance, "stubborn", |status| {
        let stops = status["state"] == "stopping";
        if stops {
            while_stopping.push(status["processes"].as_u64());
        }
        !stops
    })?;
    ensure!(while_stopping.last() == Some(&Some(1)), "its processes while it stopped: {while_stopping:?}");
    println!("timer: {ticks} runs; socket: {answers:?}; mute: {}", text(&mute["last_exit"]));
    Ok(())
}

#[test]
fn the_power_button_switches_the_machine_off_cleanly() -> Result<()> {
    let mut appliance = Appliance::boot(&[], |_| {})?;
    appliance.machine.power_off(BOOT)
}
