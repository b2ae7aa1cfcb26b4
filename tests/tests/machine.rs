//! The booted image, as its owner and its enemies meet it. Every test boots a machine of its own.

use aios_qemu::engine::Kind;
use aios_qemu::{Accel, Claim};
use aios_tests::{Appliance, BOOT, PASSWORD, PATIENCE, root, said};
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// The long answer that the tests interrupt.
const STORY: &str = "tell me a long story about a ship and the sea";

fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn a_person_with_a_browser_claims_asks_and_audits() -> Result<()> {
    let appliance = Appliance::boot(&[], |_| {})?;
    let code = appliance.ready.claim_code().context("a fresh machine has a claim code")?;
    let shots = root().join("target/screenshots");
    let output = Command::new("node")
        .arg(root().join("tests/browser/console.mjs"))
        .args([&appliance.machine.console_url(), code, PASSWORD])
        .arg(&shots)
        .arg("model")
        .output()
        .context("node cannot be started; scripts/deps.sh installs it")?;
    println!("{}", said(&output));
    ensure!(output.status.success(), "the browser was not content");
    Ok(())
}

#[test]
fn the_console_answers_before_the_model_is_loaded_and_says_so() -> Result<()> {
    // A worker that never becomes ready: its model is a pipe that nobody writes to.
    let folder = tempfile::tempdir()?;
    let pipe = folder.path().join("endless.gguf");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )?;
    let appliance = Appliance::boot(&[], |config| {
        config.accel = Some(Accel::Tcg);
        config.text_model = Some(pipe);
    })?;
    appliance.claim()?;
    let status = appliance.json(&["status"])?;
    ensure!(
        status.pointer("/inference/Ok/text/state").is_some_and(|s| s == "loading"),
        "not loading: {status}"
    );
    let answer = appliance.json(&["ask", "how much memory is free?"])?;
    ensure!(text(&answer["answer"]["text"]).contains("emory"), "no answer about memory: {answer}");
    ensure!(answer["answer"]["decider"] == "rules", "a model was asked: {answer}");
    Ok(())
}

#[test]
fn every_daemon_that_is_killed_comes_back_and_works() -> Result<()> {
    let appliance = Appliance::claimed()?;
    appliance.wait_for_model()?;
    for name in ["toold", "inferd", "agentd", "netd", "console"] {
        appliance.kill_daemon(name)?;
        if name == "inferd" {
            appliance.wait_for_model()?;
        }
        let answer = appliance.json(&["ask", "which services are running?"])?;
        ensure!(answer["answer"]["text"].is_string(), "no answer after {name} was killed: {answer}");
        let status = appliance.service(name)?;
        ensure!(status["restarts"].as_u64() == Some(1), "{name} should have one restart: {status}");
        ensure!(text(&status["last_exit"]).contains("KILL"), "the reason is not told: {status}");
    }
    let head = appliance.json(&["audit", "verify"])?;
    println!("audit after five kills: {head}");
    Ok(())
}

#[test]
fn an_engine_that_dies_in_the_middle_of_an_answer_is_said_and_the_next_question_works() -> Result<()> {
    let appliance = Appliance::claimed()?;
    appliance.wait_for_model()?;
    for (victim, end) in [("worker", "died in the middle"), ("inferd", "ended while")] {
        let mut asking = appliance.follow(&["ask", STORY])?;
        // Well into the story: notes come first.
        let begun = asking.wait_for_bytes(400)?;
        if victim == "worker" {
            ensure!(appliance.machine.kill_engine(Kind::Text), "there is no worker to kill");
        } else {
            appliance.kill_daemon("inferd")?;
        }
        let (rest, status) = asking.finish()?;
        println!("{victim} killed after {begun:?}; then: {rest} ({status:?})");
        ensure!(rest.contains(end), "the end is not explained: {rest:?}");
        appliance.wait_for_model()?;
        let answer =
            appliance.json(&["ask", "could you tell me which programs eat the most RAM at the moment"])?;
        ensure!(answer["answer"]["text"].is_string(), "the next question does not work: {answer}");
    }
    Ok(())
}

#[test]
fn the_engines_run_inside_the_machine_and_come_back_there() -> Result<()> {
    let appliance = Appliance::boot(&[], |config| config.engines_outside = false)?;
    appliance.claim()?;
    appliance.wait_for_model()?;
    let status = appliance.json(&["status"])?;
    for engine in ["text", "embed"] {
        let place = status.pointer(&format!("/inference/Ok/{engine}/place"));
        ensure!(place.is_some_and(|place| place == "machine"), "{engine} is not in the machine: {status}");
    }
    let answer =
        appliance.json(&["ask", "could you tell me which programs eat the most RAM at the moment"])?;
    // Emulated, they may be too slow; then the rules answer. Either way there is an answer in time.
    ensure!(text(&answer["answer"]["text"]).contains("processes"), "no answer: {answer}");
    println!("answered by {} after {} ms", answer["answer"]["decider"], answer["answer"]["ms"]);
    let processes = appliance.json(&["tools", "call", "process.list", "contains=engines/llama"])?;
    let worker = processes.pointer("/result/processes/0").context("no worker runs")?;
    ensure!(worker["user"] == "aios-inferd", "the worker has other rights: {worker}");
    let pid = format!("pid={}", worker["pid"]);
    appliance.json(&["tools", "call", "process.kill", &pid, "signal=kill", "--why", "test"])?;
    appliance.wait_for_model()?;
    let status = appliance.json(&["status"])?;
    ensure!(status.pointer("/inference/Ok/text/restarts").is_some_and(|n| n == 1), "not restarted: {status}");
    Ok(())
}

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
    let twice = appliance.ctl(&["undo", &done["audit"].to_string(), "--why", "test"])?;
    ensure!(!twice.status.success(), "the same write was taken back twice");

    for path in ["/etc/shadow", "/data/toold/audit.key", "/tmp/../data/console/key.pem", "/proc/1/mem"] {
        let refused = appliance.ctl(&["tools", "call", "fs.read", &format!("path={path}")])?;
        ensure!(!refused.status.success(), "{path} was read: {}", said(&refused));
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

#[test]
fn a_wrong_claim_code_is_refused_in_one_sentence() -> Result<()> {
    let appliance = Appliance::boot(&[], |_| {})?;
    let url = appliance.machine.console_url();
    let fingerprint = appliance.ready.fingerprint.clone();
    let claim = |code: &str| {
        appliance.ctl_with_input(
            &[
                "claim",
                &url,
                "--code",
                code,
                "--user",
                "admin",
                "--password-stdin",
                "--fingerprint",
                &fingerprint,
            ],
            PASSWORD,
        )
    };
    let refused = claim("AAAA-BBBB-CCCC")?;
    ensure!(refused.status.code() == Some(3), "exit status {:?}: {}", refused.status.code(), said(&refused));
    ensure!(said(&refused).contains("code"), "the sentence does not say what is wrong: {}", said(&refused));
    // Another machine's certificate is not this one's.
    let other =
        ["claim", &url, "--code", "AAAA-BBBB-CCCC", "--user", "admin", "--password-stdin", "--fingerprint"];
    let forged = format!("00{}", &fingerprint[2..]);
    let refused = appliance.ctl_with_input(&[&other[..], &[&forged]].concat(), PASSWORD)?;
    ensure!(!refused.status.success() && said(&refused).contains("certificate"), "{}", said(&refused));
    appliance.claim()?;
    Ok(())
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
    for name in ["toold", "inferd", "agentd", "netd", "console"] {
        ensure!(appliance.service(name)?["state"] == "running", "{name} does not run");
    }
    Ok(())
}

#[test]
fn a_truncated_model_is_one_clear_error_and_everything_else_works() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cut = folder.path().join("cut.gguf");
    let whole = std::fs::read(root().join("target/models/text.gguf"))?;
    std::fs::write(&cut, &whole[..whole.len() / 2])?;
    let appliance = Appliance::boot(&[], |config| {
        config.accel = Some(Accel::Tcg);
        config.text_model = Some(cut);
    })?;
    appliance.claim()?;
    // The worker says it as soon as it has read the header; the state leaves `loading` by itself.
    let until = std::time::Instant::now() + PATIENCE;
    let detail = loop {
        let status = appliance.json(&["status"])?;
        let engine = status.pointer("/inference/Ok/text").cloned().unwrap_or_default();
        if engine["state"] == "failed" {
            break text(&engine["detail"]);
        }
        ensure!(std::time::Instant::now() < until, "never failed: {status}");
    };
    println!("truncated model: {detail}");
    ensure!(detail.contains("truncated"), "the reason is not told: {detail}");
    let answer = appliance.json(&["ask", "how much memory is free?"])?;
    ensure!(answer["answer"]["text"].is_string(), "no answer without a model: {answer}");
    Ok(())
}

#[test]
fn a_hostile_service_gets_clear_errors_and_nothing_else_stops() -> Result<()> {
    let service =
        b"description = \"a hostile program\"\nexec = [\"/usr/bin/aios-hostile\"]\nuser = \"aios-netd\"\n\
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
    for name in ["init", "toold", "agentd", "inferd"] {
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
    for name in ["toold", "inferd", "agentd", "netd", "console"] {
        let status = appliance.service(name)?;
        ensure!(status["state"] == "running" && status["restarts"] == 0, "{name} suffered: {status}");
    }
    Ok(())
}

#[test]
fn the_power_button_switches_the_machine_off_cleanly() -> Result<()> {
    let mut appliance = Appliance::boot(&[], |_| {})?;
    appliance.machine.power_off(BOOT)
}
