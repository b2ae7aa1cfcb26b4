//! What no rule can allow, whoever asks: the parts of the file system. A worker holds itself to them, and its kernel's
//! sandbox is made of them; who may do what within them the judge decides ([`crate::judge`]).

use aios_abi::CallError;
use aios_policy::Area;
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
    /// The policy itself.
    Policy,
    /// What several changes were made to, each with its own.
    Several,
    /// An extension, by name: its image, its service files.
    Package(String),
    /// All that is below a directory, by its real path.
    Below(PathBuf),
    /// The machine as a whole.
    Machine,
    /// A part of the network's set-up, by name: an interface, a route, what is on trial.
    Network(String),
    /// A part of the firewall, by name: a rule, a ban.
    Firewall(String),
    /// A snapshot, by name.
    Backup(String),
    /// A model, by name.
    Model(String),
    /// An entry of the schedule, by name.
    Schedule(String),
    /// A person's account, by login name.
    Account(String),
    /// The logins of everybody, or what they know the machine by.
    Console,
    /// The baseline of files.
    Baseline,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Process { pid, .. } => write!(f, "process {pid}"),
            Self::Service(name) => write!(f, "service {name}"),
            Self::Policy => f.write_str("the policy"),
            Self::Several => f.write_str("several changes"),
            Self::Package(name) => write!(f, "package {name}"),
            Self::Below(path) => write!(f, "all below {}", path.display()),
            Self::Machine => write!(f, "the machine"),
            Self::Network(name) => write!(f, "network {name}"),
            Self::Firewall(name) => write!(f, "firewall {name}"),
            Self::Backup(name) => write!(f, "backup {name}"),
            Self::Model(name) => write!(f, "model {name}"),
            Self::Schedule(name) => write!(f, "schedule {name}"),
            Self::Account(name) => write!(f, "account {name}"),
            Self::Console => f.write_str("the console"),
            Self::Baseline => f.write_str("the baseline"),
        }
    }
}

/// What is known of a file that is to be read.
#[derive(Debug, Clone, Copy)]
pub struct Readable<'a> {
    /// Its real path.
    pub path: &'a Path,
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
        secret.extend(paths(&["/data/toold", "/data/console", "/data/agentd", "/data/netd/keys"]));
        secret.extend(paths(&KERNEL_SECRET));
        secret.push(data.into());
        Self {
            writable: paths(&["/data", "/tmp", "/run"]),
            secret,
            kept: paths(&[
                "/data/netd",
                // Programs are started from here; what comes here was signed.
                "/data/extensions",
                // What is here the engines load; what comes here was checked. Which of it is used, inferd keeps.
                aios_abi::paths::IMPORTED_MODELS,
                "/data/inferd",
                // What is ordered there is done to the whole disk at the next start.
                "/data/init",
                "/data/log",
                "/data/lost+found",
                "/data/machine-id",
                "/run/aios",
                "/run/aios-netd",
            ]),
            // A service file says as whom a program runs, and what a snapshot holds comes back from it.
            guarded: paths(&["/data/config", "/data/hostname", aios_abi::paths::BACKUP]),
            own_pid,
        }
    }

    /// In which part of the file system this real path lies.
    pub fn area(&self, path: &Path) -> Area {
        let below = |places: &[PathBuf]| places.iter().any(|place| path.starts_with(place));
        match path {
            _ if below(&self.secret) => Area::Secret,
            _ if below(&self.kept) => Area::Kept,
            _ if below(&self.guarded) => Area::Guarded,
            _ if self.writable.iter().any(|root| path.starts_with(root) && path != root) => Area::Open,
            _ => Area::Fixed,
        }
    }

    /// Whether a file may be written here by anybody: what no rule can allow. Who may, the judge decides.
    pub fn may_write(&self, path: &Path) -> Result<(), CallError> {
        if let Some(place) = self.secret.iter().chain(&self.kept).find(|place| path.starts_with(place)) {
            return Err(CallError::denied(format!(
                "{} is not writable: {} belongs to the appliance itself",
                path.display(),
                place.display()
            )));
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

    /// Whether the content of this file may be read by anybody: what no rule can allow.
    pub fn may_read(&self, file: &Readable<'_>) -> Result<(), CallError> {
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
        Ok(())
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

    fn policy() -> Policy {
        Policy::appliance(Path::new("/data/toold"), 77)
    }

    #[test]
    fn files_are_written_only_where_they_do_no_harm() {
        let table = [
            ("/data/notes.txt", Area::Open),
            ("/data/config/a.toml", Area::Guarded),
            ("/data/config", Area::Guarded),
            ("/data/hostname", Area::Guarded),
            ("/data/configuration", Area::Open),
            ("/tmp/x", Area::Open),
            ("/run/x", Area::Open),
            ("/data", Area::Fixed),
            ("/tmp", Area::Fixed),
            ("/tmpx/file", Area::Fixed),
            ("/etc/passwd", Area::Fixed),
            ("/etc/shadow", Area::Secret),
            ("/usr/bin/aios-toold", Area::Fixed),
            ("/proc/sys/kernel/panic", Area::Fixed),
            ("/sys/power/state", Area::Fixed),
            ("/data/toold/audit.redb", Area::Secret),
            ("/data/console/users.redb", Area::Secret),
            ("/data/agentd/x", Area::Secret),
            ("/data/random-seed", Area::Secret),
            ("/data/machine-id", Area::Kept),
            ("/data/netd/lease", Area::Kept),
            ("/data/models/tiny.gguf", Area::Kept),
            ("/data/inferd/models.json", Area::Kept),
            ("/data/upload/tiny.gguf", Area::Open),
            ("/run/aios/toold.sock", Area::Kept),
        ];
        for (path, area) in table {
            let path = Path::new(path);
            assert_eq!(policy().area(path), area, "{}", path.display());
            let written = matches!(area, Area::Open | Area::Guarded);
            assert_eq!(policy().may_write(path).is_ok(), written, "{}", path.display());
        }
    }

    #[test]
    fn secrets_are_never_readable() {
        let table = [
            ("/etc/os-release", false, true),
            ("/etc/shadow", false, false),
            ("/data/toold/audit.key", false, false),
            ("/data/console/users.redb", false, false),
            ("/data/private", false, true),
            ("/tmp/innocent", true, false),
            ("/proc/meminfo", false, true),
            ("/proc/1/environ", false, false),
            ("/proc/1/mem", false, false),
            ("/proc/12/task/12/environ", false, false),
            ("/proc/12/root/etc/shadow", false, false),
            ("/proc/1/status", false, true),
            ("/proc/kcore", false, false),
            ("/sys/kernel/debug/x", false, false),
        ];
        for (path, alias_of_secret, allowed) in table {
            let file = Readable { path: Path::new(path), alias_of_secret };
            assert_eq!(policy().may_read(&file).is_ok(), allowed, "{path}");
        }
    }
}
