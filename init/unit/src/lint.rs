//! What an author is told about service files before a machine gets them: everything that the machine
//! would refuse, and what is legal but unwise.

use super::load::{circle, missing, read, text_of};
use super::{Arguments, Command, Kind, Place, Readiness, Unit, Users, load};
use rustix::thread::CapabilitySet;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// How much a remark matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The machine refuses the file.
    Error,
    /// The machine takes the file; its author should think again.
    Warning,
    /// What could not be found out here.
    Note,
}

/// One line about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How much it matters.
    pub weight: Weight,
    /// `file:line: what; cure`
    pub sentence: String,
}

/// A file and what there is to say about it.
#[derive(Debug)]
pub struct Linted {
    /// The file as it was named.
    pub file: PathBuf,
    /// Its remarks, what matters most first.
    pub remarks: Vec<Remark>,
}

impl Linted {
    /// Whether a machine takes it.
    pub fn is_valid(&self) -> bool {
        self.remarks.iter().all(|remark| remark.weight != Weight::Error)
    }

    fn say(&mut self, weight: Weight, line: usize, what: &str) {
        let word = match weight {
            Weight::Error => "",
            Weight::Warning => "warning: ",
            Weight::Note => "note: ",
        };
        let sentence = format!("{}:{line}: {word}{what}", self.file.display());
        // The instances of a template have the same to say.
        if self.remarks.iter().all(|remark| remark.sentence != sentence) {
            self.remarks.push(Remark { weight, sentence });
        }
    }
}

/// The power-off waits no longer for all services together.
const POWER_OFF: Duration = Duration::from_secs(30);

/// Check these files together. `root` is the root of the image that they are for: its users and its
/// services are known then; without it, users and what is not among the files remain open.
pub fn lint(files: &[PathBuf], root: Option<&Path>) -> Vec<Linted> {
    let users = root.map_or_else(Users::anyone, Users::read);
    let mut linted = Vec::new();
    // A service and the file that it comes from; those of the image have none.
    let mut units: BTreeMap<String, (Unit, Option<usize>)> = BTreeMap::new();
    if let Some(root) = root {
        let loaded = load(&[&root.join("etc/aios/services")], &users);
        units.extend(loaded.units.into_iter().map(|unit| (unit.name.clone(), (unit, None))));
    }
    for (index, file) in files.iter().enumerate() {
        let mut this = Linted { file: file.clone(), remarks: Vec::new() };
        for unit in read(file, &users) {
            match unit {
                Ok(unit) => drop(units.insert(unit.name.clone(), (unit, Some(index)))),
                Err(sentence) => this.remarks.push(Remark { weight: Weight::Error, sentence }),
            }
        }
        linted.push(this);
    }
    let texts: Vec<Lines> = files.iter().map(|file| Lines(text_of(file).unwrap_or_default())).collect();
    let chosen: BTreeMap<&str, &Unit> = units.iter().map(|(name, (unit, _))| (name.as_str(), unit)).collect();
    for (unit, index) in units.values() {
        let Some(index) = *index else { continue };
        let (this, lines) = (&mut linted[index], &texts[index]);
        advise(unit, lines, |(section, key), what| {
            this.say(Weight::Warning, lines.of(section, key), what);
        });
        if root.is_none() && unit.user.uid != 0 {
            let what = format!(
                "whether there is a user \"{}\" was not looked up; name the image's root with --root",
                unit.user.name
            );
            this.say(Weight::Note, lines.of("", "user"), &what);
        }
        if let Some(name) = missing(unit, &chosen) {
            let line = lines.of("", "requires");
            match root {
                Some(_) => this.say(Weight::Error, line, &format!("requires = \"{name}\": there is no such service; add it or remove the name")),
                None => this.say(Weight::Note, line, &format!("requires = \"{name}\" is not among these files; give its file too, or the image's root with --root")),
            }
        }
        if unit.kind == Kind::Daemon && unit.ready == Readiness::Started {
            let waits = |other: &&Unit| other.requires.contains(&unit.name);
            if let Some(other) = chosen.values().copied().find(waits) {
                let what = format!(
                    "\"{}\" requires it, but it counts as ready before it is; write ready = \"notify\" and send READY=1",
                    other.name
                );
                this.say(Weight::Warning, lines.of("", "ready"), &what);
            }
        }
    }
    if let Some(circle) = circle(&chosen) {
        let what = format!("after and requires form a circle: {}; remove one of them", circle.join(" → "));
        for index in circle.iter().filter_map(|name| units[*name].1) {
            linted[index].say(Weight::Error, texts[index].of("", "requires"), &what);
        }
    }
    for this in &mut linted {
        this.remarks.sort_by_key(|remark| remark.weight);
    }
    linted
}

/// What is legal but unwise: where, and what to do about it.
fn advise(unit: &Unit, lines: &Lines, mut say: impl FnMut((&str, &str), &str)) {
    if unit.kind == Kind::Milestone {
        return;
    }
    let (resources, sandbox) = (&unit.resources, &unit.sandbox);
    if resources.memory_max.is_none() && resources.memory_high.is_none() {
        say(
            ("resources", ""),
            "nothing limits its memory, so a leak takes that of all others; add memory_max to [resources]",
        );
    }
    if resources.pids_max.is_none() {
        say(("resources", ""), "nothing limits its processes and threads; add pids_max to [resources]");
    }
    let above = |lower: Option<u64>, upper: Option<u64>| lower.zip(upper).is_some_and(|(l, u)| l > u);
    if above(resources.memory_high, resources.memory_max) {
        say(
            ("resources", "memory_high"),
            "memory_high is above memory_max and never comes into effect; lower it",
        );
    }
    if above(resources.memory_min, resources.memory_max) {
        say(
            ("resources", "memory_min"),
            "memory_min is above memory_max: memory is kept for it that it may not use; lower it",
        );
    }
    if unit.user.uid == 0 && sandbox.capabilities.is_empty() {
        say(
            ("", "user"),
            "it is root without a capability, which can do no more than another user, save to read and write root's files; give it a user of its own",
        );
    }
    if sandbox.privileged {
        say(
            ("sandbox", "privileged"),
            "nothing is taken from it: taken over, it has the machine; grant what it needs instead",
        );
    } else if sandbox.capabilities.contains(CapabilitySet::SYS_ADMIN) {
        say(
            ("sandbox", "capabilities"),
            "CAP_SYS_ADMIN is nearly all of root's power; look for a smaller one in capabilities(7)",
        );
    }
    let network = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE;
    let held = unit.sockets.iter().any(|socket| matches!(socket.place, Place::Tcp(_) | Place::Udp(_)));
    let thought_of =
        ["network", "families", "privileged"].iter().any(|key| lines.place("sandbox", key).is_some());
    if sandbox.network && !thought_of && !held && !sandbox.capabilities.intersects(network) {
        say(
            ("sandbox", "network"),
            "it sees the network without a tcp or udp socket; write network = false, or network = true if it makes connections",
        );
    }
    for (key, paths) in [("read", &sandbox.read), ("write", &sandbox.write)] {
        if !sandbox.privileged && paths.iter().any(|path| path == Path::new("/")) {
            say(("sandbox", key), "\"/\" gives it every file that its user may open; name what it needs");
        }
    }
    if unit.stop_signal == 9 {
        say(
            ("", "stop_signal"),
            "SIGKILL leaves it no time to finish its work; use SIGTERM, after which it is killed anyhow",
        );
    }
    let trusted = |command: &&Command| !command.changes && command.arguments == Arguments::Any;
    if let Some(command) = unit.commands.iter().find(trusted) {
        let what = format!(
            "who may only look can run \"{}\" with any argument; be sure that none makes it change something, or remove changes = false",
            command.name
        );
        say(("commands", &command.name), &what);
    }
    if unit.stop_timeout > POWER_OFF {
        say(("", "stop_timeout"), "a power-off waits 30s at most, then kills it; let it end sooner");
    }
}

/// The text of a file, for the places of its keys.
struct Lines(String);

impl Lines {
    /// The line of this key; of its section, or the first, when it is not there.
    fn of(&self, section: &str, key: &str) -> usize {
        let at = self.place(section, key).or_else(|| self.place("", section)).unwrap_or(0);
        self.0.get(..at).unwrap_or_default().matches('\n').count() + 1
    }

    /// Where this key stands.
    fn place(&self, section: &str, key: &str) -> Option<usize> {
        let file = DeTable::parse(&self.0).ok()?;
        let table = match section {
            "" => file.get_ref(),
            section => match file.get_ref().get(section)?.get_ref() {
                DeValue::Table(table) => table,
                _ => return None,
            },
        };
        table.keys().find(|name| name.get_ref() == key).map(|name| name.span().start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAREFUL: &str = "description = \"d\"\nexec = [\"/x\"]\nuser = \"web\"\nready = \"notify\"\n";
    const LIMITS: &str = "[resources]\nmemory_max = \"1M\"\npids_max = 1\n[sandbox]\nnetwork = false\n";

    struct Author(tempfile::TempDir);

    impl Author {
        fn new(files: &[(&str, String)]) -> Self {
            let this = Self(tempfile::tempdir().expect("a directory"));
            for (name, text) in files {
                let path = this.0.path().join(name);
                std::fs::create_dir_all(path.parent().expect("has one")).expect("made");
                std::fs::write(path, text).expect("written");
            }
            this
        }

        /// What is said, without the directory.
        fn lint(&self, files: &[&str], root: Option<&str>) -> Vec<String> {
            let path = |name: &&str| self.0.path().join(name);
            let linted =
                lint(&files.iter().map(path).collect::<Vec<_>>(), root.as_ref().map(path).as_deref());
            let all = linted.iter().flat_map(|linted| &linted.remarks);
            let prefix = format!("{}/", self.0.path().display());
            all.map(|remark| remark.sentence.replace(&prefix, "")).collect()
        }
    }

    fn with(more: &str) -> String {
        format!("{CAREFUL}{more}\n{LIMITS}")
    }

    #[test]
    fn a_careful_file_has_nothing_to_be_told() {
        let passwd = ("root/etc/passwd", "web:x:5:5::/:\n".to_owned());
        let author = Author::new(&[("web.toml", with("")), passwd]);
        assert_eq!(author.lint(&["web.toml"], Some("root")), Vec::<String>::new());
        let said = author.lint(&["web.toml"], None);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("web.toml:3: note: whether there is a user \"web\""), "{said:?}");
    }

    #[test]
    fn what_is_unwise_is_said_with_its_line_and_a_cure() {
        let careless = "description = \"d\"\nexec = [\"/x\"]\nuser = \"root\"\nstop_signal = \"SIGKILL\"\nstop_timeout = \"2m\"\n[sandbox]\nread = [\"/\"]\n\
                        [commands.ask]\ndescription = \"d\"\nexec = [\"/x\"]\narguments = \"any\"\nchanges = false\n";
        let limits = with("")
            .replace("pids_max = 1", "pids_max = 1\nmemory_high = \"2M\"")
            .replace("network = false", "capabilities = [\"CAP_SYS_ADMIN\"]");
        let author = Author::new(&[("a.toml", careless.into()), ("b.toml", limits)]);
        let said = author.lint(&["a.toml", "b.toml"], None).join("\n");
        for expected in [
            "a.toml:1: warning: nothing limits its memory",
            "a.toml:1: warning: nothing limits its processes",
            "a.toml:3: warning: it is root without a capability",
            "a.toml:4: warning: SIGKILL leaves",
            "a.toml:5: warning: a power-off waits 30s",
            "a.toml:6: warning: it sees the network",
            "a.toml:7: warning: \"/\" gives it every file",
            "a.toml:8: warning: who may only look can run \"ask\" with any argument",
            "b.toml:9: warning: memory_high is above memory_max",
            "b.toml:11: warning: CAP_SYS_ADMIN",
        ] {
            assert!(said.contains(expected), "{expected}\n{said}");
        }
    }

    #[test]
    fn what_the_machine_would_refuse_is_an_error() {
        let author = Author::new(&[
            ("root/etc/passwd", "web:x:5:5::/:\n".into()),
            ("root/etc/aios/services/netd.toml", with("")),
            ("a.toml", with("after = [\"b\"]")),
            ("b.toml", with("requires = [\"a\"]")),
            ("c.toml", with("requires = [\"netd\"]")),
            ("d.toml", with("requires = [\"gone\"]")),
            ("e.toml", with("").replace("web", "nobody")),
            ("f@.toml", with("instances = [\"x\", \"y\"]\nrequires = [\"gone\"]")),
        ]);
        let files = ["a.toml", "b.toml", "c.toml", "d.toml", "e.toml", "f@.toml", "g.toml"];
        let said = author.lint(&files, Some("root"));
        let expected = [
            "a.toml:1: after and requires form a circle: a → b → a; remove one of them",
            "b.toml:5: after and requires form a circle: a → b → a; remove one of them",
            "d.toml:5: requires = \"gone\": there is no such service; add it or remove the name",
            "e.toml:3: there is no user \"nobody\" in /etc/passwd; known are: web",
            "f@.toml:6: requires = \"gone\": there is no such service; add it or remove the name",
        ];
        assert_eq!(said[..5], expected);
        assert!(said.len() == 6 && said[5].starts_with("g.toml: cannot be read"), "{said:?}");
        let said = author.lint(&["d.toml"], None);
        assert!(said.iter().all(|line| line.contains(": note: ")) && said.len() == 2, "{said:?}");
    }

    #[test]
    fn who_is_waited_for_should_say_when_it_is_ready() {
        let early = with("").replace("ready = \"notify\"\n", "");
        let author = Author::new(&[("a.toml", early), ("b.toml", with("requires = [\"a\"]"))]);
        let said = author.lint(&["a.toml", "b.toml"], None);
        assert!(said[0].contains("\"b\" requires it, but it counts as ready before it is"), "{said:?}");
    }
}
