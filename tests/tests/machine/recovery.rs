//! Recovery mode, as somebody meets it who stands before the machine.

use aios_qemu::{Machine, MachineConfig, disk};
use aios_tests::{BOOT, PATIENCE, program, root};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// What must be gone after a factory reset, from the raw disk as well.
const SECRET: &[u8] = b"the-owners-secret-8f1c2d3e4b5a69788796a5b4c3d2e1f0";

fn recovery(arguments: &[&str]) -> Result<String> {
    let output = Command::new(program("aiosctl")).arg("recovery").args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The person before the machine.
struct Person {
    machine: Machine,
    mark: usize,
    name: String,
    challenge: String,
}

impl Person {
    /// Read what the machine shows when its recovery console starts.
    fn before(machine: Machine, mark: usize) -> Result<Self> {
        let mut person = Self { machine, mark, name: String::new(), challenge: String::new() };
        person.reads_greeting()?;
        Ok(person)
    }

    fn reads_greeting(&mut self) -> Result<()> {
        let after = |line: &str, words: &str| line.split_once(words).map(|(_, rest)| rest.to_owned());
        let serial = self.machine.serial();
        self.name = serial.wait_for(&mut self.mark, BOOT, |line| after(line, "recovery mode on "))?;
        self.challenge = serial.wait_for(&mut self.mark, PATIENCE, |line| after(line, "challenge: "))?;
        Ok(())
    }

    fn sees(&mut self, wanted: &str) -> Result<String> {
        let seen = |line: &str| line.contains(wanted).then(|| line.to_owned());
        let line = self.machine.serial().wait_for(&mut self.mark, PATIENCE, seen);
        let line = line.with_context(|| format!("awaited: {wanted}"))?;
        println!("{line}");
        Ok(line)
    }

    fn types(&mut self, line: &str, wanted: &str) -> Result<String> {
        self.machine.type_line(line)?;
        self.sees(wanted)
    }

    fn unlocks(&mut self, key: &str) -> Result<String> {
        let line = recovery(&["sign", "--key", key, &self.challenge])?;
        self.types(line.trim(), "Unlocked until the machine restarts")?;
        Ok(line)
    }
}

#[test]
fn only_the_owner_erases_the_machine_and_only_from_its_own_terminal() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (owners, others) = (file("owner.key"), file("other.key"));
    let said = recovery(&["new", &owners])?;
    recovery(&["new", &others])?;
    let public =
        said.lines().find(|line| line.starts_with("aios-recovery-pub ")).context("no public half")?;

    let mut config = MachineConfig::new(&root(), folder.path());
    config.image = root().join("target/test-image");
    config.cmdline = "aios.rescue".to_owned();
    config.reboots = true;
    let image = config.data.clone();
    disk::format(&image)?;
    disk::put(
        &image,
        &[
            ("config/recovery.pub", format!("{public}\n").as_bytes()),
            // What the owner has stored may be what is broken: it does not count here.
            (
                "config/services/rescue.toml",
                b"description = \"broken\"\nexec = [\"/bin/false\"]\nuser = \"root\"\n",
            ),
            ("secret/of/the/owner", SECRET),
        ],
    )?;
    ensure!(holds(&image, SECRET)?, "the test looks in the wrong place");

    let mut person = Person::before(Machine::start(config)?, 0)?;
    person.types("status", "/data is in its place on the disk")?;
    person.types("services", "toold        stopped")?;
    person.types("disks", "SERIAL=aios-data")?;
    person.types("factory-reset", "Only the owner may do that")?;
    let forged = recovery(&["sign", "--key", &others, &person.challenge])?;
    person.types(forged.trim(), "That is not the owner's signature")?;
    let old = person.unlocks(&owners)?;
    person.types("start netd", "netd is running")?;

    person.types("check-data", "check-data is done before /data is used again")?;
    person.sees("/data is to be checked, as its owner ordered: it is sound")?;
    person.reads_greeting()?;
    person.types(old.trim(), "That is not the owner's signature")?;
    let signed = person.unlocks(&owners)?;
    person.types("factory-reset", "Type its name")?;
    person.types("yes", "Nothing is erased")?;
    person.types("factory-reset", "Type its name")?;
    let name = person.name.clone();
    person.types(&name, "factory-reset is done before /data is used again")?;
    person.sees("/data is as new: everything was erased")?;
    let challenge = person.challenge.clone();
    // The owner's key is gone as well: now the one of the image's builder counts.
    person.reads_greeting()?;
    let theirs = recovery(&["sign", "--key", &owners, &person.challenge])?;
    person.types(theirs.trim(), "That is not the owner's signature")?;
    person.machine.power_off(PATIENCE)?;

    let records = String::from_utf8(disk::get(&image, "init/factory-resets.jsonl")?)?;
    let record: serde_json::Value = serde_json::from_str(records.trim())?;
    ensure!(record["challenge"] == *challenge && record["hostname"] == *name, "not what happened: {record}");
    ensure!(
        signed.contains(record["signature"].as_str().context("no signature")?),
        "not the signature: {record}"
    );
    ensure!(disk::get(&image, "secret/of/the/owner").is_err(), "the file is still there");
    ensure!(!holds(&image, SECRET)?, "the raw disk still holds the secret");
    Ok(())
}

/// Whether these bytes are anywhere on a disk.
fn holds(image: &Path, bytes: &[u8]) -> Result<bool> {
    let all = std::fs::read(image)?;
    let first = bytes.first().context("nothing to look for")?;
    Ok(all.iter().enumerate().filter(|(_, byte)| *byte == first).any(|(at, _)| all[at..].starts_with(bytes)))
}
