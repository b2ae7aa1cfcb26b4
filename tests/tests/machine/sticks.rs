//! Sticks are plugged in and pulled out.

use crate::text;
use aios_tests::{Appliance, PATIENCE, root, said};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;

fn run(command: &mut Command) -> Result<()> {
    // Programs that make file systems are for administrators.
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command.env("PATH", format!("{path}:/usr/sbin:/sbin")).output()?;
    ensure!(output.status.success(), "{command:?}: {}", said(&output));
    Ok(())
}

/// An empty file system of this size.
fn made(folder: &Path, name: &str, program: &str, size: u64) -> Result<PathBuf> {
    let image = folder.join(name);
    File::create(&image)?.set_len(size)?;
    run(Command::new(program).arg(&image))?;
    Ok(image)
}

/// A stick as it is sold: one partition, formatted with FAT; with these files in its root.
pub(crate) fn sold(folder: &Path, files: &[(&str, &Path)]) -> Result<PathBuf> {
    let partition = made(folder, "partition", "mkfs.vfat", 160 * MIB)?;
    for (name, from) in files {
        run(Command::new("mcopy").arg("-i").arg(&partition).arg(from).arg(format!("::{name}")))?;
    }
    let image = folder.join("sold");
    let stick = File::create(&image)?;
    let first = 2048_u32;
    let content = std::fs::read(&partition)?;
    let blocks = u32::try_from(content.len() / 512)?;
    // The table of a master boot record: not active, type FAT32 (0x0c), where it begins, how long it is.
    stick.write_all_at(&[0x0c], 446 + 4)?;
    stick.write_all_at(&first.to_le_bytes(), 446 + 8)?;
    stick.write_all_at(&blocks.to_le_bytes(), 446 + 12)?;
    stick.write_all_at(&[0x55, 0xaa], 510)?;
    stick.write_all_at(&content, u64::from(first) * 512)?;
    Ok(image)
}

fn call(appliance: &Appliance, tool: &str, args: &Value) -> Result<Value> {
    appliance.json(&["tools", "call", tool, "--args", &args.to_string(), "--why", "test"])
}

/// The call is refused; why.
fn refused(appliance: &Appliance, tool: &str, args: &Value) -> Result<String> {
    let output = appliance.ctl(&["tools", "call", tool, "--args", &args.to_string(), "--why", "test"])?;
    ensure!(!output.status.success(), "{tool} {args} is not refused: {}", said(&output));
    println!("{tool}: {}", said(&output));
    Ok(said(&output))
}

/// Waits until the log of the service says this.
fn logged(appliance: &Appliance, words: &str) -> Result<()> {
    let args = json!({ "unit": "usb", "contains": words, "limit": 1 });
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let found = call(appliance, "log.search", &args)?;
        if found.to_string().contains(words) {
            println!("{}", text(&found["summary"]));
            return Ok(());
        }
        ensure!(std::time::Instant::now() < until, "usb never says {words:?}: {found}");
    }
}

#[test]
fn a_model_comes_by_stick_and_a_stick_leads_nowhere() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let model = root().join("target/models/text.gguf");
    let sold = sold(folder.path(), &[("Tiny Model.gguf", &model)])?;
    let exfat = made(folder.path(), "exfat", "mkfs.exfat", 8 * MIB)?;
    let ext4 = made(folder.path(), "ext4", "mkfs.ext4", 8 * MIB)?;

    let appliance = Appliance::boot(&[], |config| config.usb = true)?;
    appliance.claim()?;
    let stick = |path: &str| json!({ "path": path });
    ensure!(refused(&appliance, "fs.list", &stick("/run/usb"))?.contains("/run/usb"), "there is none yet");

    let mut person = appliance.machine.qmp()?;
    person.plug_in("sold", &sold)?;
    logged(&appliance, "can be read at /run/usb")?;
    let listed = call(&appliance, "fs.list", &stick("/run/usb"))?;
    ensure!(listed.to_string().contains("Tiny Model.gguf"), "not what is on it: {listed}");
    let written = json!({ "path": "/run/usb/new.txt", "content": "x" });
    ensure!(refused(&appliance, "fs.write", &written)?.contains("read-only"), "it does not say why");
    let imported = call(&appliance, "model.import", &stick("/run/usb/Tiny Model.gguf"))?;
    println!("{}", text(&imported["summary"]));
    let name = text(&imported["result"]["name"]);
    let verified = call(&appliance, "model.verify", &json!({ "name": name }))?;
    ensure!(verified["result"]["good"] == true, "not as it was on the stick: {verified}");

    // A second one beside it, and one that is not for reading.
    person.plug_in("exfat", &exfat)?;
    logged(&appliance, "can be read at /run/usb2")?;
    person.plug_in("ext4", &ext4)?;
    logged(&appliance, "(/dev/sdc) is formatted neither with FAT nor exFAT")?;
    ensure!(refused(&appliance, "fs.list", &stick("/run/usb3"))?.contains("/run/usb3"), "it was mounted");

    // Whoever mounts is ended: its successor finds the sticks.
    call(&appliance, "service.restart", &json!({ "name": "usb" }))?;
    let listed = call(&appliance, "fs.list", &stick("/run/usb"))?;
    ensure!(listed.to_string().contains("Tiny Model.gguf"), "it is not mounted again: {listed}");
    person.pull_out("sold")?;
    logged(&appliance, "is gone")?;
    ensure!(refused(&appliance, "fs.list", &stick("/run/usb"))?.contains("/run/usb"), "it is still there");
    call(&appliance, "fs.list", &stick("/run/usb2")).context("the other one stays")?;
    Ok(())
}
