//! All service files together: which one of two with the same name counts, and whether what they
//! require of each other can be had.

use super::{Resources, Start, Unit, Users, instances, parse, parse_instance};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The services of the machine.
#[derive(Debug, Default)]
pub struct Loaded {
    /// By name.
    pub units: Vec<Unit>,
    /// Files that were refused: one sentence each.
    pub refused: Vec<String>,
    /// Services that a person has disabled: the boot does not start them.
    pub disabled: Vec<String>,
    /// Services for which a person has set limits, with those of their own files.
    pub own_limits: Vec<(String, Resources)>,
}

/// The file of a directory that names disabled services, one a line.
pub const DISABLED: &str = "disabled";
/// Without these nobody could enable anything again.
pub const INDISPENSABLE: &[&str] = &["console", "log", "toold", "workshop"];

/// A valid file and where it came from.
#[derive(Debug, Clone)]
struct Candidate {
    file: PathBuf,
    unit: Unit,
}

/// Read all `*.toml` of these directories. Of two files with the same name that of the later directory
/// counts; if it is refused, the earlier one stays in force. A directory that does not exist is empty.
pub fn load(directories: &[&Path], users: &Users) -> Loaded {
    let mut candidates: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    let mut refused = Vec::new();
    for directory in directories {
        for file in files_of(directory) {
            for unit in read(&file, users) {
                match unit {
                    Ok(unit) => {
                        let candidate = Candidate { file: file.clone(), unit };
                        // Mostly there is one. A vector would make room for four, and PID 1 would keep that.
                        let list = candidates.entry(candidate.unit.name.clone());
                        list.or_insert_with(|| Vec::with_capacity(1)).push(candidate);
                    }
                    Err(sentence) => refused.push(sentence),
                }
            }
        }
    }
    let mut units = settle(candidates, &mut refused);
    let disabled = disabled(directories, &units, &mut refused);
    for unit in units.iter_mut().filter(|unit| disabled.contains(&unit.name)) {
        unit.start = Start::Manual;
    }
    let own_limits = super::limits::apply(directories, &mut units, &mut refused);
    Loaded { units, refused, disabled, own_limits }
}

/// The names in the lists of disabled services. A line that cannot be followed is refused alone.
fn disabled(directories: &[&Path], units: &[Unit], refused: &mut Vec<String>) -> Vec<String> {
    let mut disabled = Vec::new();
    for file in directories.iter().map(|directory| directory.join(DISABLED)).filter(|file| file.exists()) {
        let text = text_of(&file).unwrap_or_else(|why| {
            refused.push(format!("{}: {why}; correct or remove the file", file.display()));
            String::new()
        });
        let lines = text.lines().map(str::trim).enumerate();
        for (number, name) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let why = match units.iter().any(|unit| unit.name == name) {
                _ if INDISPENSABLE.contains(&name) => {
                    "cannot be disabled: without it nobody could enable it again"
                }
                true => {
                    disabled.push(name.to_owned());
                    continue;
                }
                false => "is no service",
            };
            let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
            refused.push(format!("{}:{}: \"{name}\" {why}; remove this line", file.display(), number + 1));
        }
    }
    disabled
}

/// The service of a file, or those of a template.
pub(super) fn read(file: &Path, users: &Users) -> Vec<Result<Unit, String>> {
    let text = match text_of(file) {
        Ok(text) => text,
        Err(why) => return vec![Err(format!("{}: {why}; correct or remove the file", file.display()))],
    };
    if !file.file_stem().is_some_and(|name| name.to_string_lossy().ends_with('@')) {
        return vec![parse(file, &text, users)];
    }
    match instances(file, &text) {
        Ok(names) => names.iter().map(|name| parse_instance(file, &text, name, users)).collect(),
        Err(sentence) => vec![Err(sentence)],
    }
}

/// The text of a regular file of sensible size: nothing in the directory may hold up PID 1 or fill its memory.
pub(super) fn text_of(file: &Path) -> Result<String, String> {
    const MAX: u64 = 256 << 10;
    let metadata = std::fs::metadata(file).map_err(|e| format!("cannot be read: {e}"))?;
    if !metadata.is_file() || metadata.len() > MAX {
        return Err(format!("is not a file of at most {} KiB", MAX >> 10));
    }
    std::fs::read_to_string(file).map_err(|e| format!("cannot be read: {e}"))
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

/// Take the last candidate of each name; drop those that cannot work until all that are left can.
fn settle(mut candidates: BTreeMap<String, Vec<Candidate>>, refused: &mut Vec<String>) -> Vec<Unit> {
    while let Some((name, why)) = first_problem(&candidates) {
        let Some(list) = candidates.get_mut(&name) else { break };
        if let Some(bad) = list.pop() {
            refused.push(format!("{}: {why}", bad.file.display()));
        }
        if list.is_empty() {
            candidates.remove(&name);
        }
    }
    candidates.into_values().filter_map(|mut list| list.pop()).map(|c| c.unit).collect()
}

fn first_problem(candidates: &BTreeMap<String, Vec<Candidate>>) -> Option<(String, String)> {
    let chosen: BTreeMap<&str, &Unit> =
        candidates.iter().filter_map(|(name, list)| Some((name.as_str(), &list.last()?.unit))).collect();
    for (name, unit) in &chosen {
        if let Some(missing) = missing(unit, &chosen) {
            let why =
                format!("requires = \"{missing}\": there is no such service; add it or remove the name");
            return Some(((*name).to_owned(), why));
        }
    }
    let circle = circle(&chosen)?;
    let shown = circle.join(" → ");
    // A file that replaces another one is the likelier mistake.
    let blamed = circle
        .iter()
        .max_by_key(|name| candidates.get(**name).map_or(0, Vec::len))
        .map(|name| (*name).to_owned())?;
    Some((blamed, format!("after and requires form a circle: {shown}; remove one of them")))
}

/// A service that this one requires and that is not there.
pub(super) fn missing<'a>(unit: &'a Unit, chosen: &BTreeMap<&str, &Unit>) -> Option<&'a str> {
    unit.requires.iter().map(String::as_str).find(|other| !chosen.contains_key(other))
}

/// Names that wait for each other, the first one repeated at the end.
pub(super) fn circle<'a>(chosen: &BTreeMap<&'a str, &'a Unit>) -> Option<Vec<&'a str>> {
    // Depth first with a stack of our own: a chain of thousands of services must not overflow PID 1's.
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in chosen.keys() {
        let mut path: Vec<(&'a str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = path.last_mut() {
            let unit = chosen.get(name).filter(|_| !done.contains(name));
            let Some(other) = unit.and_then(|unit| needed(unit).nth(*next)) else {
                done.insert(name);
                path.pop();
                continue;
            };
            *next += 1;
            if let Some(at) = path.iter().position(|(n, _)| *n == other) {
                let mut circle: Vec<&str> = path.iter().skip(at).map(|(n, _)| *n).collect();
                circle.push(other);
                return Some(circle);
            }
            path.push((other, 0));
        }
    }
    None
}

fn needed(unit: &Unit) -> impl Iterator<Item = &str> {
    unit.after.iter().chain(&unit.requires).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directories(tempfile::TempDir);

    impl Directories {
        fn new(files: &[(&str, &str)]) -> Self {
            let this = Self(tempfile::tempdir().expect("a directory"));
            for (name, more) in files {
                let path = this.0.path().join(name);
                std::fs::create_dir_all(path.parent().expect("has one")).expect("made");
                let text = format!("description = \"{name}\"\nexec = [\"/x\"]\nuser = \"root\"\n{more}\n");
                std::fs::write(path, text).expect("written");
            }
            this
        }

        fn load(&self) -> Loaded {
            let (etc, data) = (self.0.path().join("etc"), self.0.path().join("data"));
            load(&[&etc, &data], &Users::parse("root:x:0:0::/:", ""))
        }
    }

    fn names(loaded: &Loaded) -> Vec<&str> {
        loaded.units.iter().map(|u| u.name.as_str()).collect()
    }

    #[test]
    fn a_broken_file_stops_nothing_else_and_the_one_that_it_replaces_stays_in_force() {
        let files =
            [("etc/a.toml", ""), ("etc/b.toml", ""), ("data/a.toml", "nonsense = 1"), ("data/b.toml", "")];
        let loaded = Directories::new(&files).load();
        assert_eq!(names(&loaded), ["a", "b"]);
        assert_eq!(loaded.refused.len(), 1);
        assert!(
            loaded.refused[0].contains("data/a.toml:4: unknown field `nonsense`"),
            "{:?}",
            loaded.refused
        );
        assert_eq!(loaded.units[0].description, "etc/a.toml");
        assert_eq!(loaded.units[1].description, "data/b.toml");
    }

    #[test]
    fn a_circle_or_a_missing_requirement_is_refused_and_the_rest_is_kept() {
        let files = [
            ("etc/a.toml", ""),
            ("etc/b.toml", "after = [\"a\"]"),
            ("data/a.toml", "after = [\"b\"]"),
            ("etc/c.toml", "requires = [\"d\"]"),
            ("etc/d.toml", "requires = [\"gone\"]"),
            ("etc/e.toml", "after = [\"gone\"]"),
        ];
        let loaded = Directories::new(&files).load();
        assert_eq!(names(&loaded), ["a", "b", "e"], "{:?}", loaded.refused);
        assert_eq!(loaded.units[0].description, "etc/a.toml");
        let all = loaded.refused.join("\n");
        assert!(all.contains("data/a.toml: after and requires form a circle: a → b → a"), "{all}");
        assert!(
            all.contains("d.toml: requires = \"gone\"") && all.contains("c.toml: requires = \"d\""),
            "{all}"
        );
    }

    #[test]
    fn disabled_services_are_there_and_not_started_at_boot() {
        let directories = Directories::new(&[("etc/a.toml", ""), ("etc/b.toml", ""), ("etc/toold.toml", "")]);
        let list = directories.0.path().join("etc/disabled");
        std::fs::write(list, "# nothing\n\nb\ntoold\ngone\n").expect("written");
        let loaded = directories.load();
        let starts: Vec<Start> = loaded.units.iter().map(|u| u.start).collect();
        assert_eq!(starts, [Start::Boot, Start::Manual, Start::Boot]);
        assert_eq!(loaded.disabled, ["b"]);
        assert!(
            loaded.refused[0].contains("disabled:4: \"toold\" cannot be disabled"),
            "{:?}",
            loaded.refused
        );
        assert!(loaded.refused[1].contains("disabled:5: \"gone\" is no service"), "{:?}", loaded.refused);
    }

    #[test]
    fn a_template_becomes_its_instances() {
        let files = [
            ("etc/w@.toml", "instances = [\"a\", \"b\"]\nstate_directory = \"/data/{instance}\""),
            ("etc/x@.toml", "instances = [\"A\"]"),
        ];
        let loaded = Directories::new(&files).load();
        assert_eq!(names(&loaded), ["w@a", "w@b"]);
        assert_eq!(loaded.units[1].state_directory.as_deref(), Some(Path::new("/data/b")));
        assert!(
            loaded.refused[0].contains("x@.toml:4: \"A\" is no name for an instance"),
            "{:?}",
            loaded.refused
        );
    }

    #[test]
    fn a_chain_of_thousands_is_no_circle_and_no_stack_is_used_up() {
        let directory = Directories::new(&[]);
        let etc = directory.0.path().join("etc");
        std::fs::create_dir_all(&etc).expect("made");
        for n in 0..5000 {
            let after = if n == 0 { String::new() } else { format!("after = [\"s{}\"]", n - 1) };
            let text = format!("description = \"d\"\nexec = [\"/x\"]\nuser = \"root\"\n{after}\n");
            std::fs::write(etc.join(format!("s{n}.toml")), text).expect("written");
        }
        let loaded = directory.load();
        assert_eq!((loaded.units.len(), loaded.refused.len()), (5000, 0));
    }

    #[test]
    fn the_service_files_of_the_image_are_valid() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/board/rootfs");
        let loaded = load(&[&root.join("etc/aios/services")], &Users::read(&root));
        assert_eq!(loaded.refused, Vec::<String>::new());
        for name in ["agentd", "console", "inferd", "netd", "strategic", "toold", "workshop"] {
            assert!(names(&loaded).contains(&name), "{name}");
        }
    }
}
