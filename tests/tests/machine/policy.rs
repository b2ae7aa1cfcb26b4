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

    all_or_none(&appliance)?;
    people(&appliance)?;
    files_are_watched(&appliance)
}

/// A public key; nobody has the private one.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Ulb8aBYQ3ABRkHqhBRQb9bqCeFtoLeVGaMcX8hGLJ bob@laptop";

/// An account with an SSH key goes and comes back, over the daemons' own sandboxes.
fn people(appliance: &Appliance) -> Result<()> {
    let change = |tool: &str, args: serde_json::Value| {
        appliance.json(&["tools", "call", tool, "--args", &args.to_string(), "--why", "test"])
    };
    let there = |file: &str| -> Result<bool> {
        let path = format!("path=/data/config/ssh/keys/{file}");
        Ok(appliance.ctl(&["tools", "call", "fs.stat", &path])?.status.success())
    };
    let made = change("users.create", serde_json::json!({ "name": "bob", "role": "operator" }))?;
    ensure!(text(&made["result"]["one_time_password"]).len() == 14, "no password: {made}");
    change("users.key_add", serde_json::json!({ "name": "bob", "key": KEY }))?;
    let kept = appliance.json(&["tools", "call", "fs.stat", "path=/data/config/ssh/keys/bob"])?;
    println!("{}", kept["result"]);
    let off = change("users.modify", serde_json::json!({ "name": "bob", "disabled": true }))?;
    ensure!(!there("bob")? && there("bob.off")?, "the key of somebody disabled is in use");
    appliance.json(&["undo", &off["audit"].to_string(), "--why", "test"])?;
    ensure!(there("bob")? && !there("bob.off")?, "the key is still out of use");
    let gone = change("users.remove", serde_json::json!({ "name": "bob" }))?;
    ensure!(!there("bob")?, "the key outlived the account");
    appliance.json(&["undo", &gone["audit"].to_string(), "--why", "test"])?;
    let listed = appliance.json(&["tools", "call", "users.list", "name=bob"])?;
    let bob = &listed["result"]["accounts"][0];
    ensure!(
        bob["role"] == "operator" && bob["keys"][0]["comment"] == "bob@laptop",
        "not as before: {listed}"
    );
    let shown = appliance.json(&["tools", "call", "sec.certificates"])?;
    ensure!(
        text(&shown["result"]["certificates"][0]["fingerprint"]) == appliance.ready.fingerprint,
        "another certificate: {shown}"
    );
    Ok(())
}

/// What was changed since the baseline is named, and wrong permissions are set right and back.
fn files_are_watched(appliance: &Appliance) -> Result<()> {
    let change = |tool: &str, args: serde_json::Value| {
        appliance.json(&["tools", "call", tool, "--args", &args.to_string(), "--why", "test"])
    };
    change("sec.baseline", serde_json::json!({}))?;
    change("fs.write", serde_json::json!({ "path": "/data/config/new.toml", "content": "x" }))?;
    let compared = appliance.json(&["tools", "call", "sec.integrity"])?;
    ensure!(compared["result"]["added"][0] == "/data/config/new.toml", "not found: {compared}");
    change("fs.write", serde_json::json!({ "path": "/data/open.txt", "content": "x", "mode": "0666" }))?;
    let fixed = change("sec.permissions_fix", serde_json::json!({}))?;
    let paths = fixed["result"]["fixed"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(paths.iter().any(|path| path == "/data/open.txt"), "not set right: {fixed}");
    let mode = || -> Result<String> {
        let stat = appliance.json(&["tools", "call", "fs.stat", "path=/data/open.txt"])?;
        Ok(text(&stat["result"]["mode"]))
    };
    ensure!(mode()? == "0664", "still open: {}", mode()?);
    appliance.json(&["undo", &fixed["audit"].to_string(), "--why", "test"])?;
    ensure!(mode()? == "0666", "not taken back: {}", mode()?);
    Ok(())
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
