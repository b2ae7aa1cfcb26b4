//! Faults that a service can inject: whatever it does, the machine lives on and says who it was.
//!
//! Several share a booted machine. Each prints one line about what happened.

mod many;
mod pid1;
mod power;
mod processes;
mod resources;

use aios_qemu::MachineConfig;
use aios_tests::{Appliance, PATIENCE};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

/// The services without which the machine cannot be managed, and the one that talks to the network.
const CONTROL: [&str; 6] = ["toold", "workshop", "inferd", "agentd", "netd", "console"];

/// A file with which a fault is a service that waits to be started.
pub(crate) fn service(name: &str, user: &str, exec: &[&str], more: &str) -> (String, Vec<u8>) {
    let words = exec.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "description = \"the fault {name}\"\nexec = [\"/usr/bin/aios-hostile\", {words}]\nuser = \"{user}\"\n\
         start = \"manual\"\n{more}"
    );
    (format!("config/services/{name}.toml"), text.into_bytes())
}

/// A machine with these services on its data disk, claimed.
pub(crate) fn machine(
    services: &[(String, Vec<u8>)],
    change: impl FnOnce(&mut MachineConfig),
) -> Result<Appliance> {
    let files: Vec<(&str, &[u8])> =
        services.iter().map(|(path, text)| (path.as_str(), text.as_slice())).collect();
    let appliance = Appliance::boot(&files, change)?;
    appliance.claim().with_context(|| last_words(&appliance))?;
    Ok(appliance)
}

/// Start a service; what it does is awaited elsewhere.
pub(crate) fn start(appliance: &Appliance, name: &str) -> Result<()> {
    let argument = format!("name={name}");
    appliance.follow(&["tools", "call", "service.restart", &argument, "--why", "fault"])?;
    Ok(())
}

/// Wait for a line in the log of a unit. A stream that ends is asked for again: its server may have died.
pub(crate) fn said(appliance: &Appliance, unit: &str, wanted: &str) -> Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        // PID 1 does the searching: of a flood a follower does not get every line.
        let mut log = appliance.follow(&["logs", "--unit", unit, "--grep", wanted, "-n", "1", "--follow"])?;
        let line = log.wait_for(|line| line.contains(wanted));
        log.end();
        match line {
            Ok(line) => return Ok(line.trim().to_owned()),
            Err(error) if Instant::now() > until => {
                let status = appliance.service(unit).map_or_else(|e| e.to_string(), |s| s.to_string());
                return Err(error).with_context(|| {
                    format!("{unit} did not say {wanted:?}; it is {status}; {}", last_words(appliance))
                });
            }
            Err(_) => {}
        }
    }
}

/// The end of what the machine said on its serial line.
fn last_words(appliance: &Appliance) -> String {
    let text = appliance.machine.serial().text();
    let lines: Vec<&str> = text.lines().collect();
    format!("the machine's last lines:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
}

/// Kill the main process of a service, with which all that it made ends.
pub(crate) fn end(appliance: &Appliance, name: &str) -> Result<()> {
    let pid = appliance.service(name)?["pid"].as_u64().with_context(|| format!("{name} does not run"))?;
    let pid = format!("pid={pid}");
    appliance.json(&["tools", "call", "process.kill", &pid, "signal=kill", "--why", "fault"])?;
    wait_until(appliance, name, |status| status["processes"].as_u64().unwrap_or(0) == 0)?;
    Ok(())
}

/// Wait until a service is as it should be.
pub(crate) fn wait_until(
    appliance: &Appliance,
    name: &str,
    mut wanted: impl FnMut(&Value) -> bool,
) -> Result<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = appliance.service(name)?;
        if wanted(&status) {
            return Ok(status);
        }
        if Instant::now() > until {
            bail!("{name} did not become what was awaited: {status}");
        }
    }
}

/// The processes of the control services.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pids(BTreeMap<String, u64>);

impl Pids {
    /// All of them run.
    pub(crate) fn now(appliance: &Appliance) -> Result<Self> {
        let list = appliance.json(&["services", "list"])?;
        let services = list["services"].as_array().context("no list of services")?;
        let mut pids = BTreeMap::new();
        for name in CONTROL {
            let status = services.iter().find(|s| s["name"] == name).context("a service is missing")?;
            ensure!(status["state"] == "running", "{name} does not run: {status}");
            pids.insert(name.to_owned(), status["pid"].as_u64().context("no process")?);
        }
        Ok(Self(pids))
    }

    /// The same without this one.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// They are the same as before: none was harmed.
    pub(crate) fn same(&self, appliance: &Appliance, fault: &str) -> Result<()> {
        let now = Self::now(appliance).with_context(|| format!("after {fault}"))?;
        ensure!(*self == now, "{fault}: control services were harmed: before {self:?}, after {now:?}");
        Ok(())
    }
}
