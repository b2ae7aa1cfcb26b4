//! Service files: what a service is, as its author wrote it, checked.
//!
//! [`load`] reads the directories of a machine, [`parse`] one file. A file that is refused gets one
//! sentence with file, line and cure. Nothing here starts anything: PID 1 does, from a [`Unit`].

#![forbid(unsafe_code)]

mod calendar;
mod command;
mod exposure;
mod limits;
mod lint;
mod load;
mod parse;
mod raw;
#[cfg(test)]
mod reference;
mod values;

pub use calendar::Calendar;
pub use command::{Arguments, Command};
pub use exposure::{Exposure, Finding, exposure};
pub use limits::{LIMITS, limited};
pub use lint::{Linted, Remark, Weight, lint};
pub use load::{DISABLED, INDISPENSABLE, Loaded, load};
pub use parse::{IMAGES_USERS, MAX_DESCRIPTORS, instances, parse, parse_instance};
pub use values::{Users, capability, signal_name};

use rustix::thread::CapabilitySet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One service file, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file's name without `.toml`; of an instance `TEMPLATE@INSTANCE`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Program and arguments; never through a shell. Empty for a milestone.
    pub exec: Vec<String>,
    /// Whom it runs as.
    pub user: Account,
    /// The signed image that is its root directory.
    pub root_image: Option<PathBuf>,
    /// Whether it runs for ever, does one thing, or only stands for others.
    pub kind: Kind,
    /// What starts it.
    pub start: Start,
    /// When it counts as ready.
    pub ready: Readiness,
    /// Ordering: starts when these have become ready or have failed.
    pub after: Vec<String>,
    /// Hard: starts only while these are ready.
    pub requires: Vec<String>,
    /// Soft: these are started with it; it goes on without them.
    pub wants: Vec<String>,
    /// Longest time from the process to readiness.
    pub start_timeout: Duration,
    /// Longest time from the stop signal to the end of its last process.
    pub stop_timeout: Duration,
    /// What asks it to end (signal(7)).
    pub stop_signal: i32,
    /// What makes it read its configuration again.
    pub reload_signal: Option<i32>,
    /// It has to send `WATCHDOG=1` at least this often.
    pub watchdog: Option<Duration>,
    /// A second process waits, executed but not begun, to take over when the first one dies.
    pub standby: bool,
    /// When a oneshot is run again.
    pub timer: Option<Timer>,
    /// A directory below `/data/` of its own.
    pub state_directory: Option<PathBuf>,
    /// A directory below `/run/` of its own.
    pub runtime_directory: Option<PathBuf>,
    /// Where its program begins, if not at `/`.
    pub working_directory: Option<PathBuf>,
    /// Device nodes that are given to the user when they exist.
    pub devices: Vec<PathBuf>,
    /// Variables besides those that init sets.
    pub environment: Vec<(String, String)>,
    /// Sockets that init holds for it.
    pub sockets: Vec<Socket>,
    /// Files that init opens for it.
    pub open: Vec<Open>,
    /// Limits of its cgroup and its processes.
    pub resources: Resources,
    /// What is taken away from it.
    pub sandbox: Sandbox,
    /// What may be run beside it on request.
    pub commands: Vec<Command>,
}

/// Whether a service runs for ever or does one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Is started again whenever it ends.
    #[default]
    Daemon,
    /// Has done its work when it exits with status 0.
    Oneshot,
    /// Has no process: it is ready when those that it requires are, and those after them have settled.
    Milestone,
}

/// What starts a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The boot.
    #[default]
    Boot,
    /// The first connection or packet at one of its sockets.
    Socket,
    /// A person, or a service that requires or wants it.
    Manual,
}

/// When a daemon counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Readiness {
    /// As soon as its program runs.
    #[default]
    Started,
    /// When it sends `READY=1` (sd_notify(3)).
    Notify,
    /// When it writes a line to this descriptor, or closes it after that.
    Descriptor(u32),
}

/// When a oneshot runs again, besides at a person's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// So long after the boot.
    pub after_boot: Option<Duration>,
    /// So long after its last end.
    pub every: Option<Duration>,
    /// At these moments (UTC).
    pub at: Option<Calendar>,
    /// At most so much later, by chance.
    pub jitter: Duration,
    /// A moment of `at` that passed while the machine was off is made up for at boot.
    pub catch_up: bool,
}

/// A user as `/etc/passwd` and `/etc/group` have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A socket that exists before the service does and outlives each of its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// What the service knows it by (`LISTEN_FDNAMES`).
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Permission bits of a socket file.
    pub mode: u32,
}

/// Where a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Unix `SOCK_SEQPACKET`
    Seqpacket(PathBuf),
    /// Unix `SOCK_STREAM`
    Stream(PathBuf),
    /// Unix `SOCK_DGRAM`
    Datagram(PathBuf),
    /// TCP, listening.
    Tcp(SocketAddr),
    /// UDP, bound.
    Udp(SocketAddr),
}

/// A file that is opened for the service, which could not open it itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// What the service knows it by (`LISTEN_FDNAMES`).
    pub name: String,
    /// What is opened.
    pub path: PathBuf,
    /// For what.
    pub access: Access,
}

/// What may be done through an opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read it.
    Read,
    /// Write to it.
    Write,
    /// Both.
    #[default]
    ReadWrite,
}

/// Limits of the service's cgroup (cgroup-v2.rst) and of its processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes that are not reclaimed from it (`memory.min`).
    pub memory_min: Option<u64>,
    /// Bytes above which it is throttled and reclaimed (`memory.high`).
    pub memory_high: Option<u64>,
    /// Bytes that it may not exceed (`memory.max`).
    pub memory_max: Option<u64>,
    /// Bytes of swap that it may not exceed (`memory.swap.max`).
    pub swap_max: Option<u64>,
    /// Processes and threads (`pids.max`).
    pub pids_max: Option<u32>,
    /// Share of the processor against its siblings, 1 to 10000, usually 100 (`cpu.weight`).
    pub cpu_weight: Option<u32>,
    /// Percent of one processor that it may use, more than 100 for several (`cpu.max`).
    pub cpu_max: Option<u32>,
    /// Share of the disks against its siblings, 1 to 10000, usually 100 (`io.weight`).
    pub io_weight: Option<u32>,
    /// Bytes a second that it may read from the data disk (`io.max`).
    pub io_read_max: Option<u64>,
    /// Bytes a second that it may write to the data disk (`io.max`).
    pub io_write_max: Option<u64>,
    /// Open files of each process (`RLIMIT_NOFILE`).
    pub open_files: Option<u32>,
    /// How readily the kernel ends it when memory runs out, -1000 (never) to 1000 (`oom_score_adj`).
    pub oom_score: i32,
    /// Scheduling priority, -20 (first) to 19 (last).
    pub nice: i32,
    /// Its cgroup is its own to divide: it runs in `main` below it, and may make others beside that.
    pub delegate: bool,
}

/// What is taken away from the service. The default takes away all that can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// What of root's power it keeps; nothing by default.
    pub capabilities: CapabilitySet,
    /// Whether it lives in the machine's network, or in an empty one of its own.
    pub network: bool,
    /// Families of sockets that it may make.
    pub families: Vec<Family>,
    /// Files and directories that it may read and whose programs it may start, besides those that every
    /// service may.
    pub read: Vec<PathBuf>,
    /// Files and directories that it may also change, besides its own.
    pub write: Vec<PathBuf>,
    /// Whether `/tmp` is its own.
    pub private_tmp: bool,
    /// Bytes of a larger `/tmp` of its own, in which programs can be executed.
    pub scratch: Option<u64>,
    /// Mount point below which the whole machine sees what it mounts.
    pub mounts: Option<PathBuf>,
    /// Whether it sees the processes of others in `/proc`.
    pub sees_processes: bool,
    /// System calls that it may use besides those that every service may.
    pub syscalls: Vec<SyscallGroup>,
    /// Whether memory may be writable and executable: for programs that compile at run time.
    pub write_execute: bool,
    /// Nothing at all is taken away; the other fields grant everything then.
    pub privileged: bool,
}

impl Sandbox {
    /// Whether it can make sockets that reach other machines.
    pub fn reaches_others(&self) -> bool {
        self.network && self.families.iter().any(|family| matches!(family, Family::Inet | Family::Inet6))
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            capabilities: CapabilitySet::empty(),
            network: true,
            families: vec![Family::Unix, Family::Inet, Family::Inet6],
            read: Vec::new(),
            write: Vec::new(),
            private_tmp: true,
            scratch: None,
            mounts: None,
            sees_processes: false,
            syscalls: Vec::new(),
            write_execute: false,
            privileged: false,
        }
    }
}

impl Sandbox {
    /// That of a privileged service.
    pub fn none() -> Self {
        Self {
            capabilities: CapabilitySet::all(),
            network: true,
            families: Family::ALL.to_vec(),
            read: Vec::new(),
            write: vec![PathBuf::from("/")],
            private_tmp: false,
            scratch: None,
            mounts: None,
            sees_processes: true,
            syscalls: SyscallGroup::ALL.to_vec(),
            write_execute: true,
            privileged: true,
        }
    }
}

/// A family of sockets (address_families(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Local sockets.
    Unix,
    /// IPv4
    Inet,
    /// IPv6
    Inet6,
    /// The kernel's own: routes, links, events.
    Netlink,
    /// Raw frames of a link.
    Packet,
    /// Between a virtual machine and its host.
    Vsock,
}

impl Family {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Unix, Self::Inet, Self::Inet6, Self::Netlink, Self::Packet, Self::Vsock];
}

/// System calls that a service does not get unless it asks for them, in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyscallGroup {
    /// Setting the clock.
    Clock,
    /// Looking into other processes: ptrace, process_vm_readv, kcmp.
    Debug,
    /// Watching whole file systems: fanotify.
    Fanotify,
    /// Keys of the kernel.
    Keyring,
    /// Loading kernel modules.
    Module,
    /// Mounting and changing roots.
    Mount,
    /// Making namespaces and entering those of others.
    Namespaces,
    /// Changing owners of files and users of itself.
    Ownership,
    /// Programs for the kernel (bpf) and its performance counters.
    Perf,
    /// Restarting the machine and loading another kernel.
    Reboot,
    /// Priorities, affinities and real-time scheduling.
    Scheduling,
    /// Swap.
    Swap,
    /// io_uring.
    Uring,
}

impl SyscallGroup {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::Clock,
        Self::Debug,
        Self::Fanotify,
        Self::Keyring,
        Self::Module,
        Self::Mount,
        Self::Namespaces,
        Self::Ownership,
        Self::Perf,
        Self::Reboot,
        Self::Scheduling,
        Self::Swap,
        Self::Uring,
    ];
}
