//! `system.temperature`

use super::shared::{SYS, Zone, chips, zones};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Show how hot the machine is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// How hot it is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Heat {
    /// The sensors; none where the machine has none, as most virtual ones.
    sensors: Vec<Zone>,
    /// The highest of them in degrees Celsius.
    highest: Option<f32>,
    /// Sensors that are hotter than they should be.
    too_hot: Vec<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 54,
    name: "system.temperature",
    summary: "Show the temperatures of processor, board and disks, and whether one is too hot",
    effect: Effect::Read,
    touches: &["the kernel's sensors"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("how hot is the machine?", "{}"),
        ("show the temperature sensors", "{}"),
        ("is the cpu overheating?", "{}"),
        ("sensors", "{}"),
        ("how warm are the disks and the board?", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/sys"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, _args: Args) -> Result<Heat, CallError> {
    let mut sensors = zones(Path::new(SYS));
    sensors.extend(chips(Path::new(SYS)));
    let hot =
        |zone: &&Zone| zone.high.or(zone.critical).is_some_and(|limit| limit > 0.0 && zone.celsius >= limit);
    let too_hot = sensors.iter().filter(hot).map(|zone| zone.sensor.clone()).collect();
    let highest = sensors.iter().map(|zone| zone.celsius).reduce(f32::max);
    Ok(Heat { sensors, highest, too_hot })
}

fn summary(heat: &Heat) -> String {
    let hottest = heat.sensors.iter().max_by(|a, b| a.celsius.total_cmp(&b.celsius));
    match (hottest, heat.too_hot.as_slice()) {
        (None, _) => "this machine has no sensor of heat".into(),
        (Some(zone), []) => format!(
            "the hottest of {} sensors is {} with {:.0} °C",
            heat.sensors.len(),
            zone.sensor,
            zone.celsius
        ),
        (Some(_), hot) => format!("too hot: {}", hot.iter().take(10).cloned().collect::<Vec<_>>().join(", ")),
    }
}
