//! Models are brought to the machine, checked, used and given up again.

use crate::faults::{said as said_in_log, service, start};
use crate::text;
use aios_gguf::shape::{self, Shape, Vocabulary};
use aios_tests::{Appliance, PATIENCE, program, root, said};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::io::BufReader;
use std::process::Command;
use std::time::Instant;

/// Where the files are that are imported.
const AREA: &str = "/data/upload";

/// A model of random weights with a real vocabulary: a few million parameters.
fn small(name: &str) -> Result<Vec<u8>> {
    let file = File::open(root().join("target/models/text.gguf"))?;
    let length = file.metadata()?.len();
    let vocabulary = Vocabulary::of(BufReader::new(file), length).map_err(anyhow::Error::msg)?;
    let mut bytes = Vec::new();
    shape::write(&Shape::SMALL, &vocabulary, name, 7, &mut bytes, &mut |_, _| {})?;
    Ok(bytes)
}

/// What signs these bytes, by the key of the builder, whom the image trusts.
fn sign(bytes: &[u8]) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, bytes)?;
    let output =
        Command::new(program("aios-image")).arg("--root").arg(root()).arg("sign").arg(&file).output()?;
    ensure!(output.status.success(), "not signed: {}", said(&output));
    Ok(std::fs::read(folder.path().join("model.gguf.sig"))?)
}

fn call(appliance: &Appliance, tool: &str, args: &Value) -> Result<Value> {
    appliance.json(&["tools", "call", tool, "--args", &args.to_string(), "--why", "test"])
}

/// The call is refused in one sentence with these words.
fn refused(appliance: &Appliance, tool: &str, args: &Value, why: &str) -> Result<()> {
    let output = appliance.ctl(&["tools", "call", tool, "--args", &args.to_string(), "--why", "test"])?;
    let text = said(&output);
    ensure!(
        !output.status.success() && text.contains(why),
        "{tool} {args} is not refused with {why:?}: {text}"
    );
    println!("{tool}: {text}");
    Ok(())
}

/// The tactical tier, as `model.list` shows it.
fn tactical(appliance: &Appliance) -> Result<Value> {
    let listed = call(appliance, "model.list", &json!({}))?;
    let tiers = listed["result"]["tiers"].as_array().context("no tiers")?;
    tiers.iter().find(|tier| tier["tier"] == "tactical").cloned().context("no tactical tier")
}

/// State and model of the tactical tier's engine.
fn engine(appliance: &Appliance) -> Result<String> {
    let listed = appliance.json(&["status"])?;
    let tier = listed.pointer("/inference/Ok/tiers/1/engine").cloned().unwrap_or_default();
    Ok(format!("{} {}", text(&tier["state"]), text(&tier["model"])))
}

#[test]
fn a_model_is_imported_verified_used_rolled_back_and_removed_and_a_broken_one_is_refused() -> Result<()> {
    let (one, two) = (small("first")?, small("second")?);
    let mut strange = two.clone();
    let at = strange.windows(5).position(|part| part == b"llama").context("no architecture")?;
    strange[at..at + 5].copy_from_slice(b"xxxxx");
    let signature = sign(&one)?;
    let crowd = service("crowd", "aios-netd", &["crowd", "9"], "");
    let narrow = service("narrow", "aios-netd", &["narrow", "64"], "[resources]\nmemory_high = \"16M\"\n");
    let files: [(&str, &[u8]); 9] = [
        (&crowd.0, &crowd.1),
        (&narrow.0, &narrow.1),
        ("upload/First_Model.gguf.sig", &signature),
        ("upload/forged.gguf", &two),
        ("upload/forged.gguf.sig", &signature),
        ("upload/First_Model.gguf", &one),
        ("upload/second.gguf", &two),
        ("upload/cut.gguf", &two[..two.len() / 2]),
        ("upload/strange.gguf", &strange),
    ];
    let appliance = Appliance::boot(&files, |_| {})?;
    appliance.claim()?;
    let begun = Instant::now();
    let path = |name: &str| json!({ "path": format!("{AREA}/{name}.gguf") });

    refused(&appliance, "model.import", &path("cut"), "is truncated")?;
    refused(
        &appliance,
        "model.import",
        &json!({ "path": format!("{AREA}/forged.gguf") }),
        "does not fit the file",
    )?;
    let mut wrong = path("second");
    wrong["sha256"] = json!("0".repeat(64));
    refused(&appliance, "model.import", &wrong, "it was altered or damaged")?;
    let listed = call(&appliance, "fs.list", &json!({ "path": "/data/models" }))?;
    ensure!(listed["result"]["total"] == 0, "something is left: {listed}");

    let imported = call(&appliance, "model.import", &path("First_Model"))?;
    println!("{}", text(&imported["summary"]));
    ensure!(imported["result"]["name"] == "first_model", "not as it is named: {imported}");
    ensure!(imported["result"]["signed_by"].is_string(), "the signature was not found: {imported}");
    let mut named = path("second");
    named["name"] = json!("second");
    let second = call(&appliance, "model.import", &named)?;
    refused(&appliance, "model.import", &named, "there is a model second already")?;
    refused(
        &appliance,
        "fs.remove",
        &json!({ "path": "/data/models/second.gguf" }),
        "belongs to the appliance",
    )?;
    // Taken back, it is gone.
    call(&appliance, "model.import", &path("strange"))?;
    appliance.json(&["undo", &second["audit"].to_string(), "--why", "test"])?;
    let listed = call(&appliance, "model.list", &json!({}))?;
    println!("{}", text(&listed["summary"]));
    let names: Vec<String> = listed["result"]["models"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|model| text(&model["name"]))
        .collect();
    ensure!(names == ["text", "first_model", "strange"], "not what is there: {names:?}");
    call(&appliance, "model.import", &named)?;

    let verified = call(&appliance, "model.verify", &json!({ "name": "first_model" }))?;
    println!("{}", text(&verified["summary"]));
    ensure!(verified["result"]["good"] == true, "it is not good: {verified}");
    let own = call(&appliance, "model.verify", &json!({ "name": "text" }))?;
    ensure!(own["result"]["good"] == true, "the image's is not good: {own}");

    // What people asked for in words and then approved is counted; others' reasons are not.
    for (number, asked) in ["--asked", "--dry-run", ""].into_iter().enumerate() {
        let args = json!({ "path": format!("{AREA}/made-{number}") }).to_string();
        let mut words = vec!["tools", "call", "fs.mkdir", "--args", &args, "--why", "make room for it"];
        words.extend(Some(asked).filter(|word| !word.is_empty()));
        appliance.json(&words)?;
    }
    let learned = call(&appliance, "model.learn", &json!({}))?;
    println!("{}", text(&learned["summary"]));
    let why = "nothing was learned: 1 proposals were approved so far, and 20 are needed";
    ensure!(text(&learned["summary"]).starts_with(why), "not what was approved: {learned}");
    let forgotten = call(&appliance, "model.forget", &json!({}))?;
    ensure!(forgotten["result"]["current"].is_null(), "something was learned: {forgotten}");
    let planned = appliance.json(&["tools", "call", "schedule.list"])?;
    ensure!(planned.to_string().contains("model.learn"), "nobody learns at night: {planned}");

    // inferd loads it in the machine itself, and what no engine knows it refuses.
    let use_it = |name: &str| json!({ "name": name, "tier": "tactical" });
    let activated = call(&appliance, "model.activate", &use_it("first_model"))?;
    println!("{} ({:?} since the claim)", text(&activated["summary"]), begun.elapsed());
    ensure!(activated["result"]["on_trial"] == true, "it is on trial: {activated}");
    ensure!(engine(&appliance)? == "ready first", "it is not in use: {}", engine(&appliance)?);
    let asked = appliance.python("models_client.py")?;
    println!("{}", said(&asked));
    ensure!(asked.status.success(), "the client was not content");
    refused(&appliance, "model.activate", &use_it("strange"), "first_model stays in use")?;
    refused(&appliance, "model.remove", &json!({ "name": "first_model" }), "uses first_model")?;
    refused(&appliance, "model.remove", &json!({ "name": "text" }), "belongs to the image")?;
    let second = call(&appliance, "model.activate", &use_it("second"))?;
    ensure!(engine(&appliance)? == "ready second", "it is not in use: {}", engine(&appliance)?);
    let undone = appliance.json(&["undo", &second["audit"].to_string(), "--why", "test"])?;
    println!("{}", text(&undone["summary"]));
    ensure!(engine(&appliance)? == "ready first", "it is not taken back: {}", engine(&appliance)?);

    // Its worker dies in the trial: the one before counts again, and that is said.
    call(&appliance, "model.activate", &use_it("second"))?;
    let processes = call(&appliance, "process.list", &json!({ "contains": "models/second" }))?;
    let pid = processes.pointer("/result/processes/0/pid").cloned().context("no worker runs")?;
    call(&appliance, "process.kill", &json!({ "pid": pid, "signal": "kill" }))?;
    let until = Instant::now() + PATIENCE;
    let now = loop {
        let now = tactical(&appliance)?;
        if now["model"] == "first_model" {
            break now;
        }
        ensure!(Instant::now() < until, "it does not come back: {now}");
    };
    println!("{}", text(&now["note"]));
    ensure!(text(&now["note"]).contains("second is not used any more"), "it is not said: {now}");

    // A machine that loses its power in a trial comes up with the one before that.
    call(&appliance, "model.activate", &use_it("second"))?;
    let appliance = appliance.cut_power()?;
    let now = tactical(&appliance)?;
    println!("{now}");
    ensure!(now["model"] == "first_model" && now["on_trial"] == false, "not as before: {now}");
    let back = call(&appliance, "model.rollback", &json!({ "tier": "tactical" }))?;
    println!("{}", text(&back["summary"]));
    ensure!(back["result"]["model"] == "the image's own model", "not the image's: {back}");

    // A service that is held back by its own limit costs no model; a machine that is short of memory does.
    call(&appliance, "model.activate", &use_it("first_model"))?;
    start(&appliance, "narrow")?;
    said_in_log(&appliance, "narrow", "narrow: begins")?;
    let until = Instant::now() + PATIENCE;
    loop {
        // More of the time than what wakes inferd, so it was woken.
        let waited = call(&appliance, "memory.info", &json!({}))?["result"]["pressure"]["some_10s"].clone();
        if waited.as_f64() > Some(20.0) {
            println!("work waited for memory for {waited} % of the time");
            break;
        }
        ensure!(Instant::now() < until, "nobody waits for memory: {waited}");
    }
    ensure!(engine(&appliance)? == "ready first", "it was dropped for nothing: {}", engine(&appliance)?);
    start(&appliance, "crowd")?;
    println!("{}", said_in_log(&appliance, "crowd", "are taken")?);
    let until = Instant::now() + PATIENCE;
    loop {
        // On trial it has failed; after that it comes back by itself.
        let (now, status) = (tactical(&appliance)?, appliance.json(&["status"])?);
        let why = status.pointer("/inference/Ok/tiers/1/engine/detail").map(text).unwrap_or_default();
        let said = [text(&now["note"]), why];
        if let Some(why) = said.iter().find(|why| why.contains("short of memory")) {
            println!("{why}");
            break;
        }
        ensure!(Instant::now() < until, "it is not dropped: {now} {said:?}");
    }
    for name in ["crowd", "narrow"] {
        call(&appliance, "service.stop", &json!({ "name": name }))?;
    }
    for name in ["first_model", "second", "strange"] {
        call(&appliance, "model.remove", &json!({ "name": name }))?;
    }
    let listed = call(&appliance, "fs.list", &json!({ "path": "/data/models" }))?;
    ensure!(listed["result"]["total"] == 0, "something is left: {listed}");
    println!("models: {:?}", begun.elapsed());
    Ok(())
}
