//! What the web tools share: nginx of the extension of that name.

use crate::ctx::Ctx;
use crate::nginx::{Config, Directive, read};
use crate::reach::Needs;
use crate::tool::service::shared::{ask, unexpected};
use aios_abi::CallError;
use aios_abi::run::{RunEnd, RunHow, RunOutcome, RunRequest};
use aios_abi::service::{InitReply, InitRequest};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where all that people configure is. Nothing else of the machine's can nginx see.
pub(crate) const DIRECTORY: &str = "/data/nginx";
/// The files that nginx includes from there.
const FILES: &str = "conf.d/*.conf";
/// The name of its service.
pub(crate) const SERVICE: &str = "nginx";
/// What nginx finds wrong at once.
const MOST_FINDINGS: usize = 100;
/// Characters of what it says.
const MAX_FINDING: usize = 500;
/// What reading its configuration takes.
pub(crate) const READS: Needs =
    Needs::NOTHING.read(&[DIRECTORY]).capabilities(CapabilitySet::DAC_READ_SEARCH);

/// The configuration below this directory.
pub(crate) fn configuration(directory: &Path) -> Config {
    read(&directory.join(FILES), directory)
}

/// The servers of a configuration: blocks `server` at its top, which is in nginx's `http`.
pub(crate) fn servers(config: &Config) -> impl Iterator<Item = &Directive> {
    config.directives.iter().filter(|one| one.name() == "server" && one.arguments().is_empty())
}

/// The names of a server.
pub(crate) fn names(server: &Directive) -> Vec<String> {
    server.named("server_name").flat_map(|one| one.arguments().iter().cloned()).collect()
}

/// `FILE:LINE`
pub(crate) fn place(directive: &Directive) -> String {
    let (file, line): &(PathBuf, u32) = &directive.place;
    format!("{}:{line}", file.display())
}

/// Ask nginx itself whether it takes its configuration: it is run beside the service, with `-t`.
pub(crate) fn test(ctx: &Ctx) -> Result<Tested, CallError> {
    let request = RunRequest {
        service: SERVICE.into(),
        command: "test".into(),
        arguments: Vec::new(),
        how: RunHow::Look,
    };
    match ask(ctx, InitRequest::Run(request))? {
        InitReply::Ran(outcome) => Ok(Tested::of(&outcome)),
        _ => Err(unexpected()),
    }
}

/// What nginx says of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tested {
    /// It takes it.
    pub(crate) good: bool,
    /// What it found wrong; when it is good these are warnings. At most 100.
    pub(crate) findings: Vec<Finding>,
}

/// Something that nginx found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// `warn`, `error`, `crit`, `alert` or `emerg`, which is what makes it refuse.
    level: String,
    /// What.
    pub(crate) text: String,
    /// Where: file and line.
    pub(crate) place: Option<String>,
}

impl Tested {
    pub(crate) fn of(outcome: &RunOutcome) -> Self {
        let good = outcome.end == RunEnd::Exited(0);
        let mut findings: Vec<Finding> =
            outcome.output.lines().filter_map(finding).take(MOST_FINDINGS).collect();
        if !good && findings.is_empty() {
            let text = match &outcome.end {
                RunEnd::Exited(status) => format!("nginx exited with status {status} and said nothing"),
                end => format!("nginx {end}"),
            };
            findings.push(Finding { level: "emerg".into(), text, place: None });
        }
        Self { good, findings }
    }

    /// The first thing that makes nginx refuse it, with its place.
    pub(crate) fn why(&self) -> String {
        let worst = self.findings.iter().find(|one| one.level == "emerg").or(self.findings.first());
        let at = |place: &String| format!("{place}: ");
        worst.map_or_else(String::new, |one| {
            format!("{}{}", one.place.as_ref().map(at).unwrap_or_default(), one.text)
        })
    }
}

/// One line of what nginx says: `nginx: [emerg] TEXT in FILE:LINE`, or in its log's way
/// `2026/01/31 12:00:00 [emerg] 12#12: TEXT in FILE:LINE`.
fn finding(line: &str) -> Option<Finding> {
    let (before, rest) = line.split_once(" [")?;
    let (level, text) = rest.split_once("] ")?;
    let known = ["warn", "error", "crit", "alert", "emerg"].contains(&level);
    let own = before == "nginx:" || before.starts_with(|c: char| c.is_ascii_digit());
    if !known || !own {
        return None;
    }
    let text = match text.split_once("#").and_then(|(pid, rest)| Some((pid, rest.split_once(": ")?))) {
        Some((pid, (_, text))) if pid.bytes().all(|byte| byte.is_ascii_digit()) => text,
        _ => text,
    };
    // The sockets that init holds for the service are not there beside it.
    let absent = text.starts_with("close() ") && text.ends_with("(9: Bad file descriptor)");
    if absent || text.contains("of the inherited socket #") {
        return None;
    }
    let is_line = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let place = text.rsplit_once(" in ").filter(|(_, place)| {
        place.starts_with('/') && place.rsplit_once(':').is_some_and(|(_, line)| is_line(line))
    });
    let (text, place) = place.map_or((text, None), |(text, place)| (text, Some(place.to_owned())));
    Some(Finding { level: level.into(), text: text.chars().take(MAX_FINDING).collect(), place })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::alone;
    use crate::tool::web::{status, vhosts};
    use proptest::prelude::*;
    use rustix::process::{Signal, getuid, kill_process};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Output, Stdio};
    use std::time::{Duration, Instant};

    const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../image/extensions/nginx");

    /// The recipe's configuration, of which all lies in a folder; nothing listens at a port.
    struct Site {
        folder: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let here = folder.path().display().to_string();
            let recipe = Path::new(RECIPE).join("root/etc/nginx/nginx.conf");
            let text = std::fs::read_to_string(recipe).expect("reads");
            assert!(text.contains("include /data/nginx/conf.d/*.conf;"));
            let text = text
                .replace("[::]:80 ipv6only=off default_server", "unix:HERE/http.sock")
                .replace("/data/nginx", "HERE")
                .replace("/run/nginx", "HERE")
                .replace("/tmp/", "HERE/")
                .replace("HERE", &here);
            std::fs::write(folder.path().join("nginx.conf"), text).expect("written");
            std::fs::create_dir(folder.path().join("conf.d")).expect("made");
            let site = Self { folder };
            if getuid().is_root() {
                let name = |line: &str| line.starts_with("www-data:");
                let passwd = std::fs::read_to_string("/etc/passwd").expect("reads");
                assert!(passwd.lines().any(name), "scripts/deps.sh test");
                let folder = site.folder.path();
                std::os::unix::fs::chown(folder, Some(USER), Some(USER)).expect("given");
            }
            site
        }

        fn write(&self, text: &str) {
            let text = text.replace("HERE", &self.folder.path().display().to_string());
            std::fs::write(self.folder.path().join("conf.d/site.conf"), text).expect("written");
        }

        fn nginx(&self, arguments: &[&str]) -> Command {
            let mut command = Command::new("/usr/sbin/nginx");
            command.args(arguments).args(["-e", "stderr", "-c"]).arg(self.folder.path().join("nginx.conf"));
            if getuid().is_root() {
                command.uid(USER).gid(USER);
            }
            command.stdin(Stdio::null()).stderr(Stdio::piped());
            command
        }

        fn test(&self) -> Tested {
            // As the service's command has it: with the variable, without the sockets.
            let Output { status, stderr, .. } =
                self.nginx(&["-t"]).env("NGINX", "63;").output().expect("scripts/deps.sh test");
            Tested::of(&RunOutcome {
                end: RunEnd::Exited(status.code().expect("ends")),
                output: String::from_utf8(stderr).expect("text"),
                omitted_bytes: 0,
                duration_ms: 1,
            })
        }
    }

    /// `www-data` of Debian, for a test that root runs.
    const USER: u32 = 33;

    #[test]
    fn a_real_nginx_says_what_is_wrong_and_where_and_how_busy_it_is() {
        let site = Site::new();
        site.write("server { listen unix:HERE/a.sock; server_name a.lan; root HERE; }");
        assert_eq!(site.test(), Tested { good: true, findings: Vec::new() });
        site.write("server {\n  listen unix:HERE/a.sock;\n  no_such_word on;\n}");
        let bad = site.test();
        let place = site.folder.path().join("conf.d/site.conf:3").display().to_string();
        assert!(!bad.good && bad.findings[0].place == Some(place.clone()), "{bad:?}");
        assert_eq!(bad.why(), format!("{place}: unknown directive \"no_such_word\""));
        site.write("server { listen unix:HERE/a.sock; server_name a.lan; }\nserver { listen unix:HERE/a.sock; server_name a.lan; }");
        let warned = site.test();
        assert!(warned.good && warned.why().contains("conflicting server name"), "{warned:?}");

        site.write("server { listen unix:HERE/a.sock; server_name a.lan; location / { return 200 hello; } }");
        let mut server = site.nginx(&[]).spawn().expect("starts");
        let socket = site.folder.path().join("status.sock");
        let end = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < end, "nginx does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        let ctx = alone();
        let (first, second) = (status::look(&ctx, &socket), status::look(&ctx, &socket));
        let counted = |seen: &status::Status| serde_json::to_value(seen).expect("JSON")["requests"].as_u64();
        let (first, second) = (first.expect("answers"), second.expect("answers"));
        assert_eq!(counted(&second), counted(&first).map(|count| count + 1), "{first:?} {second:?}");
        let sites = vhosts::look(site.folder.path(), None);
        assert_eq!(sites.servers[0].names, ["a.lan"]);
        kill_process(rustix::process::Pid::from_child(&server), Signal::QUIT).expect("is told");
        server.wait().expect("ends");
        let gone = status::look(&ctx, &socket).expect_err("nobody is there");
        assert!(gone.message.contains("nginx does not answer"), "{gone}");
        // Somebody else at its place is not believed.
        let _ = std::fs::remove_file(&socket);
        let other = UnixListener::bind(&socket).expect("a socket");
        std::thread::spawn(move || drop(other.accept()));
        assert!(status::look(&ctx, &socket).is_err());
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "(nginx:|20[0-9 :/]{3}) \\[(warn|emerg|x)\\] ([0-9]#[0-9]: )?[a-z /:0-9#]{0,40}|\\PC{0,60}") {
            let found = finding(&line);
            prop_assert!(found.is_none_or(|found| line.contains(&found.text)));
        }
    }
}
