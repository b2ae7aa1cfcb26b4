//! How the machine is, on one page.

use super::{Machine, services};
use crate::api::decode;
use crate::error::Outcome;
use crate::output::{Output, Tone, bytes, clean_line, span};
use aios_abi::agent::AgentStatus;
use aios_abi::infer::{Account, EngineHealth, EngineState, InferStatus, TierStatus};
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
    for Line { name, words, tone } in lines(&overview) {
        let words = match tone {
            Some(tone) => output.tone(tone, words),
            None => words.into(),
        };
        output.line(format!("{}  {words}", output.tone(Tone::Strong, format!("{name:11}"))))?;
    }
    output.text("\n")?;
    services::table(&overview.services, output)?;
    services::refused(&overview.refused, output)
}

/// A line above the table of services.
#[derive(Debug)]
struct Line {
    /// What it is about; empty where it goes on about the line before.
    name: &'static str,
    words: String,
    tone: Option<Tone>,
}

impl Line {
    /// Words of the machine are foreign.
    fn new(name: &'static str, words: &str) -> Self {
        Self { name, words: clean_line(words), tone: None }
    }

    fn faint(self) -> Self {
        Self { tone: Some(Tone::Faint), ..self }
    }
}

/// What is said above the table of services.
fn lines(overview: &Overview) -> Vec<Line> {
    let Overview { machine, cpu, memory, disks, inference, agent, .. } = overview;
    let mut lines = vec![
        Line::new(
            "machine",
            &format!("{}, aiOS {}, Linux {}", machine.hostname, machine.version, machine.kernel),
        ),
        Line::new("up", &span(machine.uptime_ms)),
        Line::new("cpu", &format!("{:.0} % of {} cores, load {:.2}", cpu.percent, cpu.cores, cpu.load1)),
        Line::new("memory", &format!("{} of {} available", bytes(memory.available), bytes(memory.total))),
    ];
    if machine.data == "memory" {
        lines.push(Line::new("data", "in memory only: nothing survives a reboot"));
    }
    lines.extend(disks.iter().map(|disk| {
        let size = match disk.read_only {
            true => format!("{}, read-only", bytes(disk.total)),
            false => format!("{} of {} available", bytes(disk.available), bytes(disk.total)),
        };
        Line::new("disk", &format!("{}  {size}", disk.mount))
    }));
    match inference {
        Ok(status) => {
            lines.extend(status.tiers.iter().flat_map(tier));
            lines.push(engine("embed", &status.embed, &Account::default()));
        }
        Err(sentence) => lines.push(Line::new("models", sentence)),
    }
    match agent {
        Ok(status) => lines.push(Line::new("agent", &format!("knows {} tools", status.tools))),
        Err(sentence) => lines.push(Line::new("agent", sentence)),
    }
    lines
}

/// How a tier is and, if it did something, what.
fn tier(status: &TierStatus) -> Vec<Line> {
    let TierStatus { tier, engine: health, done } = status;
    let mut lines = vec![engine(tier.name(), health, done)];
    if done.requests + done.failed > 0 {
        lines.push(Line::new("", &did(done)).faint());
    }
    lines
}

fn engine(name: &'static str, health: &EngineHealth, done: &Account) -> Line {
    let was_there = health.restarts > 0 || done.requests > 0;
    let (word, is_quiet) = match health.state {
        EngineState::Absent if was_there => ("away", false),
        EngineState::Absent => ("not set up", true),
        EngineState::Loading => ("loading", false),
        EngineState::Ready => ("ready", false),
        EngineState::Failed => ("failed", false),
    };
    let line = Line::new(name, &format!("{word}: {}", health.detail));
    if is_quiet { line.faint() } else { line }
}

/// What a tier did since inferd was started.
fn did(done: &Account) -> String {
    let Account {
        requests, failed, prompt_tokens, reused_tokens, generated_tokens, p95_ms, price_micro, ..
    } = *done;
    let mut words = match requests {
        1 => "1 request".into(),
        requests => format!("{requests} requests"),
    };
    if failed > 0 {
        words += &format!(" and {failed} that failed");
    }
    if prompt_tokens > 0 {
        words += &format!(", {prompt_tokens} tokens read");
        if let Some(percent) = (reused_tokens * 100).checked_div(prompt_tokens).filter(|percent| *percent > 0)
        {
            words += &format!(" ({percent} % known)");
        }
        words += &format!(", {generated_tokens} written");
    }
    if p95_ms > 0 {
        words += &format!(", 95 % within {p95_ms} ms");
    }
    if let Some(each) = price_micro.checked_div(requests).filter(|_| price_micro > 0) {
        words += &format!(", {} spent, {} each", price(price_micro), price(each));
    }
    words
}

/// Millionths of a currency.
fn price(micro: u64) -> String {
    let text = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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
            .map(|line| format!("{}: {}", line.name, line.words))
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

    #[test]
    fn each_tier_has_its_line_and_says_what_it_did() {
        let engine = |state: &str, detail: &str| json!({ "state": state, "detail": detail, "model": null, "place": "machine", "restarts": 0 });
        let nothing = serde_json::to_value(Account::default()).expect("JSON");
        let mut worked = nothing.clone();
        for (name, count) in [
            ("requests", 4),
            ("failed", 1),
            ("prompt_tokens", 1000),
            ("reused_tokens", 610),
            ("generated_tokens", 80),
            ("p95_ms", 850),
            ("price_micro", 50_000),
        ] {
            worked[name] = count.into();
        }
        let tiers = [
            json!({ "tier": "operational", "engine": engine("ready", "small runs"), "done": worked }),
            json!({ "tier": "tactical", "engine": engine("absent", "no model"), "done": nothing }),
            json!({ "tier": "strategic", "engine": engine("absent", "the worker is gone"), "done": worked }),
        ];
        let lines: Vec<Line> =
            tiers.into_iter().flat_map(|status| tier(&decode(&status).expect("understood"))).collect();
        let said: Vec<(&str, &str)> = lines.iter().map(|line| (line.name, line.words.as_str())).collect();
        let did = "4 requests and 1 that failed, 1000 tokens read (61 % known), 80 written, 95 % within 850 ms, \
                   0.05 spent, 0.0125 each";
        assert_eq!(
            said,
            [
                ("operational", "ready: small runs"),
                ("", did),
                ("tactical", "not set up: no model"),
                ("strategic", "away: the worker is gone"),
                ("", did),
            ]
        );
        assert!(matches!(lines[2].tone, Some(Tone::Faint)) && lines[0].tone.is_none());
        // Who asks in vain sets nothing up.
        let asked = Account { failed: 1, ..Account::default() };
        let health = decode(&engine("absent", "no model")).expect("understood");
        assert_eq!(super::engine("tactical", &health, &asked).words, "not set up: no model");
        assert_eq!(super::did(&asked), "0 requests and 1 that failed");
    }
}
