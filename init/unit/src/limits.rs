//! Limits that a person has set for a service beside its file: `NAME.limits`, keys of `[resources]` without the heading.

use super::load::INDISPENSABLE;
use super::{Resources, Unit};
use std::path::{Path, PathBuf};

/// How the file of a service's limits ends.
pub const LIMITS: &str = "limits";
/// A service cannot do with less memory.
const LEAST_MEMORY: u64 = 1 << 20;
/// Without these services nobody could set other limits: so much memory, processes, percent of a processor and share of it are theirs.
const FLOOR: (u64, u32, u32, u32) = (64 << 20, 64, 25, 50);

/// What this service's limits are with those of this text. The error is one sentence.
pub fn limited(name: &str, own: &Resources, file: &Path, text: &str) -> Result<Resources, String> {
    let set = super::parse::limits(file, text)?;
    let place = file.display();
    let Resources { open_files: None, oom_score: 0, nice: 0, delegate: false, .. } = set else {
        return Err(format!(
            "{place}: open_files, oom_score, nice and delegate are no limits that change while a service runs; write them into its service file"
        ));
    };
    let both = Resources {
        memory_min: set.memory_min.or(own.memory_min),
        memory_high: set.memory_high.or(own.memory_high),
        memory_max: set.memory_max.or(own.memory_max),
        swap_max: set.swap_max.or(own.swap_max),
        pids_max: set.pids_max.or(own.pids_max),
        cpu_weight: set.cpu_weight.or(own.cpu_weight),
        cpu_max: set.cpu_max.or(own.cpu_max),
        io_weight: set.io_weight.or(own.io_weight),
        io_read_max: set.io_read_max.or(own.io_read_max),
        io_write_max: set.io_write_max.or(own.io_write_max),
        ..own.clone()
    };
    let least = both.memory_min.unwrap_or(0).max(LEAST_MEMORY);
    if both.memory_max.is_some_and(|most| most < least) {
        return Err(format!("{place}: memory_max is less than {least} bytes; raise it, or lower memory_min"));
    }
    if INDISPENSABLE.contains(&name) {
        let (memory, processes, percent, weight) = FLOOR;
        let below = |value: Option<u32>, floor| value.is_some_and(|value| value < floor);
        let too_little = both.memory_min < own.memory_min
            || [both.memory_max, both.memory_high].into_iter().flatten().any(|most| most < memory)
            || below(both.pids_max, processes)
            || below(both.cpu_max, percent)
            || below(both.cpu_weight, weight);
        if too_little {
            return Err(format!(
                "{place}: without {name} nobody could set other limits; it keeps its memory_min, and at least {} MiB, {processes} processes, {percent}% of a processor and the weight {weight}",
                memory >> 20
            ));
        }
    }
    Ok(both)
}

/// Give services the limits in the files of these directories. Of each the limits of its own file are returned, for those who
/// want to set others; a file that cannot be followed is refused alone.
pub(super) fn apply(
    directories: &[&Path],
    units: &mut [Unit],
    refused: &mut Vec<String>,
) -> Vec<(String, Resources)> {
    let mut own = Vec::new();
    for file in directories.iter().flat_map(|directory| files_of(directory)) {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(unit) = units.iter_mut().find(|unit| unit.name == name) else {
            refused.push(format!("{}: there is no such service; remove the file", file.display()));
            continue;
        };
        let text = super::load::text_of(&file).map_err(|why| format!("{}: {why}", file.display()));
        match text.and_then(|text| limited(&name, &unit.resources, &file, &text)) {
            Ok(resources) => own.push((name, std::mem::replace(&mut unit.resources, resources))),
            Err(sentence) => refused.push(sentence),
        }
    }
    own
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == LIMITS))
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use crate::{Users, load};

    #[test]
    fn limits_beside_the_file_count_and_those_that_would_end_the_machine_do_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
        for name in ["web", "toold"] {
            let text =
                "description = \"x\"\nexec = [\"/x\"]\nuser = \"root\"\n[resources]\nmemory_min = \"16M\"\n";
            write(&format!("{name}.toml"), text);
        }
        write("web.limits", "memory_max = \"100M\"\ncpu_max = \"50%\"\n");
        let resources = |name: &str| {
            let loaded = load(&[dir.path()], &Users::parse("root:x:0:0::/:/x", "root:x:0:"));
            let unit = loaded.units.into_iter().find(|unit| unit.name == name).expect("is there");
            (unit.resources, loaded.refused, loaded.own_limits)
        };
        let (web, refused, own) = resources("web");
        assert_eq!(refused, Vec::<String>::new());
        assert_eq!(
            (web.memory_max, web.memory_min, web.cpu_max),
            (Some(100 << 20), Some(16 << 20), Some(50))
        );
        assert_eq!((own[0].0.as_str(), own[0].1.memory_max), ("web", None));
        for (file, text, why) in [
            ("web.limits", "memory_max = \"8M\"", "raise it, or lower memory_min"),
            ("web.limits", "pids_max = 0", "web.limits:1: 0 is out of range"),
            ("web.limits", "\nnice = 5", "service file"),
            ("web.limits", "memory = 5", "unknown field"),
            ("toold.limits", "memory_max = \"32M\"", "nobody could set other limits"),
            ("toold.limits", "memory_min = \"1M\"", "nobody could set other limits"),
            ("toold.limits", "cpu_max = \"1%\"", "nobody could set other limits"),
            ("gone.limits", "pids_max = 5", "no such service"),
        ] {
            write(file, text);
            let (toold, refused, _) = resources("toold");
            assert!(refused.len() == 1 && refused[0].contains(why), "{text}: {refused:?}");
            assert_eq!((toold.memory_max, toold.memory_min), (None, Some(16 << 20)));
            std::fs::remove_file(dir.path().join(file)).expect("removed");
        }
        write("toold.limits", "memory_max = \"128M\"");
        assert_eq!(resources("toold").0.memory_max, Some(128 << 20));
    }
}
