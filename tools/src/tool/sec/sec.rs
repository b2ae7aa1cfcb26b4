//! The checks of the security audit. Each looks at one thing, says what it saw, and what to do.

use crate::audit::NEW_CHAIN;
use crate::ctx::Ctx;
use crate::tool::net::listen::listeners;
use crate::tool::service;
use aios_abi::audit::{Entry, Outcome, Record};
use aios_abi::who::Person;
use procfs::process::Process;
use schemars::JsonSchema;
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files that a check looks at.
const MAX_FILES: usize = 50_000;
/// Names in one piece of evidence.
const MAX_NAMED: usize = 10;
/// Audit records that are looked back on.
const LOOK_BACK: u32 = 2_000;
/// What the appliance is meant to serve to the network: the console.
const SERVED: [u16; 1] = [443];
/// The service that is init's own program, with none of its capabilities.
const ROOT_SERVICE: &str = "log";

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Worth a look.
    Warn,
    /// Not as it should be.
    Fail,
    /// It could not be found out.
    Unknown,
}

/// One check.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Check {
    /// Short name.
    pub(crate) name: &'static str,
    /// What it came to.
    pub(crate) verdict: Verdict,
    /// What was seen.
    pub(crate) evidence: String,
    /// What to do about it; empty when there is nothing to do.
    pub(crate) advice: &'static str,
    /// How much it counts in the score.
    pub(crate) weight: u32,
}

impl Check {
    pub(crate) fn new(
        name: &'static str,
        weight: u32,
        verdict: Verdict,
        evidence: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        let advice = if verdict == Verdict::Pass { "" } else { advice };
        Self { name, verdict, evidence: evidence.into(), advice, weight }
    }
}

/// A check, which never fails: what cannot be found out is `Unknown`.
pub(crate) type Run = fn(&Ctx) -> Check;

/// All checks, in the order in which they are shown.
pub(crate) const CHECKS: [Run; 11] = [
    audit_chain,
    open_ports,
    root_services,
    key_files,
    world_writable,
    setuid_files,
    mounts,
    kernel_settings,
    certificate,
    claimed,
    refusals,
];

fn verdict(bad: bool, otherwise: Verdict) -> Verdict {
    if bad { otherwise } else { Verdict::Pass }
}

fn named(list: &[String]) -> String {
    let shown = list.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if list.len() > MAX_NAMED { format!("{shown} and {} more", list.len() - MAX_NAMED) } else { shown }
}

/// A number with what is counted and its verb: `1 socket is`, `3 sockets are`.
fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

fn audit_chain(ctx: &Ctx) -> Check {
    let given_up = match ctx.record(0) {
        Ok(Some(Record { entry: Entry::Opened { version, .. }, .. })) => {
            version.split_once(NEW_CHAIN).map(|(_, kept)| kept.to_owned())
        }
        _ => None,
    };
    let (verdict, evidence) = match ctx.verify() {
        Ok(_) if given_up.is_some() => (
            Verdict::Warn,
            format!("the chain before this one was damaged: {}", given_up.unwrap_or_default()),
        ),
        Ok(head) => {
            let records = usize::try_from(head.seq + 1).unwrap_or(usize::MAX);
            (Verdict::Pass, format!("{} whole and signed", counted(records, "record is", "records are")))
        }
        Err(error) => (Verdict::Fail, error.to_string()),
    };
    Check::new(
        "audit chain",
        20,
        verdict,
        evidence,
        "export the chain (aiosctl audit export), compare it with an older export, look for who had access (users.list)",
    )
}

fn open_ports(ctx: &Ctx) -> Check {
    let found = match listeners(ctx, None, true) {
        Ok(found) => found.listeners,
        Err(e) => return Check::new("open ports", 15, Verdict::Unknown, e.to_string(), ""),
    };
    let far = |port: u16| !SERVED.contains(&port);
    let strange: Vec<_> = found
        .iter()
        .filter(|l| !l.local_only && l.protocol == "tcp" && far(l.port))
        .map(|l| format!("{} on {}", l.processes.first().map_or("unknown", |o| &o.name), l.port))
        .collect();
    let evidence = if strange.is_empty() {
        let open = counted(found.len(), "socket is", "sockets are");
        format!("{open} open, none but the console's serves the network")
    } else {
        format!("reachable from the network: {}", named(&strange))
    };
    Check::new(
        "open ports",
        15,
        verdict(!strange.is_empty(), Verdict::Fail),
        evidence,
        "stop what need not be reachable: net.listen shows who it is, service.stop and service.disable end it",
    )
}

fn root_services(ctx: &Ctx) -> Check {
    const ADVICE: &str = "give each service a user of its own in its service file; service.security shows what else it could do without";
    let services = match service::shared::all(ctx) {
        Ok((services, _)) => services,
        Err(e) => return Check::new("services as root", 10, Verdict::Unknown, e.to_string(), ADVICE),
    };
    let rooted: Vec<_> = services
        .iter()
        .filter(|s| {
            let pid = s.pid.and_then(|pid| i32::try_from(pid).ok());
            pid.and_then(|pid| Process::new(pid).ok()?.uid().ok()) == Some(0)
        })
        .map(|s| s.name.clone())
        .collect();
    let (verdict, evidence) = as_root(&rooted, services.len());
    Check::new("services as root", 10, verdict, evidence, ADVICE)
}

/// What it means that these of so many services run as root.
fn as_root(rooted: &[String], services: usize) -> (Verdict, String) {
    let (needed, others): (Vec<_>, Vec<_>) = rooted.iter().partition(|name| *name == ROOT_SERVICE);
    let because = if needed.is_empty() { "" } else { "; log is a part of init, without its power" };
    let evidence = match rooted {
        [] => format!("none of {services} services runs as root"),
        rooted => format!("of {services} services run as root: {}{because}", named(rooted)),
    };
    (verdict(!others.is_empty(), Verdict::Warn), evidence)
}

/// Keys and passwords are for their owner alone.
fn key_files(ctx: &Ctx) -> Check {
    let mut open = Vec::new();
    let mut seen = 0;
    for place in
        ctx.policy.secret.iter().filter(|place| !place.starts_with("/proc") && !place.starts_with("/sys"))
    {
        walk(ctx, place, &mut |path, facts| {
            seen += 1;
            if facts.is_file() && facts.mode() & 0o077 != 0 && !is_closed_folder(path) {
                open.push(format!("{} ({:04o})", path.display(), facts.mode() & 0o7777));
            }
        });
    }
    open.sort();
    open.dedup();
    let evidence = if open.is_empty() {
        format!("{seen} files that hold secrets are closed to others")
    } else {
        format!("open to others: {}", named(&open))
    };
    Check::new(
        "key files",
        15,
        verdict(!open.is_empty(), Verdict::Fail),
        evidence,
        "they belong to a daemon, which makes them with mode 0600: find out who changed them (sec.integrity, fs.stat)",
    )
}

/// Whether the directory of a file lets nobody else in anyhow.
fn is_closed_folder(path: &Path) -> bool {
    let mode = path.parent().and_then(|p| std::fs::symlink_metadata(p).ok()).map(|m| m.mode());
    mode.is_some_and(|mode| mode & 0o077 == 0)
}

fn world_writable(ctx: &Ctx) -> Check {
    let mut open = Vec::new();
    let mut seen = 0;
    walk(ctx, Path::new("/data"), &mut |path, facts| {
        seen += 1;
        let sticky_folder = facts.is_dir() && facts.mode() & 0o1000 != 0;
        if !facts.is_symlink() && facts.mode() & 0o002 != 0 && !sticky_folder {
            open.push(path.display().to_string());
        }
    });
    let evidence = if open.is_empty() {
        format!("none of {seen} files in /data can be written by everyone")
    } else {
        format!("writable for everyone: {}", named(&open))
    };
    Check::new(
        "files writable for everyone",
        10,
        verdict(!open.is_empty(), Verdict::Fail),
        evidence,
        "sec.permissions_fix takes the right to write away from others",
    )
}

fn setuid_files(ctx: &Ctx) -> Check {
    let mut found = Vec::new();
    let mut seen = 0;
    for place in ["/usr", "/sbin", "/bin", "/data", "/tmp", "/run"] {
        walk(ctx, Path::new(place), &mut |path, facts| {
            seen += 1;
            if facts.is_file() && facts.mode() & 0o6000 != 0 && facts.mode() & 0o111 != 0 {
                found.push(path.display().to_string());
            }
        });
    }
    let evidence = if found.is_empty() {
        format!("none of {seen} files gives away its owner's rights")
    } else {
        format!("run with their owner's rights: {}", named(&found))
    };
    Check::new(
        "setuid programs",
        10,
        verdict(!found.is_empty(), Verdict::Fail),
        evidence,
        "the appliance needs none: sec.permissions shows them, sec.permissions_fix takes that right away",
    )
}

/// Everything below a directory, without following links, up to a bound.
fn walk(ctx: &Ctx, root: &Path, see: &mut dyn FnMut(&Path, &std::fs::Metadata)) {
    let Ok(facts) = std::fs::symlink_metadata(root) else { return };
    let device = facts.dev();
    let mut seen = 0;
    let mut open: Vec<PathBuf> = Vec::new();
    if facts.is_dir() {
        open.push(root.into());
    } else {
        see(root, &facts);
    }
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(facts) = entry.metadata() else { continue };
            seen += 1;
            if seen > MAX_FILES || ctx.check().is_err() {
                return;
            }
            see(&entry.path(), &facts);
            if facts.is_dir() && facts.dev() == device {
                open.push(entry.path());
            }
        }
    }
}

fn mounts(_ctx: &Ctx) -> Check {
    const ADVICE: &str = "mount the root read-only, and /data and /tmp with nosuid and nodev";
    let Ok(mounts) = Process::myself().and_then(|p| p.mountinfo()) else {
        return Check::new("mounts", 5, Verdict::Unknown, "/proc/self/mountinfo cannot be read", ADVICE);
    };
    let has = |point: &str, option: &str| {
        mounts
            .0
            .iter()
            .rev()
            .find(|m| m.mount_point == Path::new(point))
            .map(|m| m.mount_options.contains_key(option))
    };
    let mut wrong = Vec::new();
    for (point, option) in
        [("/", "ro"), ("/data", "nosuid"), ("/data", "nodev"), ("/tmp", "nosuid"), ("/tmp", "nodev")]
    {
        if has(point, option) == Some(false) {
            wrong.push(format!("{point} without {option}"));
        }
    }
    let evidence = if wrong.is_empty() {
        "the root is read-only, nothing else gives rights".into()
    } else {
        named(&wrong)
    };
    Check::new("mounts", 5, verdict(!wrong.is_empty(), Verdict::Warn), evidence, ADVICE)
}

/// Settings that keep one process from learning about another or about the kernel
/// (Documentation/admin-guide/sysctl/kernel.rst).
fn kernel_settings(_ctx: &Ctx) -> Check {
    const WANTED: [(&str, u32); 5] = [
        ("kernel/kptr_restrict", 1),
        ("kernel/dmesg_restrict", 1),
        ("kernel/randomize_va_space", 2),
        ("fs/protected_symlinks", 1),
        ("fs/protected_hardlinks", 1),
    ];
    let mut weak = Vec::new();
    let mut known = 0;
    for (name, least) in WANTED {
        let value = std::fs::read_to_string(format!("/proc/sys/{name}")).ok();
        let Some(value) = value.and_then(|text| text.trim().parse::<u32>().ok()) else { continue };
        known += 1;
        if value < least {
            weak.push(format!("{} is {value}, should be {least}", name.replace('/', ".")));
        }
    }
    let evidence = if weak.is_empty() {
        format!("{known} settings are as strict as they should be")
    } else {
        named(&weak)
    };
    let found = if known == 0 { Verdict::Unknown } else { verdict(!weak.is_empty(), Verdict::Warn) };
    Check::new("kernel settings", 5, found, evidence, "set them when init starts")
}

/// The certificate by which people know the machine.
fn certificate(ctx: &Ctx) -> Check {
    let found = super::certificates::of_console(ctx, jiff::Timestamp::now().as_second());
    let (verdict, evidence) = match found {
        Err(error) => (Verdict::Unknown, error.to_string()),
        Ok(found) => match found.problem {
            Some(problem) => (Verdict::Warn, problem),
            None => (Verdict::Pass, format!("{} with {} days left", found.key, found.days_left)),
        },
    };
    Check::new("certificate", 5, verdict, evidence, "sec.certificate_rotate makes a new one")
}

/// A person who acted through the console has logged in there, so somebody owns the machine.
fn claimed(ctx: &Ctx) -> Check {
    let people = people(ctx);
    let (verdict, evidence) = match people.last() {
        Some(last) => {
            (Verdict::Pass, format!("people who acted lately: {}; the last was {last}", named(&people)))
        }
        None => (Verdict::Warn, "nobody has acted through the console yet".into()),
    };
    Check::new("claimed", 5, verdict, evidence, "claim the console (aiosctl claim), so that nobody else does")
}

/// Names of those who acted lately, the last one last, each once.
fn people(ctx: &Ctx) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for call in recent(ctx).into_iter().filter_map(|entry| match entry {
        Entry::Call { call, .. } | Entry::Begin { call, .. } | Entry::Undone { call, .. } => Some(call),
        Entry::Opened { .. } | Entry::End { .. } => None,
    }) {
        if let Some(Person { name, .. }) = call.person {
            names.retain(|known| *known != name);
            names.push(name);
        }
    }
    names
}

fn recent(ctx: &Ctx) -> Vec<Entry> {
    let Ok((_, head)) = ctx.records(u64::MAX, 0) else { return Vec::new() };
    let from = (head.seq + 1).saturating_sub(LOOK_BACK.into());
    let page = ctx.records(from, LOOK_BACK);
    page.map(|(records, _)| records.into_iter().map(|record| record.entry).collect()).unwrap_or_default()
}

fn refusals(ctx: &Ctx) -> Check {
    let recent = recent(ctx);
    let refused: Vec<_> = recent
        .iter()
        .filter_map(|entry| match entry {
            Entry::Call { call, outcome: Outcome::Denied { .. } } => {
                Some(format!("{} by {}", call.tool, call.by))
            }
            _ => None,
        })
        .collect();
    let many = refused.len() > 20;
    let mut kinds = refused.clone();
    kinds.sort();
    kinds.dedup();
    let evidence = match refused.len() {
        0 => format!("nothing was refused in the last {} records", recent.len()),
        n => {
            let calls = counted(n, "call was", "calls were");
            format!("{calls} refused in the last {} records: {}", recent.len(), named(&kinds))
        }
    };
    Check::new(
        "refused calls",
        5,
        verdict(many, Verdict::Warn),
        evidence,
        "read the audit chain: somebody tries what they may not do; users.modify disables an account, policy.test explains a refusal",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_told_like_many() {
        assert_eq!(counted(1, "socket is", "sockets are"), "1 socket is");
        assert_eq!(counted(0, "socket is", "sockets are"), "0 sockets are");
    }

    #[test]
    fn all_services_that_run_as_root_are_named_and_only_the_needless_ones_count() {
        let of = |names: &[&str]| as_root(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), 6);
        let because = "log is a part of init, without its power";
        assert_eq!(of(&["log"]), (Verdict::Pass, format!("of 6 services run as root: log; {because}")));
        assert_eq!(
            of(&["log", "web"]),
            (Verdict::Warn, format!("of 6 services run as root: log, web; {because}"))
        );
        assert_eq!(of(&[]), (Verdict::Pass, "none of 6 services runs as root".into()));
    }
}
