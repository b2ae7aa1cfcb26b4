//! `service.security`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use aios_unit::{Loaded, Users, exposure};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where PID 1 takes service files from; of two with one name the second counts.
const DIRECTORIES: [&str; 2] = ["/etc/aios/services", "/data/config/services"];

/// Score the exposure of services.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service, such as `netd`; without it, all are scored.
    name: Option<String>,
}

/// The scores.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Scores {
    /// The most exposed first.
    services: Vec<Score>,
    /// Of one service: what was looked at, what weighs most first. Empty for several.
    checks: Vec<Check>,
}

/// One service.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Score {
    /// Name of the service.
    name: String,
    /// From 0.0 (it can do nothing to the machine) to 10.0 (anything).
    exposure: f64,
    /// The same as `systemd-analyze security` words it: `PERFECT`, `SAFE`, `OK`, `MEDIUM`, `EXPOSED`, `UNSAFE` or `DANGEROUS`.
    word: String,
}

/// One thing that a service can do or not.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Check {
    /// Whether it can.
    open: bool,
    /// What.
    what: String,
    /// The key of the service file that decides it.
    key: String,
    /// What it adds to the exposure.
    adds: f64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 23,
    name: "service.security",
    summary: "Score how much a service could do to the machine if it were taken over",
    effect: Effect::Read,
    touches: &["service files"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("how exposed is the service netd?", r#"{"name":"netd"}"#),
        ("score the security of the toold service", r#"{"name":"toold"}"#),
        ("is the sandbox of inferd tight?", r#"{"name":"inferd"}"#),
        ("what could agentd do if it were hacked?", r#"{"name":"agentd"}"#),
        ("how well are the services sandboxed?", "{}"),
        ("show the exposure score of all services", "{}"),
    ],
    needs: Needs::NOTHING
        .read(&["/etc/aios", "/etc/passwd", "/etc/group", "/data/config/services"])
        .capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, args: Args) -> Result<Scores, CallError> {
    let loaded = aios_unit::load(&DIRECTORIES.map(Path::new), &Users::read(Path::new("/")));
    score(&loaded, args.name.as_deref())
}

fn score(loaded: &Loaded, name: Option<&str>) -> Result<Scores, CallError> {
    let units = loaded.units.iter().filter(|unit| name.is_none_or(|name| unit.name == name));
    let mut found: Vec<_> = units.map(|unit| (&unit.name, exposure(unit))).collect();
    if let (Some(name), true) = (name, found.is_empty()) {
        let known: Vec<&str> = loaded.units.iter().map(|unit| unit.name.as_str()).collect();
        let known = known.join(", ");
        return Err(CallError::not_found(format!(
            "no service file is in force for \"{name}\"; there are: {known}"
        )));
    }
    found.sort_by_key(|(_, exposure)| std::cmp::Reverse(exposure.tenths));
    let checks = match found.as_slice() {
        [(_, one)] => one.findings.iter().map(Check::from).collect(),
        _ => Vec::new(),
    };
    let services = found.into_iter().map(|(name, exposure)| Score {
        name: name.clone(),
        exposure: f64::from(exposure.tenths) / 10.0,
        word: exposure.word().into(),
    });
    Ok(Scores { services: services.collect(), checks })
}

impl From<&aios_unit::Finding> for Check {
    fn from(finding: &aios_unit::Finding) -> Self {
        Self {
            open: finding.open,
            what: finding.what.into(),
            key: finding.key.into(),
            // Hundredths tell the small ones apart.
            adds: f64::from(finding.adds) / 100.0,
        }
    }
}

fn summary(found: &Scores) -> String {
    let said: Vec<String> = found
        .services
        .iter()
        .map(|service| format!("{} {:.1} {}", service.name, service.exposure, service.word))
        .collect();
    format!("exposure from 0.0 to 10.0: {}", said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_is_scored_with_its_checks_and_all_without() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/board/rootfs");
        let loaded = aios_unit::load(&[&root.join("etc/aios/services")], &Users::read(&root));
        let all = score(&loaded, None).expect("scores");
        assert!(all.services.len() >= 5 && all.checks.is_empty());
        assert!(all.services.is_sorted_by(|a, b| a.exposure >= b.exposure), "{all:?}");
        let one = score(&loaded, Some("agentd")).expect("is there");
        assert!(one.services.len() == 1 && one.checks.iter().any(|check| check.open));
        let open: f64 = one.checks.iter().map(|check| check.adds).sum();
        assert!((open - one.services[0].exposure).abs() < 0.5, "{open} {one:?}");
        assert!(summary(&one).starts_with("exposure from 0.0 to 10.0: agentd "), "{}", summary(&one));
        let error = score(&loaded, Some("agend")).expect_err("is not there");
        assert!(error.to_string().contains("agentd"), "{error}");
    }
}
