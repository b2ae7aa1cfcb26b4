//! The engine workers and the models.

use crate::text;
use aios_qemu::Accel;
use aios_qemu::engine::Kind;
use aios_tests::{Appliance, Following, PATIENCE, root};
use anyhow::{Context, Result, ensure};
use std::time::Instant;

/// The long answer that the tests interrupt.
const STORY: &str = "tell me a long story about a ship and the sea";

/// Well into the story; notes come first. As long as the machine learns what its tools mean it answers by rules, and is asked
/// again.
fn story(appliance: &Appliance) -> Result<(Following, String)> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut asking = appliance.follow(&["ask", STORY])?;
        match asking.wait_for_bytes(400) {
            Err(error) if error.to_string().contains("not done within") && Instant::now() < until => {}
            begun => return Ok((asking, begun?)),
        }
    }
}

#[test]
fn an_engine_that_dies_in_the_middle_of_an_answer_is_said_and_the_next_question_works() -> Result<()> {
    let appliance = Appliance::claimed()?;
    appliance.wait_for_model()?;
    for (victim, end) in [("worker", "died in the middle"), ("inferd", "ended while")] {
        let (asking, begun) = story(&appliance)?;
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
    what_is_understood_is_measured(&appliance)
}

/// The questions of the evaluation about one family, of which each answer must be a call that its tool takes; none is made.
fn what_is_understood_is_measured(appliance: &Appliance) -> Result<()> {
    let questions = std::fs::read_to_string(root().join("agentd/inference/evaluation/others.jsonl"))?;
    let questions: Vec<&str> =
        questions.lines().filter(|line| line.contains(r#""tool": "memory."#)).collect();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), questions.join("\n"))?;
    let before = appliance.json(&["audit", "list"])?;
    let measured = appliance.json(&["eval", "tools", &file.path().to_string_lossy()])?;
    let all = &measured["scores"]["all"];
    println!("eval of {} questions: {all}", questions.len());
    ensure!(all["questions"] == questions.len() && !questions.is_empty(), "not all were asked: {measured}");
    // What is not understood is no call, and valid so; something must be.
    ensure!(all["right_tool_percent"].as_f64() > Some(0.0), "nothing was understood: {measured}");
    ensure!(all["valid_percent"] == 100.0, "a call that no tool takes: {measured}");
    ensure!(appliance.json(&["audit", "list"])? == before, "something was called");
    Ok(())
}

#[test]
fn the_engines_run_inside_the_machine_and_come_back_there() -> Result<()> {
    let appliance = Appliance::boot(&[], |config| config.engines_outside = false)?;
    appliance.claim()?;
    appliance.wait_for_model()?;
    let status = appliance.json(&["status"])?;
    for engine in ["tiers/0/engine", "embed"] {
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
    let restarts = status.pointer("/inference/Ok/tiers/0/engine/restarts");
    ensure!(restarts.is_some_and(|n| n == 1), "not restarted: {status}");
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
    let until = Instant::now() + PATIENCE;
    let detail = loop {
        let status = appliance.json(&["status"])?;
        let engine = status.pointer("/inference/Ok/tiers/0/engine").cloned().unwrap_or_default();
        if engine["state"] == "failed" {
            break text(&engine["detail"]);
        }
        ensure!(Instant::now() < until, "never failed: {status}");
    };
    println!("truncated model: {detail}");
    ensure!(detail.contains("truncated"), "the reason is not told: {detail}");
    let answer = appliance.json(&["ask", "how much memory is free?"])?;
    ensure!(answer["answer"]["text"].is_string(), "no answer without a model: {answer}");
    Ok(())
}
