//! What an extension says of itself, and what it may ask of the machine.

use aios_unit::{Kind, Place, SyscallGroup, Unit, Users};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Stands in the service files of an extension for the path of the image.
pub const IMAGE: &str = "{image}";
pub use aios_unit::IMAGES_USERS as USERS;
/// Services and users of one extension; more is a mistake.
const MOST: usize = 16;

/// What of root's power a service of an extension may ask for. Nothing that leads out of its image.
const CAPABILITIES: CapabilitySet = CapabilitySet::NET_BIND_SERVICE
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::IPC_LOCK);
/// What of the machine's files it may read besides its own.
const EVERYBODYS: [&str; 2] = ["/run/aios-netd", "/data/config/ssh"];
/// And the groups of system calls.
const CALLS: [SyscallGroup; 2] = [SyscallGroup::Ownership, SyscallGroup::Scheduling];

/// `extension.toml` as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name: up to 32 of a-z, 0-9 and -.
    pub name: String,
    /// Version, compared as the distribution compares versions.
    pub version: String,
    /// One line for people.
    pub description: String,
    /// The processor that its programs are for, as `uname -m` has it.
    pub architecture: String,
    /// The oldest version of aiOS that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_aios: Option<String>,
    /// Licence as an SPDX expression.
    #[serde(default = "no_assertion")]
    pub licence: String,
    /// It was made from an OCI bundle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub container: bool,
    /// Its users: names as in the `/etc/passwd` of its image, and their numbers.
    #[serde(default)]
    pub users: BTreeMap<String, u32>,
    /// Its services: the text of their service files, by name. [`IMAGE`] stands for the path of the image.
    #[serde(default)]
    pub services: BTreeMap<String, String>,
}

fn no_assertion() -> String {
    "NOASSERTION".into()
}

/// Up to 32 of a-z, 0-9 and -, with a letter first.
pub fn name_is_plain(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 32 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good)
}

/// Whether a service of an extension may ask for this capability (capabilities(7)).
pub fn may_have(capability: &str) -> bool {
    aios_unit::capability(capability).is_ok_and(|one| CAPABILITIES.contains(one))
}

impl Manifest {
    /// Read it. The error is one sentence without a line end.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = |why: &str| why.replace(char::is_control, " ");
        let manifest: Self = toml::from_str(text).map_err(|e| plain(e.message()))?;
        manifest.check().map_err(|why| plain(&why))?;
        Ok(manifest)
    }

    /// As it stands in the file.
    pub fn text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|e| e.to_string())
    }

    fn check(&self) -> Result<(), String> {
        let Self { name, version, description, architecture, least_aios, licence, users, services, .. } =
            self;
        if !name_is_plain(name) {
            return Err(format!("\"{name}\" is no name; use up to 32 of a-z, 0-9 and -"));
        }
        let is_version = |text: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
            (1..=64).contains(&text.len())
                && text.starts_with(|c: char| c.is_ascii_digit())
                && text.chars().all(good)
        };
        for version in [version].into_iter().chain(least_aios) {
            if !is_version(version) {
                return Err(format!(
                    "\"{version}\" is no version; write digits first, then letters and . + - ~ :"
                ));
            }
        }
        for (what, text, most) in
            [("description", description, 200), ("architecture", architecture, 16), ("licence", licence, 500)]
        {
            if text.is_empty() || text.len() > most || text.contains(char::is_control) {
                return Err(format!("{what} is not one line of at most {most} bytes"));
            }
        }
        if users.len() > MOST || services.len() > MOST {
            return Err(format!("more than {MOST} users or services"));
        }
        let numbers: BTreeSet<u32> = users.values().copied().collect();
        if numbers.len() != users.len() || !numbers.iter().all(|number| USERS.contains(number)) {
            let (least, most) = (USERS.start(), USERS.end());
            return Err(format!("each user needs a number of its own from {least} to {most}"));
        }
        self.units(Path::new("/data/extensions/x")).map(drop)
    }

    /// The text of a service file for an image at this path.
    pub fn service_text(&self, service: &str, image: &Path) -> Option<String> {
        self.services.get(service).map(|text| text.replace(IMAGE, &image.display().to_string()))
    }

    /// Its services for an image at this path, each of which asks for nothing that is not the extension's.
    pub fn units(&self, image: &Path) -> Result<Vec<Unit>, String> {
        let unit = |service: &String| {
            let below =
                service.strip_prefix(&self.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            if !below {
                return Err(format!(
                    "the service \"{service}\" must be called {0} or {0}-SOMETHING",
                    self.name
                ));
            }
            let text = self.service_text(service, image).unwrap_or_default();
            let unit = aios_unit::parse(Path::new(&format!("{service}.toml")), &text, &Users::default())?;
            match self.asks_too_much(&unit, image) {
                None => Ok(unit),
                Some(what) => Err(format!("{service}.toml: {what}")),
            }
        };
        self.services.keys().map(unit).collect()
    }

    /// What is not a service's of an extension to have.
    fn asks_too_much(&self, unit: &Unit, image: &Path) -> Option<String> {
        let (state, run) = (format!("/data/{}", self.name), format!("/run/{}", self.name));
        let own = |path: &Path| path.starts_with(&state) || path.starts_with(&run);
        let machines = |path: &Path| ["/data", "/run", "/models"].iter().any(|place| path.starts_with(place));
        let sandbox = &unit.sandbox;
        let said: [(bool, String); 10] = [
            (
                unit.kind != Kind::Milestone && unit.root_image.as_deref() != Some(image),
                format!("its programs are in its own image; write root_image = \"{IMAGE}\""),
            ),
            (
                unit.kind != Kind::Milestone && !self.users.values().any(|uid| *uid == unit.user.uid),
                "user must be the number of one of its own users, as in user = \"2001\"".into(),
            ),
            (
                unit.state_directory.iter().chain(&unit.runtime_directory).any(|path| !own(path)),
                format!("its directories are {state} and {run}, and what is below them"),
            ),
            (
                sandbox.write.iter().any(|path| !own(path)),
                format!("it may write below {state} and {run} alone"),
            ),
            (
                // Name servers and the public halves of people's keys are everybody's.
                sandbox.read.iter().any(|p| {
                    machines(p) && !own(p) && !EVERYBODYS.iter().any(|place| p.starts_with(place))
                }),
                format!("of the machine's files it may read those below {state}, {run}, {}", EVERYBODYS.join(" and ")),
            ),
            (
                sandbox.privileged || sandbox.mounts.is_some() || !CAPABILITIES.contains(sandbox.capabilities),
                "its capabilities would lead out of its image; remove them".into(),
            ),
            (
                sandbox.syscalls.iter().any(|group| !CALLS.contains(group)),
                "of syscalls it may ask for ownership and scheduling alone".into(),
            ),
            (!unit.open.is_empty() || !unit.devices.is_empty(), "it gets no device and no opened file".into()),
            (
                unit.sockets.iter().any(|socket| match &socket.place {
                    Place::Seqpacket(path) | Place::Stream(path) | Place::Datagram(path) => !own(path),
                    Place::Tcp(_) | Place::Udp(_) => false,
                }),
                format!("its sockets with a path are below {run}"),
            ),
            (
                unit.resources.delegate
                    || unit.resources.oom_score < 0
                    || unit.resources.memory_min.is_some()
                    || unit.resources.nice < 0,
                "it is not preferred to the appliance's own services; remove delegate, memory_min and negative numbers"
                    .into(),
            ),
        ];
        said.into_iter().find_map(|(too_much, what)| too_much.then_some(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: &str = r#"
name = "hello"
version = "1.0-1"
description = "Says hello"
architecture = "x86_64"
[users]
hello = 2001
[services]
hello = '''
description = "Says hello"
exec = ["/usr/bin/hello"]
user = "2001"
root_image = "{image}"
state_directory = "/data/hello"
'''
"#;

    fn with(more: &str) -> Result<Manifest, String> {
        Manifest::parse(&HELLO.replace("state_directory = \"/data/hello\"\n", more))
    }

    #[test]
    fn a_manifest_is_read_and_its_service_gets_the_path_of_the_image() {
        let manifest = with("").expect("is good");
        let image = Path::new("/data/extensions/hello-1.aiosx");
        let units = manifest.units(image).expect("are good");
        assert_eq!(units[0].root_image.as_deref(), Some(image));
        assert_eq!((units[0].user.uid, units[0].user.gid), (2001, 2001));
        assert_eq!(Manifest::parse(&manifest.text().expect("text")), Ok(manifest));
    }

    #[test]
    fn what_is_not_the_extensions_own_is_refused() {
        let cases = [
            ("state_directory = \"/data/toold\"", "its directories are /data/hello"),
            ("state_directory = \"/data/hello2\"", "its directories are"),
            ("[sandbox]\nprivileged = true", "no privileged service"),
            ("[sandbox]\ncapabilities = [\"CAP_SYS_ADMIN\"]", "capabilities would lead out"),
            ("[sandbox]\nwrite = [\"/data\"]", "it may write below"),
            ("[sandbox]\nread = [\"/data/console\"]", "it may read those below"),
            ("[sandbox]\nsyscalls = [\"mount\"]", "of syscalls"),
            ("devices = [\"/dev/vda\"]", "no device"),
            ("[[open]]\nname = \"x\"\npath = \"/data/toold/audit.key\"", "no opened file"),
            ("[[socket]]\nname = \"x\"\nkind = \"stream\"\npath = \"/run/aios/x\"", "below /run/hello"),
            ("[resources]\noom_score = -5", "not preferred"),
        ];
        for (more, expected) in cases {
            let said = with(more).expect_err(more);
            assert!(said.contains(expected) && !said.contains('\n'), "{more}: {said}");
        }
        let change = |from: &str, to: &str| Manifest::parse(&HELLO.replace(from, to)).expect_err(to);
        assert!(change("user = \"2001\"", "user = \"2002\"").contains("one of its own users"));
        assert!(change("hello = 2001", "hello = 101").contains("a number of its own"));
        assert!(change("hello = '''", "console = '''").contains("must be called hello"));
        assert!(change("root_image = \"{image}\"", "").contains("user"));
        assert!(
            change("root_image = \"{image}\"", "root_image = \"/data/extensions/y\"").contains("own image")
        );
        assert!(change("name = \"hello\"", "name = \"../x\"").contains("no name"));
        assert!(change("\"1.0-1\"", "\"1/2\"").contains("no version"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_in_one_line(text in "\\PC{0,300}") {
            for text in [text.clone(), format!("{HELLO}{text}")] {
                if let Err(why) = Manifest::parse(&text) {
                    prop_assert!(!why.contains('\n'));
                }
            }
        }
    }
}
