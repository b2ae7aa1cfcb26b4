//! `firewall.counters`

use super::shared::now;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::firewall::{Count, FirewallNow};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// The longest time over which is measured, in milliseconds.
const MAX_WINDOW: u32 = 60_000;

/// Show what the firewall has counted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Milliseconds over which the present rate is measured; 0 for totals alone.
    #[serde(default)]
    #[schemars(range(max = 60_000))]
    window_ms: u32,
}

/// What was counted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Counters {
    /// Rules in the order in which they count, then bans, then what passes without a rule.
    counters: Vec<Counter>,
}

/// One counter.
#[derive(Debug, Serialize, JsonSchema)]
struct Counter {
    /// What is counted.
    what: String,
    /// Packets since the rule or ban was made or the machine started.
    packets: u64,
    /// Bytes of these packets.
    bytes: u64,
    /// Packets a second now, if that was measured.
    per_second: Option<f64>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 104,
    name: "firewall.counters",
    summary: "Show how many packets each firewall rule and ban has caught",
    effect: Effect::Read,
    touches: &["the kernel's firewall"],
    role: Role::Viewer,
    timeout_ms: 70_000,
    examples: &[
        ("how many packets did the firewall drop?", "{}"),
        ("show the firewall counters", "{}"),
        ("which firewall rule catches the most packets?", "{}"),
        ("is a banned address still trying, and how hard?", r#"{"window_ms":2000}"#),
        ("measure the packets a second of each firewall rule", r#"{"window_ms":1000}"#),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToLook]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Counters, CallError> {
    if args.window_ms > MAX_WINDOW {
        return Err(CallError::invalid(format!("`window_ms` must be 0 to {MAX_WINDOW}")));
    }
    let before: HashMap<String, Count> = match args.window_ms {
        0 => HashMap::new(),
        window => {
            let before = all(now(ctx)?).into_iter().collect();
            ctx.pause(Duration::from_millis(window.into()))?;
            before
        }
    };
    let counters = all(now(ctx)?).into_iter().map(|(what, Count { packets, bytes })| {
        let per_second = before.get(&what).map(|before| {
            let more = packets.saturating_sub(before.packets) as f64;
            (more * 10_000.0 / f64::from(args.window_ms)).round() / 10.0
        });
        Counter { what, packets, bytes, per_second }
    });
    Ok(Counters { counters: counters.collect() })
}

fn all(now: FirewallNow) -> Vec<(String, Count)> {
    let rules = now.rules.into_iter().map(|rule| (format!("rule {}: {}", rule.id, rule.rule), rule.count));
    let bans = now.bans.into_iter().map(|ban| (format!("ban {}", ban.of), ban.count));
    rules.chain(bans).chain(now.rest.into_iter().map(|(name, count)| (words(&name), count))).collect()
}

/// What the counters are for that no rule has.
fn words(name: &str) -> String {
    match name {
        "loopback" => "passed: from this machine to itself",
        "banned" => "thrown away: of all who are or were banned",
        "answers" => "passed: answers to what this machine began",
        "icmp" => "passed: ICMP",
        "dhcp" => "passed: answers of DHCP servers",
        "other" => "passed: what no rule is about",
        other => other,
    }
    .into()
}

fn summary(found: &Counters) -> String {
    let most = found.counters.iter().filter(|counter| !counter.what.starts_with("passed"));
    match most.max_by_key(|counter| counter.packets) {
        Some(counter) if counter.packets > 0 => {
            format!("most packets: {} ({})", counter.what, counter.packets)
        }
        _ => "no rule and no ban has caught a packet yet".into(),
    }
}
