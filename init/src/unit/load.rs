//! All service files together: which one of two with the same name counts, and whether what they
//! require of each other can be had.

use super::{Unit, Users, parse};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The services of the machine.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// By name.
    pub(crate) units: Vec<Unit>,
    /// Files that were refused: one sentence each.
    pub(crate) refused: Vec<String>,
}

/// A valid file and where it came from.
#[derive(Debug, Clone)]
struct Candidate {
    file: PathBuf,
    unit: Unit,
}

/// Read all `*.toml` of these directories. Of two files with the same name that of the later directory
/// counts; if it is refused, the earlier one stays in force. A directory that does not exist is empty.
pub(crate) fn load(directories: &[&Path], users: &Users) -> Loaded {
    let mut candidates: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    let mut refused = Vec::new();
    for directory in directories {
        for file in files_of(directory) {
            let text = std::fs::read_to_string(&file)
                .map_err(|e| format!("{}: cannot be read: {e}; correct or remove the file", file.display()));
            match text.and_then(|text| parse(&file, &text, users)) {
                Ok(unit) => candidates.entry(unit.name.clone()).or_default().push(Candidate { file, unit }),
                Err(sentence) => refused.push(sentence),
            }
        }
    }
    let units = settle(candidates, &mut refused);
    Loaded { units, refused }
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
        if let Some(missing) = unit.requires.iter().find(|other| !chosen.contains_key(other.as_str())) {
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

/// Names that wait for each other, the first one repeated at the end.
fn circle<'a>(chosen: &BTreeMap<&'a str, &'a Unit>) -> Option<Vec<&'a str>> {
    fn visit<'a>(
        name: &'a str,
        chosen: &BTreeMap<&'a str, &'a Unit>,
        path: &mut Vec<&'a str>,
        done: &mut Vec<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(at) = path.iter().position(|n| *n == name) {
            let mut circle = path.get(at..).unwrap_or_default().to_vec();
            circle.push(name);
            return Some(circle);
        }
        let unit = chosen.get(name).filter(|_| !done.contains(&name))?;
        path.push(name);
        let found =
            unit.after.iter().chain(&unit.requires).find_map(|other| visit(other, chosen, path, done));
        path.pop();
        done.push(name);
        found
    }
    let mut done = Vec::new();
    chosen.keys().find_map(|name| visit(name, chosen, &mut Vec::new(), &mut done))
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
    fn the_service_files_of_the_image_are_valid() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/board/rootfs");
        let loaded = load(&[&root.join("etc/aios/services")], &Users::read(&root));
        assert_eq!(loaded.refused, Vec::<String>::new());
        for name in ["agentd", "console", "inferd", "netd", "toold"] {
            assert!(names(&loaded).contains(&name), "{name}");
        }
    }
}
