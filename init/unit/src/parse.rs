//! From the text of a service file to a [`Unit`], or to one sentence that names file, line and cure.

use super::command::commands;
use super::raw::{Raw, RawOpen, RawReady, RawResources, RawSandbox, RawSocket, RawTimer, SocketKind};
use super::values::{Users, capability, duration, mode, percent, signal, size};
use super::{Account, Family, Kind, Open, Place, Readiness, Resources, Sandbox, Socket, Start, Timer, Unit};
use rustix::thread::CapabilitySet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Services that say nothing else have this long to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Services that say nothing else have this long to end after their stop signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Sockets and opened files of one service; more is a mistake.
pub const MAX_DESCRIPTORS: usize = 32;
/// A watchdog that bites sooner would kill healthy services on a busy machine.
const LEAST_WATCHDOG: Duration = Duration::from_secs(1);
/// Users of extension images have these numbers, which nobody on the machine has; their names stand in the image.
pub const IMAGES_USERS: std::ops::RangeInclusive<u32> = 2_000..=59_999;
/// Instances of one template.
const MAX_INSTANCES: usize = 4096;

/// A place in the text and what is wrong there.
pub(super) type Fault = (usize, String);

/// Check the text of a service file. `file` is its path, as people know it. The error is one sentence.
pub fn parse(file: &Path, text: &str, users: &Users) -> Result<Unit, String> {
    let name = name_of(file, false).map_err(|what| format!("{}: {what}", file.display()))?;
    let (raw, sentence) = read::<Raw>(file, text)?;
    if let Some(instance) = raw.instances.first() {
        let what = "instances are for templates; name the file NAME@.toml or remove this key";
        return Err(sentence((instance.span().start, what.to_owned())));
    }
    check(name, raw, users).map_err(sentence)
}

/// The instances that a template asks for. `file` is `NAME@.toml`.
pub fn instances(file: &Path, text: &str) -> Result<Vec<String>, String> {
    name_of(file, true).map_err(|what| format!("{}: {what}", file.display()))?;
    let (raw, sentence) = read::<Raw>(file, text)?;
    let count = raw.instances.len();
    if let Some(last) = raw.instances.last().filter(|_| count > MAX_INSTANCES) {
        return Err(sentence((
            last.span().start,
            format!("{count} instances are more than {MAX_INSTANCES}"),
        )));
    }
    raw.instances
        .into_iter()
        .map(|name| value(name, instance_name))
        .collect::<Result<_, _>>()
        .map_err(sentence)
}

/// Check the text of a template for one of its instances.
pub fn parse_instance(file: &Path, text: &str, instance: &str, users: &Users) -> Result<Unit, String> {
    let place = file.display();
    let name = name_of(file, true).map_err(|what| format!("{place}: {what}"))?;
    instance_name(instance).map_err(|what| format!("{place}: {what}"))?;
    // An instance's name holds no line end and no quote, so places in the text stay right.
    let text = text.replace("{instance}", instance);
    let (raw, sentence) = read::<Raw>(file, &text)?;
    check(format!("{name}@{instance}"), raw, users).map_err(sentence)
}

/// The limits that a text gives: keys of `[resources]` without the heading.
pub(super) fn limits(file: &Path, text: &str) -> Result<Resources, String> {
    let (raw, sentence) = read::<RawResources>(file, text)?;
    resources(raw).map_err(sentence)
}

fn read<'a, T: serde::de::DeserializeOwned>(
    file: &'a Path,
    text: &'a str,
) -> Result<(T, impl Fn(Fault) -> String + use<'a, T>), String> {
    let sentence = move |(at, what): Fault| {
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        // What is quoted from the file must not begin a line of its own in the log.
        let what = what.replace(char::is_control, " ");
        format!("{}:{line}: {what}", file.display())
    };
    let raw: T = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let what = error.message().replace('\n', ", ");
        sentence((at, format!("{what}; correct this line")))
    })?;
    Ok((raw, sentence))
}

pub(super) fn plain(text: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !text.is_empty() && text.len() <= 48 && text.chars().all(good)
}

/// The service's name: the file's name without `.toml`, of a template without `@`.
fn name_of(file: &Path, template: bool) -> Result<String, String> {
    let name = file.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
    let name = if template { name.strip_suffix('@').unwrap_or_default() } else { name };
    if !plain(name) {
        return Err("the name of the file is no name for a service; use up to 48 of a-z, 0-9, - and _".into());
    }
    if name == "init" || name == "kernel" {
        return Err(format!("\"{name}\" is the name of a log already; name the file otherwise"));
    }
    Ok(name.to_owned())
}

fn instance_name(text: &str) -> Result<String, String> {
    match plain(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("\"{text}\" is no name for an instance; use up to 48 of a-z, 0-9, - and _")),
    }
}

/// What a service refers to: a service, or an instance of a template.
fn service_name(text: &str) -> Result<String, String> {
    let good = match text.split_once('@') {
        Some((template, instance)) => plain(template) && plain(instance),
        None => plain(text),
    };
    match good {
        true => Ok(text.to_owned()),
        false => Err(format!("\"{text}\" is no name of a service; use a-z, 0-9, - and _")),
    }
}

fn check(name: String, raw: Raw, users: &Users) -> Result<Unit, Fault> {
    let milestone = raw.kind == Kind::Milestone;
    let exec = program(raw.exec, milestone)?;
    let sockets = raw.socket.into_iter().map(socket).collect::<Result<Vec<_>, _>>()?;
    let open = raw.open.into_iter().map(opened).collect::<Result<Vec<_>, _>>()?;
    let given = sockets.len() + open.len();
    if given > MAX_DESCRIPTORS {
        return Err((0, format!("more than {MAX_DESCRIPTORS} sockets and open files; remove some")));
    }
    let start = match &raw.start {
        Some(start) if *start.get_ref() == Start::Socket && sockets.is_empty() => {
            let what = "start = \"socket\" needs a [[socket]]; add one or start it otherwise";
            return Err((start.span().start, what.into()));
        }
        Some(start) => *start.get_ref(),
        None => Start::default(),
    };
    let ready = readiness(raw.ready, raw.ready_fd, given)?;
    let watchdog_at = raw.watchdog.as_ref().map_or(0, |w| w.span().start);
    let watchdog = optional(raw.watchdog, duration)?;
    if watchdog.is_some_and(|limit| limit < LEAST_WATCHDOG || ready != Readiness::Notify) {
        let what = "a watchdog needs ready = \"notify\" and at least 1s; write watchdog = \"30s\"";
        return Err((watchdog_at, what.into()));
    }
    let standby = match raw.standby {
        Some(standby) if *standby.get_ref() && raw.kind != Kind::Daemon => {
            let what = "a standby takes over from a daemon; remove standby or set kind to daemon";
            return Err((standby.span().start, what.into()));
        }
        standby => standby.is_some_and(Spanned::into_inner),
    };
    let root_at = raw.root_image.as_ref().map_or(0, |image| image.span().start);
    let root_image = optional(raw.root_image, |p| below(p, "/data/extensions/"))?;
    let sandbox = sandbox(raw.sandbox)?;
    if root_image.is_some() && (milestone || standby || sandbox.privileged) {
        let what =
            "an image of its own goes with no milestone, no standby and no privileged service; remove one";
        return Err((root_at, what.into()));
    }
    let user = match raw.user {
        Some(name) if root_image.is_some() => value(name, |name| images_user(name, users))?,
        Some(name) => value(name, |name| users.find(name))?,
        None if milestone => Account { name: "root".into(), uid: 0, gid: 0, groups: Vec::new() },
        None => {
            return Err((0, "user is missing; write user = \"NAME\" with a name from /etc/passwd".into()));
        }
    };
    let commands = commands(raw.commands, milestone)?;
    Ok(Unit {
        name,
        description: raw.description,
        exec,
        user,
        root_image,
        kind: raw.kind,
        start,
        ready,
        after: names(raw.after)?,
        requires: names(raw.requires)?,
        wants: names(raw.wants)?,
        start_timeout: optional(raw.start_timeout, duration)?.unwrap_or(START_TIMEOUT),
        stop_timeout: optional(raw.stop_timeout, duration)?.unwrap_or(STOP_TIMEOUT),
        stop_signal: optional(raw.stop_signal, signal)?.unwrap_or(15),
        reload_signal: optional(raw.reload_signal, signal)?,
        watchdog,
        standby,
        timer: timer(raw.timer, raw.kind)?,
        state_directory: optional(raw.state_directory, |p| below(p, "/data/"))?,
        runtime_directory: optional(raw.runtime_directory, |p| below(p, "/run/"))?,
        working_directory: optional(raw.working_directory, absolute)?,
        devices: each(raw.devices, |p| below(p, "/dev/"))?,
        environment: raw.environment.into_iter().map(variable).collect::<Result<_, _>>()?,
        sockets,
        open,
        resources: resources(raw.resources)?,
        sandbox,
        commands,
    })
}

/// A user of an image has a number, which nobody on the machine has.
fn images_user(name: &str, users: &Users) -> Result<Account, String> {
    if !name.starts_with(|c: char| c.is_ascii_digit()) {
        return users.find(name);
    }
    let number = name.parse().ok().filter(|number| IMAGES_USERS.contains(number));
    let cure = || format!("\"{name}\" is no user of an image; write a number from 2000 to 59999");
    number.map(|uid| Account { name: name.into(), uid, gid: uid, groups: Vec::new() }).ok_or_else(cure)
}

fn program(exec: Option<Spanned<Vec<String>>>, milestone: bool) -> Result<Vec<String>, Fault> {
    let Some(exec) = exec else {
        return match milestone {
            true => Ok(Vec::new()),
            false => Err((0, "exec is missing; write exec = [\"/path/of/program\"]".into())),
        };
    };
    if milestone {
        let at = exec.span().start;
        return Err((at, "a milestone has no program; remove exec or set kind to daemon or oneshot".into()));
    }
    words(exec)
}

/// The words of a program.
pub(super) fn words(exec: Spanned<Vec<String>>) -> Result<Vec<String>, Fault> {
    let at = exec.span().start;
    let exec = exec.into_inner();
    if !exec.first().is_some_and(|program| program.starts_with('/')) {
        let what = "exec must begin with the absolute path of a program, as in [\"/usr/bin/aios-toold\"]";
        return Err((at, what.into()));
    }
    if exec.iter().any(|word| word.contains('\0')) {
        return Err((at, "exec holds a NUL character; remove it".into()));
    }
    Ok(exec)
}

fn readiness(
    ready: Option<Spanned<RawReady>>,
    fd: Option<Spanned<u32>>,
    given: usize,
) -> Result<Readiness, Fault> {
    let (at, ready) = match ready {
        Some(ready) => (ready.span().start, ready.into_inner()),
        None => (0, RawReady::Started),
    };
    match (ready, fd) {
        (RawReady::Started, None) => Ok(Readiness::Started),
        (RawReady::Notify, None) => Ok(Readiness::Notify),
        (RawReady::Fd, Some(fd)) => {
            let least = u32::try_from(3 + given).unwrap_or(u32::MAX);
            Ok(Readiness::Descriptor(within(fd, least, 255)?))
        }
        (RawReady::Fd, None) => {
            Err((at, "ready = \"fd\" needs the number of the descriptor; add ready_fd = 3".into()))
        }
        (_, Some(fd)) => {
            Err((fd.span().start, "ready_fd needs ready = \"fd\"; add that or remove this".into()))
        }
    }
}

fn timer(raw: Option<Spanned<RawTimer>>, kind: Kind) -> Result<Option<Timer>, Fault> {
    let Some(raw) = raw else { return Ok(None) };
    let at = raw.span().start;
    if kind != Kind::Oneshot {
        return Err((at, "a timer runs a oneshot; set kind = \"oneshot\" or remove [timer]".into()));
    }
    let raw = raw.into_inner();
    let catch_up_at = raw.catch_up.as_ref().map_or(0, |c| c.span().start);
    let catch_up = raw.catch_up.is_some_and(Spanned::into_inner);
    let timer = Timer {
        after_boot: optional(raw.after_boot, duration)?,
        every: optional(raw.every, duration)?,
        at: optional(raw.at, str::parse)?,
        jitter: optional(raw.jitter, duration)?.unwrap_or(Duration::ZERO),
        catch_up,
    };
    if timer.after_boot.is_none() && timer.every.is_none() && timer.at.is_none() {
        return Err((at, "the timer never runs; add after_boot, every or at".into()));
    }
    if catch_up && timer.at.is_none() {
        return Err((catch_up_at, "catch_up is for at; add at or remove this".into()));
    }
    Ok(Some(timer))
}

fn resources(raw: RawResources) -> Result<Resources, Fault> {
    let number = |value: Option<Spanned<u32>>, least, most| value.map(|n| within(n, least, most)).transpose();
    Ok(Resources {
        memory_min: optional(raw.memory_min, size)?,
        memory_high: optional(raw.memory_high, size)?,
        memory_max: optional(raw.memory_max, size)?,
        swap_max: optional(raw.swap_max, size)?,
        pids_max: number(raw.pids_max, 1, 1 << 22)?,
        cpu_weight: number(raw.cpu_weight, 1, 10_000)?,
        cpu_max: optional(raw.cpu_max, percent)?,
        io_weight: number(raw.io_weight, 1, 10_000)?,
        io_read_max: optional(raw.io_read_max, size)?,
        io_write_max: optional(raw.io_write_max, size)?,
        open_files: number(raw.open_files, 16, 1 << 20)?,
        oom_score: raw.oom_score.map(|n| within(n, -1000, 1000)).transpose()?.unwrap_or(0),
        nice: raw.nice.map(|n| within(n, -20, 19)).transpose()?.unwrap_or(0),
        delegate: raw.delegate.unwrap_or(false),
    })
}

fn sandbox(raw: RawSandbox) -> Result<Sandbox, Fault> {
    if let Some(privileged) = raw.privileged.as_ref().filter(|privileged| *privileged.get_ref()) {
        return match raw.says_more() {
            None => Ok(Sandbox::none()),
            Some(key) => {
                let what = format!("a privileged service has everything; remove {key}, or privileged");
                Err((privileged.span().start, what))
            }
        };
    }
    let standard = Sandbox::default();
    let network = raw.network.unwrap_or(standard.network);
    let families = raw.families.unwrap_or(match network {
        true => standard.families,
        false => vec![Family::Unix],
    });
    let private_tmp = raw.private_tmp.unwrap_or(standard.private_tmp);
    if let Some(scratch) = raw.scratch.as_ref().filter(|_| !private_tmp) {
        let what = "where programs can be executed is nobody else's; remove scratch, or private_tmp";
        return Err((scratch.span().start, what.into()));
    }
    let capabilities = raw
        .capabilities
        .into_iter()
        .try_fold(CapabilitySet::empty(), |set, text| Ok(set | value(text, capability)?))?;
    Ok(Sandbox {
        capabilities,
        network,
        families,
        read: each(raw.read, absolute)?,
        write: each(raw.write, absolute)?,
        private_tmp,
        scratch: optional(raw.scratch, size)?,
        mounts: optional(raw.mounts, absolute)?,
        sees_processes: raw.sees_processes.unwrap_or(standard.sees_processes),
        syscalls: raw.syscalls,
        write_execute: raw.write_execute.unwrap_or(standard.write_execute),
        privileged: false,
    })
}

fn value<T>(text: Spanned<String>, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Fault> {
    read(text.get_ref()).map_err(|what| (text.span().start, what))
}

pub(super) fn optional<T>(
    text: Option<Spanned<String>>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Fault> {
    text.map(|text| value(text, read)).transpose()
}

fn each<T>(list: Vec<Spanned<String>>, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Fault> {
    list.into_iter().map(|text| value(text, &read)).collect()
}

fn names(list: Vec<Spanned<String>>) -> Result<Vec<String>, Fault> {
    each(list, service_name)
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(
    number: Spanned<N>,
    least: N,
    most: N,
) -> Result<N, Fault> {
    let n = *number.get_ref();
    if (least..=most).contains(&n) {
        return Ok(n);
    }
    Err((number.span().start, format!("{n} is out of range; write a number from {least} to {most}")))
}

fn clean(rest: &str) -> bool {
    !rest.contains('\0') && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// An absolute path below a directory, without a way out of it.
fn below(text: &str, directory: &str) -> Result<PathBuf, String> {
    match text.strip_prefix(directory).filter(|rest| clean(rest)) {
        Some(_) => Ok(PathBuf::from(text)),
        None => Err(format!(
            "\"{text}\" is not allowed here; write a path below {directory} without \"..\" or \"//\""
        )),
    }
}

/// An absolute path in its shortest form.
fn absolute(text: &str) -> Result<PathBuf, String> {
    match text == "/" || text.strip_prefix('/').is_some_and(clean) {
        true => Ok(PathBuf::from(text)),
        false => {
            Err(format!("\"{text}\" is not an absolute path; begin it with / and write no \"..\" or \"//\""))
        }
    }
}

fn variable((name, value): (Spanned<String>, String)) -> Result<(String, String), Fault> {
    let at = name.span().start;
    let name = name.into_inner();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) || value.contains('\0') {
        return Err((at, format!("\"{name}\" cannot be an environment variable; use letters, digits and _")));
    }
    if name.starts_with("LISTEN_") || name == "NOTIFY_SOCKET" || name.starts_with("WATCHDOG_") {
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
        (SocketKind::Udp, None, Some(address)) => Place::Udp(address),
        (SocketKind::Tcp | SocketKind::Udp, ..) => {
            return Err((at, "a tcp or udp socket needs listen = \"ADDRESS:PORT\" and has no path".into()));
        }
        (SocketKind::Seqpacket, Some(path), None) => Place::Seqpacket(path),
        (SocketKind::Stream, Some(path), None) => Place::Stream(path),
        (SocketKind::Dgram, Some(path), None) => Place::Datagram(path),
        _ => return Err((at, "a Unix socket needs path = \"/run/…\" and has no listen".into())),
    };
    Ok(Socket { name, place, mode })
}

fn opened(raw: RawOpen) -> Result<Open, Fault> {
    Ok(Open { path: value(raw.path, absolute)?, name: value(raw.name, descriptor_name)?, access: raw.access })
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
            ("kind = \"oneshot\"\nstandby = true", "web.toml:5: a standby takes over from a daemon; remove"),
            ("start_timeout = \"soon\"", "web.toml:4: \"soon\" is not a duration; write"),
            ("[resources]\nmemory_max = \"lots\"", "web.toml:5: \"lots\" is not a size; write"),
            ("[resources]\npids_max = 0", "web.toml:5: 0 is out of range; write a number from 1"),
            ("[sandbox]\ncapabilities = [\n\"CAP_KILL\",\n\"CAP_ALL\"]", "web.toml:7: \"CAP_ALL\" is not a"),
            (
                "[[socket]]\nname = \"a:b\"\nkind = \"stream\"\npath = \"/run/x\"",
                "web.toml:5: \"a:b\" is no name",
            ),
            (
                "[[socket]]\nname = \"a\"\nkind = \"tcp\"\npath = \"/run/x\"",
                "web.toml:6: a tcp or udp socket needs",
            ),
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
