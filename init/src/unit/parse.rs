//! From the text of a service file to a [`Unit`], or to one sentence that names file, line and cure.

use super::values::{Users, capability, duration, mode, size};
use super::{Access, Open, Place, Resources, Sandbox, Socket, Unit};
use crate::supervisor::{Kind, Readiness};
use rustix::thread::CapabilitySet;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Services that say nothing else have this long to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Services that say nothing else have this long to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// More is a mistake.
const MAX_DESCRIPTORS: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    description: String,
    exec: Spanned<Vec<String>>,
    user: Spanned<String>,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    ready: Readiness,
    #[serde(default)]
    after: Vec<Spanned<String>>,
    #[serde(default)]
    requires: Vec<Spanned<String>>,
    start_timeout: Option<Spanned<String>>,
    stop_timeout: Option<Spanned<String>>,
    state_directory: Option<Spanned<String>>,
    runtime_directory: Option<Spanned<String>>,
    #[serde(default)]
    devices: Vec<Spanned<String>>,
    #[serde(default)]
    environment: BTreeMap<Spanned<String>, String>,
    #[serde(default)]
    socket: Vec<RawSocket>,
    #[serde(default)]
    open: Vec<RawOpen>,
    #[serde(default)]
    resources: RawResources,
    #[serde(default)]
    sandbox: RawSandbox,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSocket {
    name: Spanned<String>,
    kind: Spanned<SocketKind>,
    path: Option<Spanned<String>>,
    listen: Option<Spanned<String>>,
    mode: Option<Spanned<String>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum SocketKind {
    Seqpacket,
    Stream,
    Dgram,
    Tcp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOpen {
    name: Spanned<String>,
    path: Spanned<String>,
    #[serde(default)]
    access: Access,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawResources {
    memory_min: Option<Spanned<String>>,
    memory_high: Option<Spanned<String>>,
    memory_max: Option<Spanned<String>>,
    pids_max: Option<Spanned<u32>>,
    cpu_weight: Option<Spanned<u32>>,
    open_files: Option<Spanned<u32>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawSandbox {
    #[serde(default)]
    capabilities: Vec<Spanned<String>>,
    network: Option<bool>,
}

/// A place in the text and what is wrong there.
type Fault = (usize, String);

/// Check the text of a service file. `file` is its path, as people know it.
pub(crate) fn parse(file: &Path, text: &str, users: &Users) -> Result<Unit, String> {
    let sentence = |(at, what): Fault| {
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        // What is quoted from the file must not begin a line of its own in the log.
        let what = what.replace(char::is_control, " ");
        format!("{}:{line}: {what}", file.display())
    };
    let name = name_of(file).map_err(|what| format!("{}: {what}", file.display()))?;
    let raw: Raw = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let what = error.message().replace('\n', ", ");
        sentence((at, format!("{what}; correct this line")))
    })?;
    check(name, raw, users).map_err(sentence)
}

/// The service's name: the file's name without `.toml`.
fn name_of(file: &Path) -> Result<String, String> {
    let name = file.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 48 || !name.chars().all(good) {
        return Err("the name of the file is no name for a service; use up to 48 of a-z, 0-9, - and _".into());
    }
    if name == "init" || name == "kernel" {
        return Err(format!("\"{name}\" is the name of a log already; name the file otherwise"));
    }
    Ok(name.to_owned())
}

fn check(name: String, raw: Raw, users: &Users) -> Result<Unit, Fault> {
    let exec_at = raw.exec.span().start;
    let exec = raw.exec.into_inner();
    if !exec.first().is_some_and(|program| program.starts_with('/')) {
        let what = "exec must begin with the absolute path of a program, as in [\"/usr/bin/aios-toold\"]";
        return Err((exec_at, what.into()));
    }
    if exec.iter().any(|word| word.contains('\0')) {
        return Err((exec_at, "exec holds a NUL character; remove it".into()));
    }
    let sockets = raw.socket.into_iter().map(socket).collect::<Result<Vec<_>, _>>()?;
    let open = raw.open.into_iter().map(opened).collect::<Result<Vec<_>, _>>()?;
    if sockets.len() + open.len() > MAX_DESCRIPTORS {
        return Err((exec_at, format!("more than {MAX_DESCRIPTORS} sockets and open files; remove some")));
    }
    let capabilities = raw
        .sandbox
        .capabilities
        .into_iter()
        .try_fold(CapabilitySet::empty(), |set, text| Ok(set | value(text, capability)?))?;
    Ok(Unit {
        name,
        description: raw.description,
        exec,
        user: value(raw.user, |name| users.find(name))?,
        kind: raw.kind,
        ready: raw.ready,
        after: raw.after.into_iter().map(|name| value(name, known_form)).collect::<Result<_, _>>()?,
        requires: raw.requires.into_iter().map(|name| value(name, known_form)).collect::<Result<_, _>>()?,
        start_timeout: optional(raw.start_timeout, duration)?.unwrap_or(START_TIMEOUT),
        stop_timeout: optional(raw.stop_timeout, duration)?.unwrap_or(STOP_TIMEOUT),
        state_directory: optional(raw.state_directory, |p| below(p, "/data/"))?,
        runtime_directory: optional(raw.runtime_directory, |p| below(p, "/run/"))?,
        devices: raw
            .devices
            .into_iter()
            .map(|p| value(p, |p| below(p, "/dev/")))
            .collect::<Result<_, _>>()?,
        environment: raw.environment.into_iter().map(variable).collect::<Result<_, _>>()?,
        sockets,
        open,
        resources: Resources {
            memory_min: optional(raw.resources.memory_min, size)?,
            memory_high: optional(raw.resources.memory_high, size)?,
            memory_max: optional(raw.resources.memory_max, size)?,
            pids_max: raw.resources.pids_max.map(|n| within(n, 1, 1 << 22)).transpose()?,
            cpu_weight: raw.resources.cpu_weight.map(|n| within(n, 1, 10_000)).transpose()?,
            open_files: raw.resources.open_files.map(|n| within(n, 16, 1 << 20)).transpose()?,
        },
        sandbox: Sandbox { capabilities, network: raw.sandbox.network.unwrap_or(true) },
    })
}

fn value<T>(text: Spanned<String>, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Fault> {
    read(text.get_ref()).map_err(|what| (text.span().start, what))
}

fn optional<T>(
    text: Option<Spanned<String>>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Fault> {
    text.map(|text| value(text, read)).transpose()
}

fn within(number: Spanned<u32>, least: u32, most: u32) -> Result<u32, Fault> {
    let n = *number.get_ref();
    if (least..=most).contains(&n) {
        return Ok(n);
    }
    Err((number.span().start, format!("{n} is out of range; write a number from {least} to {most}")))
}

fn known_form(name: &str) -> Result<String, String> {
    match name.is_empty() {
        true => Err("an empty name; write the name of a service".into()),
        false => Ok(name.to_owned()),
    }
}

/// An absolute path below a directory, without a way out of it.
fn below(text: &str, directory: &str) -> Result<PathBuf, String> {
    let rest = text.strip_prefix(directory).filter(|rest| !rest.is_empty());
    let clean = rest.is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    if clean && !text.contains('\0') {
        return Ok(PathBuf::from(text));
    }
    Err(format!("\"{text}\" is not allowed here; write a path below {directory} without \"..\" or \"//\""))
}

fn variable((name, value): (Spanned<String>, String)) -> Result<(String, String), Fault> {
    let at = name.span().start;
    let name = name.into_inner();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) || value.contains('\0') {
        return Err((at, format!("\"{name}\" cannot be an environment variable; use letters, digits and _")));
    }
    if name.starts_with("LISTEN_") || name == "NOTIFY_SOCKET" {
        return Err((at, format!("{name} is set by init; remove this line")));
    }
    Ok((name, value))
}

/// Names of descriptors travel in one colon-separated variable.
fn descriptor_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(good) {
        return Err(format!("\"{text}\" is no name for a descriptor; use letters, digits, -, _ and ."));
    }
    Ok(text.to_owned())
}

fn socket(raw: RawSocket) -> Result<Socket, Fault> {
    let at = raw.kind.span().start;
    let name = value(raw.name, descriptor_name)?;
    let mode = optional(raw.mode, mode)?.unwrap_or(0o600);
    let path = optional(raw.path, |p| below(p, "/run/"))?;
    let listen = optional(raw.listen, |text| {
        text.parse().map_err(|_| {
            format!("\"{text}\" is not an address and port; write one as in \"[::]:443\" or \"127.0.0.1:80\"")
        })
    })?;
    let place = match (raw.kind.into_inner(), path, listen) {
        (SocketKind::Tcp, None, Some(address)) => Place::Tcp(address),
        (SocketKind::Tcp, ..) => {
            return Err((at, "a tcp socket needs listen = \"ADDRESS:PORT\" and has no path".into()));
        }
        (SocketKind::Seqpacket, Some(path), None) => Place::Seqpacket(path),
        (SocketKind::Stream, Some(path), None) => Place::Stream(path),
        (SocketKind::Dgram, Some(path), None) => Place::Datagram(path),
        _ => return Err((at, "a Unix socket needs path = \"/run/…\" and has no listen".into())),
    };
    Ok(Socket { name, place, mode })
}

fn opened(raw: RawOpen) -> Result<Open, Fault> {
    let path = value(raw.path, |text| match text.starts_with('/') && !text.contains('\0') {
        true => Ok(PathBuf::from(text)),
        false => Err(format!("\"{text}\" is not an absolute path; begin it with /")),
    })?;
    Ok(Open { name: value(raw.name, descriptor_name)?, path, access: raw.access })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::parse("root:x:0:0::/:\nweb:x:5:6::/:\n", "")
    }

    fn read(text: &str) -> Result<Unit, String> {
        parse(Path::new("/etc/aios/services/web.toml"), text, &users())
    }

    const LEAST: &str = "description = \"d\"\nexec = [\"/bin/true\"]\nuser = \"web\"\n";

    #[test]
    fn the_least_service_file_gets_careful_defaults() {
        let unit = read(LEAST).expect("is valid");
        assert_eq!((unit.name.as_str(), unit.user.uid, unit.kind), ("web", 5, Kind::Daemon));
        assert!(unit.sandbox.capabilities.is_empty());
        assert_eq!(unit.start_timeout, START_TIMEOUT);
    }

    #[test]
    fn a_mistake_is_named_with_file_line_and_cure() {
        let said = |more: &str| read(&format!("{LEAST}{more}")).expect_err("must be refused");
        let cases = [
            ("exce = 1", "web.toml:4: unknown field `exce`, expected one of"),
            ("ready = \"soon\"", "web.toml:4: unknown variant `soon`"),
            ("state_directory = \"/data/../etc\"", "web.toml:4: \"/data/../etc\" is not allowed here; write"),
            ("state_directory = \"/etc\"", "below /data/"),
            ("start_timeout = \"soon\"", "web.toml:4: \"soon\" is not a duration; write"),
            ("[resources]\nmemory_max = \"lots\"", "web.toml:5: \"lots\" is not a size; write"),
            ("[resources]\npids_max = 0", "web.toml:5: 0 is out of range; write a number from 1"),
            ("[sandbox]\ncapabilities = [\n\"CAP_KILL\",\n\"CAP_ALL\"]", "web.toml:7: \"CAP_ALL\" is not a"),
            (
                "[[socket]]\nname = \"a:b\"\nkind = \"stream\"\npath = \"/run/x\"",
                "web.toml:5: \"a:b\" is no name",
            ),
            ("[[socket]]\nname = \"a\"\nkind = \"tcp\"\npath = \"/run/x\"", "web.toml:6: a tcp socket needs"),
            ("[environment]\nLISTEN_FDS = \"1\"", "web.toml:5: LISTEN_FDS is set by init"),
            ("user = \"root\"", "web.toml:4: duplicate key"),
            ("start_timeout = \"a\\nb\"", "web.toml:4: \"a b\" is not a duration"),
            ("x = ", "web.toml:4: "),
        ];
        for (more, expected) in cases {
            let said = said(more);
            assert!(said.contains(expected), "{more}: {said}");
            assert!(!said.contains('\n'), "one sentence: {said}");
        }
        let said = read(&LEAST.replace("web", "nobody")).expect_err("no such user");
        assert!(said.contains("web.toml:3: there is no user \"nobody\""), "{said}");
        let said = read(&LEAST.replace("/bin/true", "true")).expect_err("relative");
        assert!(said.contains("web.toml:2: exec must begin with the absolute path"), "{said}");
    }

    #[test]
    fn a_file_whose_name_is_no_service_name_is_refused() {
        for name in ["/x/A.toml", "/x/a b.toml", "/x/init.toml", "/x/kernel.toml", "/x/.toml"] {
            assert!(parse(Path::new(name), LEAST, &users()).is_err(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = read(&text);
            let _ = read(&format!("{LEAST}{text}"));
        }
    }
}
