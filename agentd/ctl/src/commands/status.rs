//! How the machine is, on one page.

use super::{Machine, services};
use crate::api::decode;
use crate::error::Outcome;
use crate::output::{Output, Tone, bytes, clean_line, span};
use aios_abi::agent::AgentStatus;
use aios_abi::infer::{EngineHealth, EngineState, InferStatus};
use aios_abi::service::{MachineStatus, ServiceStatus};
use serde::Deserialize;

/// The console's overview.
#[derive(Debug, Deserialize)]
struct Overview {
    machine: MachineStatus,
    cpu: Cpu,
    memory: Memory,
    disks: Vec<Disk>,
    services: Vec<ServiceStatus>,
    refused: Vec<String>,
    inference: Result<InferStatus, String>,
    agent: Result<AgentStatus, String>,
}

#[derive(Debug, Deserialize)]
struct Cpu {
    percent: f64,
    load1: f64,
    cores: u32,
}

#[derive(Debug, Deserialize)]
struct Memory {
    total: u64,
    available: u64,
}

#[derive(Debug, Deserialize)]
struct Disk {
    mount: String,
    total: u64,
    available: u64,
    read_only: bool,
}

pub(super) async fn run(machine: &Machine, output: &Output) -> Outcome {
    let json = machine.api.get(&["overview"]).await?;
    if output.is_json() {
        return output.json(&json);
    }
    let overview: Overview = decode(&json)?;
    for (name, words) in lines(&overview) {
        output.line(format!("{}  {words}", output.tone(Tone::Strong, format!("{name:8}"))))?;
    }
    output.text("\n")?;
    services::table(&overview.services, output)?;
    services::refused(&overview.refused, output)
}

/// What is said above the table of services.
fn lines(overview: &Overview) -> Vec<(&'static str, String)> {
    let Overview { machine, cpu, memory, disks, inference, agent, .. } = overview;
    let mut lines = vec![
        (
            "machine",
            clean_line(&format!("{}, aiOS {}, Linux {}", machine.hostname, machine.version, machine.kernel)),
        ),
        ("up", span(machine.uptime_ms)),
        ("cpu", format!("{:.0} % of {} cores, load {:.2}", cpu.percent, cpu.cores, cpu.load1)),
        ("memory", format!("{} of {} available", bytes(memory.available), bytes(memory.total))),
    ];
    if machine.data == "memory" {
        lines.push(("data", "in memory only: nothing survives a reboot".into()));
    }
    lines.extend(disks.iter().map(|disk| {
        let size = match disk.read_only {
            true => format!("{}, read-only", bytes(disk.total)),
            false => format!("{} of {} available", bytes(disk.available), bytes(disk.total)),
        };
        ("disk", clean_line(&format!("{}  {size}", disk.mount)))
    }));
    match inference {
        Ok(status) => lines.extend([("text", engine(&status.text)), ("embed", engine(&status.embed))]),
        Err(sentence) => lines.push(("models", clean_line(sentence))),
    }
    match agent {
        Ok(status) => lines.push(("agent", format!("knows {} tools", status.tools))),
        Err(sentence) => lines.push(("agent", clean_line(sentence))),
    }
    lines
}

fn engine(engine: &EngineHealth) -> String {
    let word = match engine.state {
        EngineState::Absent => "absent",
        EngineState::Loading => "loading",
        EngineState::Ready => "ready",
        EngineState::Failed => "failed",
    };
    clean_line(&format!("{word}: {}", engine.detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_machine_without_models_is_told_in_the_daemons_own_words() {
        let overview = json!({
            "time_ms": 1,
            "machine": {"hostname": "box", "version": "0.1.0", "kernel": "6.12", "boot_id": "b", "uptime_ms": 61000,
                "init_started_ms": 1, "console_ready_ms": null, "data": "memory", "init_resumed": 0},
            "cpu": {"percent": 3.4, "load1": 0.1, "cores": 2},
            "memory": {"total": 1073741824u64, "available": 536870912},
            "disks": [{"mount": "/", "total": 1048576, "available": 0, "read_only": true}],
            "services": [], "refused": [],
            "inference": {"Err": "inferd does not answer"},
            "agent": {"Ok": {"inference": {"Err": "x"}, "tools": 21}}
        });
        let said: Vec<String> = lines(&decode(&overview).expect("understood"))
            .into_iter()
            .map(|(name, words)| format!("{name}: {words}"))
            .collect();
        let expected = [
            "machine: box, aiOS 0.1.0, Linux 6.12",
            "up: 1 min 1 s",
            "cpu: 3 % of 2 cores, load 0.10",
            "memory: 512 MiB of 1.0 GiB available",
            "data: in memory only: nothing survives a reboot",
            "disk: /  1.0 MiB, read-only",
            "models: inferd does not answer",
            "agent: knows 21 tools",
        ];
        assert_eq!(said, expected);
    }
}
