//! `system.pressure`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::memory::shared::{Pressure, pressure, pressure_in};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where init puts the services' cgroups.
const SERVICES: &str = "/sys/fs/cgroup/aios";
/// Services in one answer.
const MAX: u32 = 200;
/// Cgroups that are looked at.
const MAX_SEEN: usize = 2_000;

/// Show how much of the time work waits for processor, memory and disks: of the machine and of each service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only this service.
    #[serde(default)]
    service: Option<String>,
    /// At most this many services, those that wait most first.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 200))]
    limit: u32,
}

fn default_limit() -> u32 {
    20
}

/// How much of the time work waits.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pressures {
    /// The machine as a whole.
    machine: Waits,
    /// The services, those that wait most first.
    services: Vec<Service>,
    /// There are more services than are listed.
    truncated: bool,
}

/// Waiting for each of the three; none where the kernel does not measure it.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Waits {
    /// For the processor.
    cpu: Option<Pressure>,
    /// For memory.
    memory: Option<Pressure>,
    /// For disks.
    io: Option<Pressure>,
}

impl Waits {
    fn of(cgroup: &Path) -> Self {
        let of = |what: &str| pressure_in(cgroup.join(format!("{what}.pressure")));
        Self { cpu: of("cpu"), memory: of("memory"), io: of("io") }
    }

    fn named(&self) -> [(&'static str, f32); 3] {
        let some = |pressure: &Option<Pressure>| pressure.map_or(0.0, |pressure| pressure.some_10s);
        [("the processor", some(&self.cpu)), ("memory", some(&self.memory)), ("disks", some(&self.io))]
    }

    /// The most of the three.
    fn most(&self) -> f32 {
        self.named().into_iter().map(|(_, percent)| percent).fold(0.0, f32::max)
    }
}

/// One service.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Service {
    /// Its name.
    name: String,
    /// How much of the time its work waits.
    waits: Waits,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 53,
    name: "system.pressure",
    summary: "Show how much work is held up, of the machine and of each service (PSI)",
    effect: Effect::Read,
    touches: &["the kernel's counters"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("is the machine under pressure?", "{}"),
        ("which service has to wait for the disk?", "{}"),
        ("show the pressure stall information", "{}"),
        ("is inferd held up?", r#"{"service":"inferd"}"#),
        ("what is being held up by a lack of cpu?", r#"{"limit":5}"#),
        ("psi", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/proc", "/sys/fs/cgroup"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, args: Args) -> Result<Pressures, CallError> {
    if args.limit == 0 || args.limit > MAX {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX} services")));
    }
    let machine = Waits { cpu: pressure("cpu"), memory: pressure("memory"), io: pressure("io") };
    let entries = std::fs::read_dir(SERVICES).into_iter().flatten().flatten().take(MAX_SEEN);
    let mut services: Vec<Service> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| args.service.as_ref().is_none_or(|wanted| wanted == name))
        .map(|(name, path)| Service { name, waits: Waits::of(&path) })
        .collect();
    if let (Some(wanted), true) = (&args.service, services.is_empty()) {
        return Err(CallError::not_found(format!("no service {wanted} runs in a cgroup")));
    }
    services.sort_by(|a, b| b.waits.most().total_cmp(&a.waits.most()).then_with(|| a.name.cmp(&b.name)));
    let truncated = services.len() > args.limit as usize;
    services.truncate(args.limit as usize);
    Ok(Pressures { machine, services, truncated })
}

fn summary(found: &Pressures) -> String {
    let words: Vec<_> =
        found.machine.named().into_iter().map(|(what, percent)| format!("{percent} % for {what}")).collect();
    let worst = found.services.first().filter(|service| service.waits.most() >= 1.0);
    let worst = worst.map(|service| format!("; {} waits most, {} %", service.name, service.waits.most()));
    format!("in the last 10 s work waited {}{}", words.join(", "), worst.unwrap_or_default())
}
