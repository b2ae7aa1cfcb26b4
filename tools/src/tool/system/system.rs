//! What the tools of the machine as a whole share: its sensors of heat.

use schemars::JsonSchema;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where the kernel shows devices.
pub(crate) const SYS: &str = "/sys";
/// Entries of a directory that are looked at.
const MAX: usize = 256;

/// One sensor of heat.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Zone {
    /// What it measures, such as `x86_pkg_temp` or `k10temp Tctl`.
    pub(crate) sensor: String,
    /// Degrees Celsius.
    pub(crate) celsius: f32,
    /// Degrees Celsius above which it is too hot; none where nobody says.
    pub(crate) high: Option<f32>,
    /// Degrees Celsius at which the machine switches itself off or breaks; none where nobody says.
    pub(crate) critical: Option<f32>,
}

/// What the thermal zones say (Documentation/driver-api/thermal/sysfs-api.rst: millidegrees).
pub(crate) fn zones(sys: &Path) -> Vec<Zone> {
    let mut found: Vec<_> = entries(&sys.join("class/thermal"), "thermal_zone")
        .into_iter()
        .filter_map(|zone| {
            let point = |kind: &str| {
                let number = (0..16)
                    .find(|n| text(&zone, &format!("trip_point_{n}_type")).as_deref() == Some(kind))?;
                degrees(&zone, &format!("trip_point_{number}_temp"))
            };
            let (sensor, celsius) = (text(&zone, "type")?, degrees(&zone, "temp")?);
            Some(Zone { sensor, celsius, high: point("hot"), critical: point("critical") })
        })
        .collect();
    found.sort_by(|a, b| a.sensor.cmp(&b.sensor));
    found
}

/// What the chips for monitoring say (Documentation/hwmon/sysfs-interface.rst: millidegrees).
pub(crate) fn chips(sys: &Path) -> Vec<Zone> {
    let mut found = Vec::new();
    for chip in entries(&sys.join("class/hwmon"), "hwmon") {
        let Some(name) = text(&chip, "name") else { continue };
        for number in 1..=64 {
            let of = |what: &str| format!("temp{number}_{what}");
            let Some(celsius) = degrees(&chip, &of("input")) else { continue };
            let label = text(&chip, &of("label")).unwrap_or_else(|| number.to_string());
            let (high, critical) = (degrees(&chip, &of("max")), degrees(&chip, &of("crit")));
            found.push(Zone { sensor: format!("{name} {label}"), celsius, high, critical });
        }
    }
    found
}

fn entries(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MAX);
    let mut paths: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(begin))
        .map(|e| e.path())
        .collect();
    paths.sort();
    paths
}

fn text(folder: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(name)).ok()?;
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(100).collect();
    (!text.is_empty()).then_some(text)
}

fn degrees(folder: &Path, name: &str) -> Option<f32> {
    let value: i32 = text(folder, name)?.parse().ok()?;
    Some(value as f32 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_are_read_as_the_kernel_shows_them_and_broken_ones_are_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let put = |path: &str, text: &str| {
            let path = dir.path().join("class").join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        put("thermal/thermal_zone0/type", "x86_pkg_temp\n");
        put("thermal/thermal_zone0/temp", "48500\n");
        put("thermal/thermal_zone0/trip_point_1_type", "critical\n");
        put("thermal/thermal_zone0/trip_point_1_temp", "100000\n");
        put("thermal/thermal_zone1/type", "broken\n");
        put("thermal/cooling_device0/type", "Fan\n");
        put("hwmon/hwmon3/name", "k10temp\n");
        put("hwmon/hwmon3/temp1_input", "-5000\n");
        put("hwmon/hwmon3/temp1_label", "Tctl\n");
        put("hwmon/hwmon3/temp2_input", "what?\n");
        let zone =
            |sensor: &str, celsius, high, critical| Zone { sensor: sensor.into(), celsius, high, critical };
        assert_eq!(zones(dir.path()), [zone("x86_pkg_temp", 48.5, None, Some(100.0))]);
        assert_eq!(chips(dir.path()), [zone("k10temp Tctl", -5.0, None, None)]);
        assert!(zones(&dir.path().join("none")).is_empty());
    }
}
