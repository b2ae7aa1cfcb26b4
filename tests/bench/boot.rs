//! Boot and memory of the appliance against busybox's init and httpd: the same kernel, kind of
//! machine and devices, one after the other in turns.

use crate::busybox;
use crate::report::{Bar, Row, median};
use aios_qemu::{Accel, Kind, Machine, MachineConfig};
use aios_tests::Appliance;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const ROUNDS: usize = 5;
const LIMIT: Duration = Duration::from_secs(240);
const PEER: &str = "busybox init + httpd";

/// What one boot showed: milliseconds and KiB.
struct Boot {
    kernel_to_init: f64,
    init_to_console: f64,
    /// Total less available, of `/proc/meminfo`.
    memory: f64,
    /// Resident memory by the process's name.
    processes: BTreeMap<String, f64>,
}

impl Boot {
    fn resident(&self) -> f64 {
        self.processes.values().sum()
    }
}

/// Boots of both machines.
pub(crate) struct Boots {
    ours: Vec<Boot>,
    peers: Vec<Boot>,
    accel: Accel,
    /// The engines run beside QEMU, so that no model is in the machine's memory.
    outside: bool,
}

/// Boot both machines in turns.
pub(crate) fn measure(root: &Path) -> Result<Boots> {
    let folder = tempfile::tempdir()?;
    let image = root.join("target/image");
    let peer_image = busybox::image(&image, &aios_tests::program("aios-stamp"), folder.path())?;
    let mut boots = Boots { ours: Vec::new(), peers: Vec::new(), accel: Accel::Tcg, outside: true };
    for round in 1..=ROUNDS {
        println!("bench: boot {round} of {ROUNDS}");
        let appliance = Appliance::boot(&[], |config| config.image.clone_from(&image))?;
        boots.accel = appliance.machine.probe().accel;
        boots.outside = appliance.machine.engine_pid(Kind::Text).is_some();
        boots.ours.push(ours(&appliance)?);
        drop(appliance);
        let mut config = MachineConfig::new(root, folder.path().join(format!("peer-{round}")));
        config.image.clone_from(&peer_image);
        boots.peers.push(peer(&mut Machine::start(config)?)?);
    }
    Ok(boots)
}

fn ours(appliance: &Appliance) -> Result<Boot> {
    appliance.claim()?;
    // Memory counts when everything that starts has started.
    appliance.wait_for_model()?;
    let status = appliance.json(&["status"])?;
    let number = |pointer: &str| {
        let value = status.pointer(pointer).and_then(serde_json::Value::as_f64);
        value.with_context(|| format!("`aiosctl status` does not tell {pointer}"))
    };
    let init = number("/machine/init_started_ms")?;
    let console = number("/machine/console_ready_ms")?;
    let memory = number("/memory/total")? - number("/memory/available")?;
    let list = appliance.json(&["tools", "call", "process.list", "limit=500"])?;
    let list = list.pointer("/result/processes").and_then(serde_json::Value::as_array);
    let mut processes = BTreeMap::new();
    for process in list.context("process.list has no processes")? {
        let (name, bytes) = (process["name"].as_str(), process["memory_bytes"].as_f64());
        let name = name.context("a process without a name")?.to_owned();
        *processes.entry(name).or_default() += bytes.context("a process without its memory")? / 1024.0;
    }
    Ok(Boot { kernel_to_init: init, init_to_console: console - init, memory: memory / 1024.0, processes })
}

fn peer(machine: &mut Machine) -> Result<Boot> {
    let (mut from, mut said, mut processes) = (0, BTreeMap::new(), BTreeMap::new());
    loop {
        let words = machine.serial().wait_for(&mut from, LIMIT, |line| {
            let (_, words) = line.split_once("peer: ")?;
            Some(words.split(' ').map(str::to_owned).collect::<Vec<_>>())
        })?;
        let number = |word: &String| word.parse::<f64>().with_context(|| format!("{word} is no number"));
        match words.as_slice() {
            [done] if done == "done" => break,
            [kind, name, kib] if kind == "process" => {
                *processes.entry(name.clone()).or_default() += number(kib)?;
            }
            [what, value] => {
                said.insert(what.clone(), number(value)?);
            }
            _ => anyhow::bail!("the busybox machine said what is not understood: {}", words.join(" ")),
        }
    }
    machine.kill()?;
    let get = |what: &str| said.get(what).copied().with_context(|| format!("the peer did not tell {what}"));
    let init = get("init")?;
    Ok(Boot {
        kernel_to_init: init,
        init_to_console: get("ready")? - init,
        memory: get("memory")?,
        processes,
    })
}

impl Boots {
    /// `boot.kernel_to_init` and `boot.init_to_console`.
    pub(crate) fn times(&self) -> Result<Vec<Row>> {
        let accel = match self.accel {
            Accel::Kvm => "KVM",
            Accel::Tcg => "emulated",
        };
        let row = |id, what: &str, pick: fn(&Boot) -> f64| {
            self.row(id, &format!("{what}, {accel}"), "ms", pick, Bar::None)
        };
        Ok(vec![
            row("boot.kernel_to_init", "kernel start → PID 1", |b| b.kernel_to_init)?,
            row("boot.init_to_console", "PID 1 → page served", |b| b.init_to_console)?,
        ])
    }

    /// `mem.total` and `mem.processes`.
    pub(crate) fn memory(&self) -> Result<Vec<Row>> {
        let (engines, bar) = match self.outside {
            true => ("no model", Bar::Within(64.0)),
            false => ("with both models", Bar::None),
        };
        let total = format!("in use after boot, {engines}");
        let resident = format!("resident, all processes, {engines}");
        Ok(vec![
            self.row("mem.total", &total, "MiB", |b| b.memory / 1024.0, bar)?,
            self.row("mem.processes", &resident, "MiB", |b| b.resident() / 1024.0, Bar::None)?,
        ])
    }

    fn row(
        &self,
        id: &'static str,
        what: &str,
        unit: &'static str,
        pick: fn(&Boot) -> f64,
        bar: Bar,
    ) -> Result<Row> {
        let middle = |boots: &[Boot]| median(boots.iter().map(pick).collect());
        Row::new(id, what, unit, middle(&self.ours), PEER, middle(&self.peers), bar)
    }

    /// Every process of both machines, largest first.
    pub(crate) fn processes(&self) -> String {
        format!(
            "Resident memory in MiB, shared pages counted in each process:\n  aiOS     {}\n  busybox  {}",
            listed(&self.ours),
            listed(&self.peers)
        )
    }
}

fn listed(boots: &[Boot]) -> String {
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, kib) in boots.iter().flat_map(|boot| &boot.processes) {
        all.entry(name).or_default().push(kib / 1024.0);
    }
    let mut all: Vec<(&str, f64)> = all.into_iter().map(|(name, mib)| (name, median(mib))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let words = all.iter().map(|(name, mib)| format!("{} {mib:.1}", name.trim_start_matches("aios-")));
    words.collect::<Vec<_>>().join(", ")
}
