//! The models for programs that know OpenAI's API, asked by OpenAI's own client.

use aios_tests::{Appliance, said};
use anyhow::{Result, ensure};

#[test]
fn the_official_client_of_openai_gets_texts_vectors_calls_and_its_own_exceptions() -> Result<()> {
    let appliance = Appliance::claimed()?;
    appliance.wait_for_model()?;
    let output = appliance.python("openai_client.py")?;
    println!("{}", said(&output));
    ensure!(output.status.success(), "the client was not content");
    let status = appliance.json(&["status"])?;
    let done = status.pointer("/inference/Ok/tiers/0/done").cloned().unwrap_or_default();
    println!("the tier's own account: {done}");
    ensure!(done["requests"].as_u64() > Some(10), "the tier does not count what it did: {status}");
    Ok(())
}
