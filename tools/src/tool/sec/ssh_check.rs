//! `sec.ssh_check`

use super::audit::score;
use super::shared::{Check, Verdict};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use crate::tool::service::shared::{ask, unexpected};
use aios_abi::run::{RunEnd, RunHow, RunOutcome, RunRequest};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The service whose server is asked.
const SERVICE: &str = "openssh";
/// What it complains of.
const MOST_PROBLEMS: usize = 50;
/// Characters of a line that are told.
const MAX_LINE: usize = 300;

/// Check the settings of the SSH server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// The settings that are in force, judged. Those of `Match` blocks are not among them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Judged {
    /// The server takes its configuration.
    pub(crate) good: bool,
    /// What it says against it, with file and line.
    pub(crate) problems: Vec<String>,
    /// 0 to 100: the weight of the checks that pass, warnings count half; 0 when it does not take its configuration.
    pub(crate) score: u32,
    /// Each setting that matters, with what to do about it.
    pub(crate) checks: Vec<Check>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 145,
    name: "sec.ssh_check",
    summary: "Check the SSH server's configuration: whether it is valid, and how safe the settings in force are",
    effect: Effect::Read,
    touches: &["sshd's configuration, read by sshd itself in its own sandbox"],
    role: Role::Viewer,
    timeout_ms: 40_000,
    examples: &[
        ("is the SSH server configured safely?", "{}"),
        ("can someone log in over ssh with a password?", "{}"),
        ("check sshd_config", "{}"),
        ("does ssh allow root login?", "{}"),
        ("are there weak ciphers in the ssh configuration?", "{}"),
        ("harden sshd: what should I change?", "{}"),
    ],
    needs: Needs::NOTHING.asks(&[Asks::InitToRunLooks]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, _args: Args) -> Result<Judged, CallError> {
    let request = RunRequest {
        service: SERVICE.into(),
        command: "effective".into(),
        arguments: Vec::new(),
        how: RunHow::Look,
    };
    match ask(ctx, InitRequest::Run(request))? {
        InitReply::Ran(outcome) => judge(&outcome),
        _ => Err(unexpected()),
    }
}

pub(crate) fn judge(outcome: &RunOutcome) -> Result<Judged, CallError> {
    match &outcome.end {
        RunEnd::Exited(0) => {
            let settings = Settings(&outcome.output);
            if settings.one("port").is_none() {
                let said: String = outcome.output.chars().take(MAX_LINE).collect();
                return Err(CallError::failed(format!(
                    "sshd does not say which settings are in force: {said:?}"
                )));
            }
            let checks: Vec<Check> = RULES.iter().filter_map(|rule| rule.check(&settings)).collect();
            Ok(Judged { good: true, problems: Vec::new(), score: score(&checks), checks })
        }
        RunEnd::Exited(_) => {
            let line = |line: &str| line.trim().chars().take(MAX_LINE).collect();
            let problems = outcome.output.lines().map(line).take(MOST_PROBLEMS).collect();
            Ok(Judged { good: false, problems, score: 0, checks: Vec::new() })
        }
        end => Err(CallError::failed(format!("sshd {end}"))),
    }
}

/// Lines `KEY VALUE` (sshd(8), `-T`): keys in small letters, some several times.
struct Settings<'a>(&'a str);

impl<'a> Settings<'a> {
    fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let values = self.0.lines().filter_map(|line| line.split_once(' '));
        values.filter(move |(own, _)| *own == key).map(|(_, value)| value.trim())
    }

    fn one(&self, key: &str) -> Option<&'a str> {
        self.all(key).next()
    }
}

/// One thing that is looked at (sshd_config(5)).
struct Rule {
    name: &'static str,
    key: &'static str,
    weight: u32,
    judge: Judge,
    advice: &'static str,
}

enum Judge {
    /// It should be the first of these; what counts otherwise, where something else than a warning does.
    Is(&'static str, &'static [(&'static str, Verdict)]),
    /// A number from 1 to this.
    AtMost(u32),
    /// A list, in which nothing contains one of these.
    Without(&'static [&'static str], Verdict),
    /// A list, in which nothing is one of these.
    WithoutExactly(&'static [&'static str], Verdict),
    /// One of this or these other keys is set at all.
    IsSet(&'static [&'static str]),
}

impl Rule {
    /// None where the server knows no such setting.
    fn check(&self, settings: &Settings<'_>) -> Option<Check> {
        let shown = |value: &str| value.chars().take(MAX_LINE).collect::<String>();
        let (verdict, evidence) = match &self.judge {
            Judge::IsSet(others) => {
                let keys = [self.key].into_iter().chain(others.iter().copied());
                let set = keys.filter_map(|key| Some(format!("{key} {}", settings.one(key)?))).next();
                let evidence = set.as_deref().map_or("every user who has a key may come".into(), shown);
                (if set.is_some() { Verdict::Pass } else { Verdict::Warn }, evidence)
            }
            Judge::Is(good, others) => {
                let value = settings.one(self.key)?;
                let other = others.iter().find(|(other, _)| *other == value);
                let verdict =
                    if value == *good { Verdict::Pass } else { other.map_or(Verdict::Warn, |(_, v)| *v) };
                (verdict, shown(value))
            }
            Judge::AtMost(most) => {
                let value = settings.one(self.key)?;
                let good = value.parse().is_ok_and(|number: u32| (1..=*most).contains(&number));
                (if good { Verdict::Pass } else { Verdict::Warn }, shown(value))
            }
            Judge::Without(words, otherwise) => {
                among(settings.one(self.key)?, *otherwise, |one| words.iter().any(|word| one.contains(word)))
            }
            Judge::WithoutExactly(words, otherwise) => {
                among(settings.one(self.key)?, *otherwise, |one| words.contains(&one))
            }
        };
        Some(Check::new(self.name, self.weight, verdict, evidence, self.advice))
    }
}

fn among(list: &str, otherwise: Verdict, is_weak: impl Fn(&str) -> bool) -> (Verdict, String) {
    let weak: Vec<&str> = list.split(',').filter(|one| is_weak(one)).take(MOST_PROBLEMS).collect();
    match weak.is_empty() {
        true => (Verdict::Pass, "none is weak".into()),
        false => (otherwise, format!("weak: {}", weak.join(", "))),
    }
}

const RULES: [Rule; 18] = [
    Rule {
        name: "root login",
        key: "permitrootlogin",
        weight: 20,
        judge: Judge::Is("no", &[("yes", Verdict::Fail)]),
        advice: "write PermitRootLogin no",
    },
    Rule {
        name: "passwords",
        key: "passwordauthentication",
        weight: 20,
        judge: Judge::Is("no", &[("yes", Verdict::Fail)]),
        advice: "write PasswordAuthentication no, and let people come with keys",
    },
    Rule {
        name: "empty passwords",
        key: "permitemptypasswords",
        weight: 15,
        judge: Judge::Is("no", &[("yes", Verdict::Fail)]),
        advice: "write PermitEmptyPasswords no",
    },
    Rule {
        name: "questions and answers",
        key: "kbdinteractiveauthentication",
        weight: 10,
        judge: Judge::Is("no", &[]),
        advice: "write KbdInteractiveAuthentication no: it asks for passwords as well",
    },
    Rule {
        name: "keys",
        key: "pubkeyauthentication",
        weight: 5,
        judge: Judge::Is("yes", &[]),
        advice: "write PubkeyAuthentication yes",
    },
    Rule {
        name: "trusted machines",
        key: "hostbasedauthentication",
        weight: 5,
        judge: Judge::Is("no", &[("yes", Verdict::Fail)]),
        advice: "write HostbasedAuthentication no",
    },
    Rule {
        name: "modes of key files",
        key: "strictmodes",
        weight: 10,
        judge: Judge::Is("yes", &[("no", Verdict::Fail)]),
        advice: "write StrictModes yes",
    },
    Rule {
        name: "environment",
        key: "permituserenvironment",
        weight: 5,
        judge: Judge::Is("no", &[("yes", Verdict::Fail)]),
        advice: "write PermitUserEnvironment no",
    },
    Rule {
        name: "who may come",
        key: "allowusers",
        weight: 5,
        judge: Judge::IsSet(&["allowgroups"]),
        advice: "name them with AllowUsers or AllowGroups",
    },
    Rule {
        name: "attempts",
        key: "maxauthtries",
        weight: 5,
        judge: Judge::AtMost(4),
        advice: "write MaxAuthTries 4 or less",
    },
    Rule {
        name: "time to log in",
        key: "logingracetime",
        weight: 5,
        judge: Judge::AtMost(60),
        advice: "write LoginGraceTime 60 or less; 0 is for ever",
    },
    Rule {
        name: "windows of programs",
        key: "x11forwarding",
        weight: 5,
        judge: Judge::Is("no", &[]),
        advice: "write X11Forwarding no",
    },
    Rule {
        name: "tunnels of ports",
        key: "allowtcpforwarding",
        weight: 5,
        judge: Judge::Is("no", &[]),
        advice: "write AllowTcpForwarding no, unless this machine is a way to others",
    },
    Rule {
        name: "keys of agents",
        key: "allowagentforwarding",
        weight: 5,
        judge: Judge::Is("no", &[]),
        advice: "write AllowAgentForwarding no",
    },
    Rule {
        name: "ciphers",
        key: "ciphers",
        weight: 15,
        judge: Judge::Without(&["cbc", "3des", "arcfour", "blowfish", "cast128"], Verdict::Fail),
        advice: "leave them out of Ciphers",
    },
    Rule {
        name: "message authentication",
        key: "macs",
        weight: 10,
        judge: Judge::Without(&["md5", "sha1", "umac-64", "-96", "ripemd"], Verdict::Warn),
        advice: "leave them out of MACs: SHA-1, MD5 and short tags",
    },
    Rule {
        name: "key exchange",
        key: "kexalgorithms",
        weight: 15,
        judge: Judge::Without(&["sha1", "group1-"], Verdict::Fail),
        advice: "leave them out of KexAlgorithms",
    },
    Rule {
        name: "signatures",
        key: "pubkeyacceptedalgorithms",
        weight: 10,
        judge: Judge::WithoutExactly(
            &["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com", "ssh-dss-cert-v01@openssh.com"],
            Verdict::Warn,
        ),
        advice: "leave out of PubkeyAcceptedAlgorithms those that sign with SHA-1",
    },
];

fn summary(judged: &Judged) -> String {
    if !judged.good {
        let first = judged.problems.first().map_or("it said nothing", String::as_str);
        return format!("sshd refuses its configuration: {first}");
    }
    let bad: Vec<String> = judged
        .checks
        .iter()
        .filter(|check| matches!(check.verdict, Verdict::Fail | Verdict::Warn))
        .map(|check| format!("{} ({})", check.name, check.advice))
        .collect();
    match bad.is_empty() {
        true => format!("the SSH server's settings score {} of 100", judged.score),
        false => format!("the SSH server's settings score {} of 100; {}", judged.score, bad.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;
    use std::process::{Command, Output};

    const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../image/extensions/openssh/root");

    /// What Debian's server says with these lines and the recipe's after them, beside keys of the recipe's setup.
    fn effective(own: &str) -> Judged {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path().display().to_string();
        let setup =
            Command::new(Path::new(RECIPE).join("usr/lib/openssh/setup")).env("STATE", &here).output();
        assert!(setup.expect("scripts/deps.sh test").status.success());
        let text = std::fs::read_to_string(Path::new(RECIPE).join("etc/ssh/sshd_config")).expect("reads");
        let config = folder.path().join("sshd_config");
        std::fs::write(&config, text.replace("/data/openssh", &here)).expect("written");
        std::fs::write(folder.path().join("sshd_config.d/own.conf"), own).expect("written");
        // As root it wants this folder of Debian's; the extension's is never root.
        if rustix::process::getuid().is_root() {
            std::fs::create_dir_all("/run/sshd").expect("made");
        }
        let output = Command::new("/usr/sbin/sshd").arg("-T").arg("-f").arg(&config).output();
        let Output { status, stdout, stderr } = output.expect("scripts/deps.sh test");
        judge(&RunOutcome {
            end: RunEnd::Exited(status.code().expect("ends")),
            output: String::from_utf8([stdout, stderr].concat()).expect("text"),
            omitted_bytes: 0,
            duration_ms: 1,
        })
        .expect("is judged")
    }

    #[test]
    fn what_a_real_server_has_in_force_is_judged() {
        let ours = effective("");
        assert!(ours.good && ours.checks.len() == RULES.len(), "{ours:#?}");
        assert_eq!(ours.score, 100, "{}", summary(&ours));
        let weak = effective(
            "PermitRootLogin yes\nPasswordAuthentication yes\nMACs +hmac-sha1\nCiphers +aes128-cbc\n",
        );
        let failed = |judged: &Judged| {
            let bad = judged.checks.iter().filter(|check| check.verdict != Verdict::Pass);
            bad.map(|check| check.name).collect::<Vec<_>>()
        };
        assert_eq!(failed(&weak), ["root login", "passwords", "ciphers", "message authentication"]);
        assert!(weak.score < 70 && summary(&weak).contains("PermitRootLogin no"), "{}", summary(&weak));
        let bad = effective("PermitRootLogin perhaps\n");
        assert!(!bad.good && bad.score == 0, "{bad:?}");
        assert!(summary(&bad).contains("own.conf line 1"), "{}", summary(&bad));
    }

    proptest! {
        #[test]
        fn any_output_is_judged(output in "([a-z]{1,20}|permitrootlogin|ciphers|maxauthtries) ?\\PC{0,40}(\n\\PC{0,40}){0,4}") {
            let output = format!("port 22\n{output}");
            let outcome = RunOutcome { end: RunEnd::Exited(0), output, omitted_bytes: 0, duration_ms: 1 };
            prop_assert!(judge(&outcome).is_ok_and(|judged| judged.score <= 100));
        }
    }
}
