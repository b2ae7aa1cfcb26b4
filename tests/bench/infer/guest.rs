//! The text engine inside the booted machine, beside the same worker on this computer. Where the machine is emulated, that is what
//! emulation costs; there its engines run beside QEMU otherwise.

use super::Peers;
use super::worker::{Worker, messages};
use crate::report::{Bar, Row};
use aios_abi::engine::Generate;
use aios_tests::{Appliance, said};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;

/// What `completion_client.py` asks for, and so many tokens.
const ASKED: &str = "Once upon a time";
const ANSWER: u32 = 16;

/// `infer.guest.tg`
pub(crate) fn measure(peers: &Peers<'_>, model: &Path) -> Result<Vec<Row>> {
    let root = aios_tests::root();
    let appliance = Appliance::boot(&[], |config| {
        config.image = root.join("target/image");
        config.engines_outside = false;
    })?;
    appliance.claim()?;
    appliance.wait_for_model()?;
    let account = || {
        let status = appliance.json(&["status"])?;
        let number = |name: &str| {
            let value = status.pointer(&format!("/inference/Ok/tiers/0/done/{name}"));
            value.and_then(Value::as_f64).with_context(|| format!("`aiosctl status` tells no {name}"))
        };
        anyhow::Ok((number("generated_tokens")?, number("ms")?))
    };
    let before = account()?;
    let output = appliance.python("completion_client.py")?;
    ensure!(output.status.success(), "the machine completes nothing: {}", said(&output));
    let after = account()?;
    let (tokens, ms) = (after.0 - before.0, after.1 - before.1);
    ensure!(tokens > 0.0 && ms > 0.0, "the machine wrote {tokens} tokens in {ms} ms");
    let accel = appliance.machine.probe().accel;
    drop(appliance);

    let threads = super::threads();
    let mut worker = Worker::start(peers.worker, model, &["--threads", &threads])?;
    let messages = messages(&[("user", ASKED)]);
    let told = worker.ask(Generate { messages, max_tokens: ANSWER, ..Generate::default() })?;
    let here = f64::from(told.generated) / told.whole.as_secs_f64();
    let what = format!("answer of {tokens} tokens, prompt included, inside the machine ({accel:?})");
    let row =
        Row::new("infer.guest.tg", what, "tok/s", 1000.0 * tokens / ms, "this computer", here, Bar::None)?;
    Ok(vec![row])
}
