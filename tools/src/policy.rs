//! What is allowed. Pure: it is asked, it answers, it touches nothing. Deny is the default.

use crate::caller::Caller;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What may be read and changed on this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policy {
    /// Files may be written below these directories and nowhere else.
    pub writable: Vec<PathBuf>,
    /// Nothing here may be read or written by a tool that takes a path: keys, passwords, the audit chain.
    pub secret: Vec<PathBuf>,
    /// May be read, but belongs to a daemon: nothing here may be written.
    pub kept: Vec<PathBuf>,
    /// Decides what runs here and how, so that only an administrator may write it.
    pub guarded: Vec<PathBuf>,
    /// The broker's own process.
    pub own_pid: u32,
}

/// What a call asks for, as far as authorisation goes.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// What is to be called, by name.
    pub tool: &'a str,
    /// The least role that the tool asks for.
    pub least: Role,
    /// What the tool does to the machine.
    pub effect: Effect,
    /// The reason given.
    pub why: &'a str,
    /// Nothing will be changed.
    pub dry_run: bool,
}

/// What a change is made to, after it was resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A file, by its real path.
    File(PathBuf),
    /// A process.
    Process {
        /// Its id.
        pid: u32,
        /// It is a thread of the kernel.
        kernel: bool,
        /// It would be halted until somebody lets it go on.
        halt: bool,
    },
    /// A service, by name.
    Service(String),
    /// All that is below a directory, by its real path.
    Below(PathBuf),
    /// The machine as a whole.
    Machine,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Process { pid, .. } => write!(f, "process {pid}"),
            Self::Service(name) => write!(f, "service {name}"),
            Self::Below(path) => write!(f, "all below {}", path.display()),
            Self::Machine => write!(f, "the machine"),
        }
    }
}

/// What is known of a file that is to be read.
#[derive(Debug, Clone, Copy)]
pub struct Readable<'a> {
    /// Its real path.
    pub path: &'a Path,
    /// Permission bits.
    pub mode: u32,
    /// The same file (by device and inode) has a second name among the secrets.
    pub alias_of_secret: bool,
}

/// Files of `/proc/PID` that hold neither memory nor environment nor a way into another namespace.
const PROC_PID: [&str; 10] =
    ["cgroup", "comm", "io", "limits", "mountinfo", "oom_score", "stat", "statm", "status", "wchan"];

/// Parts of `/proc` and `/sys` that hold secrets, block for ever or act when they are touched.
const KERNEL_SECRET: [&str; 9] = [
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kallsyms",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
];

impl Policy {
    /// The appliance's policy; `data` is the broker's own directory.
    pub fn appliance(data: &Path, own_pid: u32) -> Self {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        let mut secret = paths(&["/etc/shadow", "/etc/gshadow", "/data/random-seed"]);
        secret.extend(paths(&["/data/toold", "/data/console", "/data/agentd"]));
        secret.extend(paths(&KERNEL_SECRET));
        secret.push(data.into());
        Self {
            writable: paths(&["/data", "/tmp", "/run"]),
            secret,
            kept: paths(&[
                "/data/netd",
                // What is ordered there is done to the whole disk at the next start.
                "/data/init",
                "/data/log",
                "/data/lost+found",
                "/data/machine-id",
                "/run/aios",
                "/run/aios-netd",
            ]),
            // A service file says as whom a program runs.
            guarded: paths(&["/data/config", "/data/hostname"]),
            own_pid,
        }
    }

    /// Whether this caller may call this tool at all.
    pub fn may_call(&self, ask: &Ask<'_>) -> Result<(), CallError> {
        ask.caller.must_be(ask.least, ask.tool)?;
        let changes = ask.effect != Effect::Read && !ask.dry_run;
        if changes && ask.why.trim().is_empty() {
            return Err(CallError::denied(format!(
                "{} changes something, and a change needs a reason; give one in `why`",
                ask.tool
            )));
        }
        Ok(())
    }

    /// Whether this caller may change this.
    pub fn may_change(&self, caller: &Caller, target: &Target) -> Result<(), CallError> {
        match target {
            Target::File(path) => self.may_write(caller, path),
            Target::Process { pid: 1, .. } => {
                Err(CallError::denied("process 1 is init: the machine ends when it ends"))
            }
            Target::Process { pid, kernel: true, .. } => {
                Err(CallError::denied(format!("process {pid} is a thread of the kernel")))
            }
            // It may be ended, because init starts it again; halted it would only be silent.
            Target::Process { pid, halt: true, .. } if *pid == self.own_pid => Err(CallError::denied(
                format!("process {pid} is the tool broker itself: once halted, nobody could let it go on"),
            )),
            // The directory itself stays.
            Target::Below(path) => self.may_write(caller, &path.join("*")),
            Target::Process { .. } | Target::Service(_) | Target::Machine => Ok(()),
        }
    }

    fn may_write(&self, caller: &Caller, path: &Path) -> Result<(), CallError> {
        if let Some(place) = self.secret.iter().chain(&self.kept).find(|place| path.starts_with(place)) {
            return Err(CallError::denied(format!(
                "{} is not writable: {} belongs to the appliance itself",
                path.display(),
                place.display()
            )));
        }
        if self.guarded.iter().any(|place| path.starts_with(place)) {
            let what = format_args!("{} is configuration: to write it", path.display());
            caller.must_be(Role::Admin, what)?;
        }
        if self.writable.iter().any(|root| path.starts_with(root) && path != root) {
            return Ok(());
        }
        let roots: Vec<_> = self.writable.iter().map(|root| root.display().to_string()).collect();
        Err(CallError::denied(format!(
            "{} is not writable: files may be written only below {}",
            path.display(),
            roots.join(", ")
        )))
    }

    /// Whether the names below this directory may be seen, or a file's facts looked up.
    pub fn may_see(&self, path: &Path) -> Result<(), CallError> {
        if self.secret.iter().any(|place| path.starts_with(place)) {
            return Err(CallError::denied(format!("{} holds secrets", path.display())));
        }
        Ok(())
    }

    /// Whether this caller may read the content of this file.
    pub fn may_read(&self, caller: &Caller, file: &Readable<'_>) -> Result<(), CallError> {
        self.may_see(file.path)?;
        if file.alias_of_secret {
            return Err(CallError::denied(format!(
                "{} is another name of a file that holds secrets",
                file.path.display()
            )));
        }
        if let Some(rest) = of_a_process(file.path)
            && !PROC_PID.iter().any(|name| rest == Path::new(name))
        {
            return Err(CallError::denied(format!(
                "{} may hold a process's secrets; of /proc/PID only {} can be read",
                file.path.display(),
                PROC_PID.join(", ")
            )));
        }
        if file.mode & 0o004 != 0 {
            return Ok(());
        }
        let (path, mode) = (file.path.display(), file.mode & 0o7777);
        caller.must_be(
            Role::Admin,
            format_args!("{path} is not readable for everyone (mode {mode:04o}): to read it"),
        )
    }
}

/// What follows `/proc/PID/`, also below `task/TID`.
fn of_a_process(path: &Path) -> Option<&Path> {
    let rest = path.strip_prefix("/proc").ok()?;
    let pid = rest.components().next()?.as_os_str().to_str()?;
    if pid.is_empty() || !pid.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    rest.strip_prefix(pid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Effect::{Irreversible, Read, Reversible};
    use Role::{Admin, Approver, Operator, Viewer};

    fn policy() -> Policy {
        Policy::appliance(Path::new("/data/toold"), 77)
    }

    fn caller(role: Role) -> Caller {
        Caller { by: "test".into(), person: None, role }
    }

    #[test]
    fn role_effect_and_reason_decide_whether_a_tool_may_be_called() {
        let table = [
            // role, least, effect, why, dry run, allowed
            (Viewer, Viewer, Read, "", false, true),
            (Viewer, Operator, Read, "because", false, false),
            (Viewer, Operator, Reversible, "because", false, false),
            (Viewer, Operator, Reversible, "because", true, false),
            (Operator, Operator, Reversible, "because", false, true),
            (Operator, Operator, Reversible, "", false, false),
            (Operator, Operator, Reversible, "  \t", false, false),
            (Operator, Operator, Reversible, "", true, true),
            (Operator, Admin, Irreversible, "because", false, false),
            (Approver, Admin, Irreversible, "because", false, false),
            (Admin, Admin, Irreversible, "because", false, true),
            (Admin, Admin, Irreversible, "", false, false),
            (Operator, Operator, Irreversible, "because", false, true),
        ];
        for (role, least, effect, why, dry_run, allowed) in table {
            let ask = Ask { caller: &caller(role), tool: "a.b", least, effect, why, dry_run };
            assert_eq!(policy().may_call(&ask).is_ok(), allowed, "{ask:?}");
        }
    }

    #[test]
    fn only_unprotected_targets_may_be_changed() {
        let file = |path: &str| Target::File(path.into());
        let process = |pid, kernel, halt| Target::Process { pid, kernel, halt };
        let table = [
            (file("/data/notes.txt"), true),
            (file("/data/config/a.toml"), true),
            (file("/tmp/x"), true),
            (file("/run/x"), true),
            (file("/data"), false),
            (file("/tmp"), false),
            (file("/tmpx/file"), false),
            (file("/etc/passwd"), false),
            (file("/etc/shadow"), false),
            (file("/usr/bin/aios-toold"), false),
            (file("/proc/sys/kernel/panic"), false),
            (file("/sys/power/state"), false),
            (file("/data/toold/audit.redb"), false),
            (file("/data/console/users.redb"), false),
            (file("/data/agentd/x"), false),
            (file("/data/random-seed"), false),
            (file("/data/machine-id"), false),
            (file("/data/netd/lease"), false),
            (file("/run/aios/toold.sock"), false),
            (process(1, false, false), false),
            (process(2, true, false), false),
            (process(77, false, true), false),
            (process(77, false, false), true),
            (process(78, false, true), true),
            (Target::Service("toold".into()), true),
            (Target::Below("/tmp".into()), true),
            (Target::Below("/data/toold".into()), false),
            (Target::Below("/etc".into()), false),
            (Target::Machine, true),
        ];
        for (target, allowed) in table {
            assert_eq!(policy().may_change(&caller(Admin), &target).is_ok(), allowed, "{target}");
        }
    }

    #[test]
    fn configuration_is_written_by_an_administrator_alone() {
        for path in ["/data/config", "/data/config/services/x.toml", "/data/hostname"] {
            let target = Target::File(path.into());
            for role in [Viewer, Operator, Approver] {
                assert!(policy().may_change(&caller(role), &target).is_err(), "{path} by {role:?}");
            }
            assert!(policy().may_change(&caller(Admin), &target).is_ok(), "{path}");
        }
        let other = Target::File("/data/configuration".into());
        assert!(policy().may_change(&caller(Operator), &other).is_ok());
    }

    #[test]
    fn secrets_are_never_readable_and_private_files_only_for_an_admin() {
        let table = [
            ("/etc/os-release", 0o644, false, Viewer, true),
            ("/etc/shadow", 0o644, false, Admin, false),
            ("/data/toold/audit.key", 0o600, false, Admin, false),
            ("/data/console/users.redb", 0o644, false, Admin, false),
            ("/data/private", 0o600, false, Viewer, false),
            ("/data/private", 0o600, false, Operator, false),
            ("/data/private", 0o600, false, Admin, true),
            ("/tmp/innocent", 0o644, true, Admin, false),
            ("/proc/meminfo", 0o444, false, Viewer, true),
            ("/proc/1/environ", 0o400, false, Admin, false),
            ("/proc/1/mem", 0o600, false, Admin, false),
            ("/proc/12/task/12/environ", 0o444, false, Admin, false),
            ("/proc/12/root/etc/shadow", 0o444, false, Admin, false),
            ("/proc/1/status", 0o444, false, Viewer, true),
            ("/proc/kcore", 0o400, false, Admin, false),
            ("/sys/kernel/debug/x", 0o444, false, Admin, false),
        ];
        for (path, mode, alias_of_secret, role, allowed) in table {
            let file = Readable { path: Path::new(path), mode, alias_of_secret };
            assert_eq!(policy().may_read(&caller(role), &file).is_ok(), allowed, "{path} for {role:?}");
        }
    }
}
