//! Who may do what, as a person sets it; and several changes as one.

use crate::text;
use aios_tests::{Appliance, said};
use anyhow::{Result, ensure};

/// What the policy would decide.
fn verdict(appliance: &Appliance, question: &[&str]) -> Result<String> {
    let answer = appliance.json(&[&["tools", "call", "policy.test"], question].concat())?;
    println!("{question:?}: {}", answer["result"]);
    Ok(text(&answer["result"]["verdict"]))
}

#[test]
fn a_policy_is_set_explained_kept_over_a_power_cut_and_never_locks_out_its_author() -> Result<()> {
    let appliance = Appliance::claimed()?;
    let write = ["tool=fs.write", "target=/data/www/x", "as=agent"];
    let restart = ["tool=service.restart", "target=service agentd", "as=agent"];
    let console = ["tool=service.restart", "target=service console", "as=agent"];
    let asked = |appliance: &Appliance| -> Result<Vec<String>> {
        [&write[..], &restart, &console].into_iter().map(|question| verdict(appliance, question)).collect()
    };
    ensure!(asked(&appliance)? == ["allow", "allow", "ask"], "new: {:?}", asked(&appliance)?);

    let set = |document: &str| -> Vec<String> {
        let args = serde_json::json!({ "document": document }).to_string();
        ["tools", "call", "policy.set", "--args", &args, "--why", "test"].map(str::to_owned).into()
    };
    let lock = set("rules = '''forbid (principal, action in Action::\"policy.*\", resource);'''");
    let refused = appliance.ctl(&lock.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(!refused.status.success() && said(&refused).contains("lock you out"), "{}", said(&refused));
    let careful = set("autonomy = \"confirm\"\n");
    let done = appliance.json(&careful.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(asked(&appliance)? == ["ask", "ask", "ask"], "careful: {:?}", asked(&appliance)?);
    let appliance = appliance.cut_power()?;
    ensure!(asked(&appliance)? == ["ask", "ask", "ask"], "after the cut: {:?}", asked(&appliance)?);
    appliance.json(&["undo", &done["audit"].to_string(), "--why", "test"])?;
    ensure!(asked(&appliance)? == ["allow", "allow", "ask"], "taken back: {:?}", asked(&appliance)?);

    all_or_none(&appliance)
}

fn all_or_none(appliance: &Appliance) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let together = |steps: serde_json::Value| -> Result<std::process::Output> {
        let file = folder.path().join("steps.json");
        std::fs::write(&file, steps.to_string())?;
        appliance.ctl(&["tools", "together", &file.display().to_string(), "--why", "test", "--json"])
    };
    let mkdir = serde_json::json!({ "tool": "fs.mkdir", "args": { "path": "/data/www" } });
    let page =
        |path: &str| serde_json::json!({ "tool": "fs.write", "args": { "path": path, "content": "x" } });
    let failed = together(serde_json::json!([mkdir, page("/etc/nowhere")]))?;
    ensure!(
        !failed.status.success() && said(&failed).contains("all of it was taken back"),
        "{}",
        said(&failed)
    );
    let gone = appliance.ctl(&["tools", "call", "fs.stat", "path=/data/www"])?;
    ensure!(!gone.status.success(), "half of it is there: {}", said(&gone));
    let made = together(serde_json::json!([mkdir, page("/data/www/index.html")]))?;
    ensure!(made.status.success(), "not made: {}", said(&made));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout)?;
    appliance.json(&["undo", &made["audit"].to_string(), "--why", "test"])?;
    let gone = appliance.ctl(&["tools", "call", "fs.stat", "path=/data/www"])?;
    ensure!(!gone.status.success(), "half of it is there: {}", said(&gone));
    println!("{}", appliance.json(&["audit", "verify"])?);
    Ok(())
}
