//! The keys of a service file as they are written; [`super::parse`] checks their values.

use super::{Access, Arguments, Family, Kind, Start, SyscallGroup};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

// The names of these types are the reference's words for what is written there (SERVICE-FILES.md).

/// A number and `K`, `M` or `G`: powers of 1024 bytes. At least one byte.
pub(crate) type Size = Spanned<String>;
/// A number and `ms`, `s` or `m`. At least a millisecond, at most a day.
pub(crate) type TimeSpan = Spanned<String>;
/// A name as in signal(7), such as `SIGTERM`.
pub(crate) type Signal = Spanned<String>;
/// A number and `%`, of one processor: `200%` are two.
pub(crate) type Percent = Spanned<String>;
/// Octal digits, such as `0660`.
pub(crate) type FileMode = Spanned<String>;
/// A line as in crontab(5), in UTC: minute hour day month weekday.
pub(crate) type Cron = Spanned<String>;
/// An IP address and a port: `127.0.0.1:80`, or `[::]:443` for all addresses, those of IPv4 as well.
pub(crate) type Address = Spanned<String>;
/// An absolute path without `..` and `//`.
pub(crate) type FilePath = Spanned<String>;
/// Up to 64 letters, digits, `-`, `_` and `.`.
pub(crate) type Name = Spanned<String>;
/// The name of a service, or `TEMPLATE@INSTANCE`.
pub(crate) type ServiceName = Spanned<String>;
/// A name as in capabilities(7), such as `CAP_KILL`.
pub(crate) type Capability = Spanned<String>;

/// One service, one file: `/etc/aios/services/NAME.toml` or `/data/config/services/NAME.toml`; of two
/// with one name the second counts. A file `NAME@.toml` is a template: each of its instances is a service
/// `NAME@INSTANCE`, and `{instance}` in the text stands for the instance.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    /// One line for people.
    ///
    /// Example: `description = "Answers web requests"`.
    pub(crate) description: String,
    /// Program (absolute path) and arguments; there is no shell. Every kind but a milestone needs it.
    ///
    /// Example: `exec = ["/usr/bin/web", "--port", "80"]`.
    pub(crate) exec: Option<Spanned<Vec<String>>>,
    /// Whom it runs as, from `/etc/passwd`, with its groups. Every kind but a milestone needs it. With a
    /// `root_image`, whose users have numbers of their own, it can be a number from 2000 to 59999.
    ///
    /// Example: `user = "aios-console"`.
    pub(crate) user: Option<Spanned<String>>,
    /// A signed extension image below `/data/extensions/` that is its root directory: it sees the programs and
    /// libraries of this image and none of the machine's. Of the machine it has `/proc`, `/sys`, device nodes without
    /// power, its own directories, and what `read` and `write` name below `/data`, `/run` and `/models`. The image is
    /// checked in full before each start (README.md, "Extension images").
    ///
    /// Example: `root_image = "/data/extensions/web.aiosx"`.
    pub(crate) root_image: Option<FilePath>,
    /// `daemon` is started again whenever it ends; `oneshot` has done its work when it exits with status 0;
    /// `milestone` has no process and is ready when those that it requires are ready and those that it
    /// comes after have settled.
    ///
    /// Example: `kind = "oneshot"`.
    #[serde(default)]
    pub(crate) kind: Kind,
    /// What starts it: the `boot`, the first connection or packet at one of its sockets (`socket`), or a
    /// person or another service (`manual`).
    ///
    /// Example: `start = "manual"`.
    pub(crate) start: Option<Spanned<Start>>,
    /// When a daemon counts as ready: when its program runs (`started`), when it sends `READY=1`
    /// (`notify`, sd_notify(3)), or when it writes a line to the descriptor `ready_fd` (`fd`).
    ///
    /// Example: `ready = "notify"`.
    pub(crate) ready: Option<Spanned<RawReady>>,
    /// The descriptor of `ready = "fd"`, behind those that the service is given (3 and following).
    ///
    /// Example: `ready_fd = 3` with `ready = "fd"`.
    pub(crate) ready_fd: Option<Spanned<u32>>,
    /// Starts when these have become ready or have failed; stops before them at power-off.
    ///
    /// Example: `after = ["netd"]`.
    #[serde(default)]
    pub(crate) after: Vec<ServiceName>,
    /// Starts only while these are ready; stops before them and comes back with them. Starts them with it.
    ///
    /// Example: `requires = ["database"]`.
    #[serde(default)]
    pub(crate) requires: Vec<ServiceName>,
    /// Starts these with it, and goes on without them.
    ///
    /// Example: `wants = ["metrics"]`.
    #[serde(default)]
    pub(crate) wants: Vec<ServiceName>,
    /// It is killed when it is not ready (a oneshot: not done) so long after its start.
    ///
    /// Example: `start_timeout = "2m"`.
    pub(crate) start_timeout: Option<TimeSpan>,
    /// It is killed when it has not ended so long after its stop signal.
    ///
    /// Example: `stop_timeout = "500ms"`.
    pub(crate) stop_timeout: Option<TimeSpan>,
    /// The signal that asks it to end (signal(7)).
    ///
    /// Example: `stop_signal = "SIGINT"`.
    pub(crate) stop_signal: Option<Signal>,
    /// The signal that makes it read its configuration again; without it, it cannot be reloaded.
    ///
    /// Example: `reload_signal = "SIGHUP"`.
    pub(crate) reload_signal: Option<Signal>,
    /// It is killed and started again when it has not sent `WATCHDOG=1` for so long; needs `ready = "notify"`.
    ///
    /// Example: `watchdog = "30s"` with `ready = "notify"`.
    pub(crate) watchdog: Option<TimeSpan>,
    /// A second process is kept that has executed the program and waits in front of its first instruction: when
    /// the first one dies, the second goes on at once. For daemons; what it costs is an idle process of the
    /// service. Asked to restart, the service gets a fresh process all the same; so does one whose program was
    /// replaced in the meantime.
    ///
    /// Example: `standby = true`.
    pub(crate) standby: Option<Spanned<bool>>,
    /// Of a template: its instances.
    ///
    /// Example: `instances = ["a", "b"]`.
    #[serde(default)]
    pub(crate) instances: Vec<Spanned<String>>,
    /// Below `/data/`; made for the user alone, mode 0700.
    ///
    /// Example: `state_directory = "/data/web"`.
    pub(crate) state_directory: Option<FilePath>,
    /// Below `/run/`; made for the user alone, mode 0700.
    ///
    /// Example: `runtime_directory = "/run/web"`.
    pub(crate) runtime_directory: Option<FilePath>,
    /// Where its program begins (chdir(2)); `/` when nothing is said.
    ///
    /// Example: `working_directory = "/data/web"`.
    pub(crate) working_directory: Option<FilePath>,
    /// Device nodes below `/dev/`; given to the user when they exist.
    ///
    /// Example: `devices = ["/dev/ttyS1"]`.
    #[serde(default)]
    pub(crate) devices: Vec<FilePath>,
    /// Variables; `PATH` may be another than `/usr/bin:/bin:/usr/sbin:/sbin`. Besides these it gets `USER NOTIFY_SOCKET LISTEN_* WATCHDOG_USEC STATE_DIRECTORY RUNTIME_DIRECTORY` alone.
    ///
    /// Example: `LANG = "C.UTF-8"`.
    #[serde(default)]
    pub(crate) environment: BTreeMap<Spanned<String>, String>,
    /// A socket that init opens and keeps over restarts; handed over as `LISTEN_FDS` (sd_listen_fds(3)).
    #[serde(default)]
    pub(crate) socket: Vec<RawSocket>,
    /// A file that init opens for the service; handed over with the sockets.
    #[serde(default)]
    pub(crate) open: Vec<RawOpen>,
    /// When a oneshot is run again.
    pub(crate) timer: Option<Spanned<RawTimer>>,
    /// A program that may be run beside the service on request, whether that runs or not: with the same image, user,
    /// sandbox, directories and limits, but without its sockets and opened files. Its output goes to the one who asked, its
    /// standard input is empty. Together with its name, up to 48 of a-z, 0-9, `-` and `_`, these are all programs that
    /// can be run. Those named `clear-cache`, `regenerate-env`, `switch-to-fallback` and `switch-back` repair the service: the
    /// tool `service.repair` asks for them, which needs the role operator where other commands need admin.
    #[serde(default)]
    pub(crate) commands: BTreeMap<Spanned<String>, RawCommand>,
    /// Limits of its cgroup (cgroup-v2.rst) and its processes.
    #[serde(default)]
    pub(crate) resources: RawResources,
    /// What it may do. Everything that is not said here is taken away.
    #[serde(default)]
    pub(crate) sandbox: RawSandbox,
}

/// When a daemon counts as ready.
#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawReady {
    /// Its program runs.
    Started,
    /// It sent `READY=1`.
    Notify,
    /// It wrote a line to a descriptor.
    Fd,
}

/// A socket of the service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSocket {
    /// What the service knows it by (`LISTEN_FDNAMES`).
    ///
    /// Example: `name = "https"` with `kind = "tcp"`, `listen = "[::]:443"`.
    pub(crate) name: Name,
    /// `seqpacket`, `stream` and `dgram` are Unix sockets and have a path; `tcp` and `udp` have an address.
    ///
    /// Example: `kind = "dgram"` with `path = "/run/web.sock"`.
    pub(crate) kind: Spanned<SocketKind>,
    /// Below `/run/`.
    ///
    /// Example: `path = "/run/web.sock"` with `kind = "stream"`.
    pub(crate) path: Option<FilePath>,
    /// Address and port; `[::]` takes IPv4 as well.
    ///
    /// Example: `listen = "[::]:443"` with `kind = "tcp"`.
    pub(crate) listen: Option<Address>,
    /// Permission bits of the socket's file, octal.
    ///
    /// Example: `mode = "0660"` with `kind = "seqpacket"`, `path = "/run/web.sock"`.
    pub(crate) mode: Option<FileMode>,
}

/// What kind of socket.
#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SocketKind {
    /// Unix, packets with a connection.
    Seqpacket,
    /// Unix, a stream.
    Stream,
    /// Unix, packets.
    Dgram,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A file that init opens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawOpen {
    /// What the service knows it by (`LISTEN_FDNAMES`).
    ///
    /// Example: `name = "tty"` with `path = "/dev/console"`.
    pub(crate) name: Name,
    /// What is opened.
    ///
    /// Example: `path = "/dev/console"` with `name = "tty"`.
    pub(crate) path: FilePath,
    /// What may be done through it.
    ///
    /// Example: `access = "read"` with `name = "rules"`, `path = "/data/rules"`.
    #[serde(default)]
    pub(crate) access: Access,
}

/// When a oneshot is run again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTimer {
    /// So long after the boot.
    ///
    /// Example: `after_boot = "5m"`.
    pub(crate) after_boot: Option<TimeSpan>,
    /// So long after its last run ended, again and again.
    ///
    /// Example: `every = "60m"`.
    pub(crate) every: Option<TimeSpan>,
    /// At the moments of this crontab(5) line, in UTC: minute hour day month weekday.
    ///
    /// Example: `at = "30 3 * * mon-fri"`.
    pub(crate) at: Option<Cron>,
    /// At most so much later, by chance: so that many machines do not do the same at once.
    ///
    /// Example: `jitter = "10m"` with `every = "60m"`.
    pub(crate) jitter: Option<TimeSpan>,
    /// Whether a moment of `at` that passed while the machine was off is made up for at boot.
    ///
    /// Example: `catch_up = true` with `at = "0 4 * * *"`.
    pub(crate) catch_up: Option<Spanned<bool>>,
}

/// A command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCommand {
    /// One line for people.
    ///
    /// Example: `description = "Checks the configuration"`.
    pub(crate) description: String,
    /// Program (absolute path) and arguments; there is no shell.
    ///
    /// Example: `exec = ["/usr/bin/web", "--check"]`.
    pub(crate) exec: Spanned<Vec<String>>,
    /// Whether who asks may add arguments: `any` are up to 64 with 32 KiB. What they can reach is up to the sandbox alone.
    ///
    /// Example: `arguments = "any"`.
    #[serde(default)]
    pub(crate) arguments: Arguments,
    /// Whether it may change something. `false` is a promise of the file's author: who may only look may run it then.
    ///
    /// Example: `changes = false`.
    pub(crate) changes: Option<bool>,
    /// It is killed, with all that it started, so long after its start.
    ///
    /// Example: `time_limit = "10m"`.
    pub(crate) time_limit: Option<TimeSpan>,
}

/// Limits.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawResources {
    /// Memory that is not taken from it when memory is short (`memory.min`).
    ///
    /// Example: `memory_min = "16M"`.
    pub(crate) memory_min: Option<Size>,
    /// Memory above which it is slowed down and has to give back (`memory.high`).
    ///
    /// Example: `memory_high = "200M"`.
    pub(crate) memory_high: Option<Size>,
    /// Memory that it cannot exceed; it is killed as a whole instead (`memory.max`).
    ///
    /// Example: `memory_max = "256M"`.
    pub(crate) memory_max: Option<Size>,
    /// Swap that it cannot exceed (`memory.swap.max`).
    ///
    /// Example: `swap_max = "64M"`.
    pub(crate) swap_max: Option<Size>,
    /// Processes and threads (`pids.max`).
    ///
    /// Example: `pids_max = 64`.
    pub(crate) pids_max: Option<Spanned<u32>>,
    /// Its share of the processors against the other services, who have 100 when they say nothing (`cpu.weight`).
    ///
    /// Example: `cpu_weight = 50`.
    pub(crate) cpu_weight: Option<Spanned<u32>>,
    /// Percent of one processor that it may use; `200%` are two (`cpu.max`).
    ///
    /// Example: `cpu_max = "150%"`.
    pub(crate) cpu_max: Option<Percent>,
    /// Its share of the disks against the other services, who have 100 when they say nothing (`io.weight`).
    ///
    /// Example: `io_weight = 50`.
    pub(crate) io_weight: Option<Spanned<u32>>,
    /// Bytes a second that it may read from the data disk (`io.max`).
    ///
    /// Example: `io_read_max = "20M"`.
    pub(crate) io_read_max: Option<Size>,
    /// Bytes a second that it may write to the data disk (`io.max`).
    ///
    /// Example: `io_write_max = "5M"`.
    pub(crate) io_write_max: Option<Size>,
    /// Open files of each of its processes (`RLIMIT_NOFILE`); 4096 when nothing is said.
    ///
    /// Example: `open_files = 1024`.
    pub(crate) open_files: Option<Spanned<u32>>,
    /// How readily the kernel ends it when memory runs out: -1000 (never) to 1000 (`oom_score_adj`).
    ///
    /// Example: `oom_score = 500`.
    pub(crate) oom_score: Option<Spanned<i32>>,
    /// Its priority: -20 (first) to 19 (last).
    ///
    /// Example: `nice = 10`.
    pub(crate) nice: Option<Spanned<i32>>,
    /// Whether its cgroup is its own to divide: it runs in the group `main` below it, and its user may make others beside that one, with limits of their own. What is said here still holds for all of them together (cgroup-v2.rst, "Delegation").
    ///
    /// Example: `delegate = true`.
    pub(crate) delegate: Option<bool>,
}

/// What the service may do.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSandbox {
    /// Capabilities that it keeps (capabilities(7)); all others are cut from its bounding set.
    ///
    /// Example: `capabilities = ["CAP_NET_ADMIN"]`.
    #[serde(default)]
    pub(crate) capabilities: Vec<Capability>,
    /// Whether it sees the machine's network; without, it has an empty one of its own.
    ///
    /// Example: `network = false`.
    pub(crate) network: Option<bool>,
    /// Families of sockets that it may make. Without the machine's network it is `unix` alone when nothing is said.
    ///
    /// Example: `families = ["unix", "netlink"]`.
    pub(crate) families: Option<Vec<Family>>,
    /// Paths that it may read and start programs from, besides `/usr /bin /sbin /lib /etc /proc /sys` and its own directories (Landlock).
    ///
    /// Example: `read = ["/models"]`.
    #[serde(default)]
    pub(crate) read: Vec<FilePath>,
    /// Paths that it may read and change, besides its own directories and its `/tmp` (Landlock).
    ///
    /// Example: `write = ["/data/shared"]`.
    #[serde(default)]
    pub(crate) write: Vec<FilePath>,
    /// Whether `/tmp` is empty and its own.
    ///
    /// Example: `private_tmp = false`.
    pub(crate) private_tmp: Option<bool>,
    /// Bytes of a larger `/tmp` of its own in which programs can be executed too: for one that compiles. It is in memory, which `memory_max` counts, and goes with the last process.
    ///
    /// Example: `scratch = "512M"`.
    pub(crate) scratch: Option<Spanned<String>>,
    /// Mount point of the machine below which everybody sees what it mounts, as if init had done so; device nodes are not barred then, for it mounts disks. It takes `CAP_SYS_ADMIN` and the system calls of `mount` as well.
    ///
    /// Example: `mounts = "/run"`.
    pub(crate) mounts: Option<Spanned<String>>,
    /// Whether it sees the processes of others in `/proc`.
    ///
    /// Example: `sees_processes = true`.
    pub(crate) sees_processes: Option<bool>,
    /// Groups of system calls besides the usual ones (seccomp(2)).
    ///
    /// Example: `syscalls = ["clock"]`.
    #[serde(default)]
    pub(crate) syscalls: Vec<SyscallGroup>,
    /// Whether its memory may be writable and executable at once: for programs that compile while they run.
    ///
    /// Example: `write_execute = true`.
    pub(crate) write_execute: Option<bool>,
    /// Nothing at all is taken away, as if init itself ran the program: for one that manages the machine, or whose work is to make sandboxes for others. No other key of this section goes with it. `no_new_privs` stays.
    ///
    /// Example: `privileged = true`.
    pub(crate) privileged: Option<Spanned<bool>>,
}

impl RawSandbox {
    /// A key that grants something on its own.
    pub(crate) fn says_more(&self) -> Option<&'static str> {
        let said = [
            ("capabilities", !self.capabilities.is_empty()),
            ("network", self.network.is_some()),
            ("families", self.families.is_some()),
            ("read", !self.read.is_empty()),
            ("write", !self.write.is_empty()),
            ("private_tmp", self.private_tmp.is_some()),
            ("scratch", self.scratch.is_some()),
            ("mounts", self.mounts.is_some()),
            ("sees_processes", self.sees_processes.is_some()),
            ("syscalls", !self.syscalls.is_empty()),
            ("write_execute", self.write_execute.is_some()),
        ];
        said.into_iter().find_map(|(key, said)| said.then_some(key))
    }
}
