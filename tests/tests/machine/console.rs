//! The console, as the owner meets it.

use crate::text;
use aios_qemu::Accel;
use aios_tests::{Appliance, PASSWORD, root, said};
use anyhow::{Context, Result, ensure};
use std::process::Command;

#[test]
fn a_person_with_a_browser_claims_asks_and_audits() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stick =
        crate::sticks::sold(folder.path(), &[("smollm2.gguf", &root().join("target/models/text.gguf"))])?;
    let appliance = Appliance::boot(&[], |config| config.usb = true)?;
    appliance.machine.qmp()?.plug_in("stick", &stick)?;
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
        status.pointer("/inference/Ok/tiers/0/engine/state").is_some_and(|s| s == "loading"),
        "not loading: {status}"
    );
    let answer = appliance.json(&["ask", "how much memory is free?"])?;
    ensure!(text(&answer["answer"]["text"]).contains("emory"), "no answer about memory: {answer}");
    ensure!(answer["answer"]["decider"] == "rules", "a model was asked: {answer}");
    Ok(())
}

#[test]
fn a_wrong_claim_code_is_refused_in_one_sentence() -> Result<()> {
    let appliance = Appliance::boot(&[], |_| {})?;
    let fingerprint = &appliance.ready.fingerprint;
    let refused = appliance.claim_with("AAAA-BBBB-CCCC", fingerprint)?;
    ensure!(refused.status.code() == Some(3), "exit status {:?}: {}", refused.status.code(), said(&refused));
    ensure!(said(&refused).contains("code"), "the sentence does not say what is wrong: {}", said(&refused));
    // Another machine's certificate is not this one's.
    let first = if fingerprint.starts_with("00") { "01" } else { "00" };
    let forged = format!("{first}{}", &fingerprint[2..]);
    let refused = appliance.claim_with("AAAA-BBBB-CCCC", &forged)?;
    ensure!(!refused.status.success() && said(&refused).contains("certificate"), "{}", said(&refused));
    appliance.claim()?;
    Ok(())
}
