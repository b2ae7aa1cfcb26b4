//! The keys of a service file as they are written; [`super::parse`] checks their values.

use super::{Access, Family, Kind, Start, SyscallGroup};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// One service, one file: `/etc/aios/services/NAME.toml` or `/data/config/services/NAME.toml`; of two
/// with one name the second counts. A file `NAME@.toml` is a template: each of its instances is a service
/// `NAME@INSTANCE`, and `{instance}` in the text stands for the instance.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    /// One line for people.
    pub(crate) description: String,
    /// Program (absolute path) and arguments; there is no shell. Every kind but a milestone needs it.
    pub(crate) exec: Option<Spanned<Vec<String>>>,
    /// Whom it runs as, from `/etc/passwd`, with its groups. Every kind but a milestone needs it.
    pub(crate) user: Option<Spanned<String>>,
    /// `daemon` is started again whenever it ends; `oneshot` has done its work when it exits with status 0;
    /// `milestone` has no process and is ready when those that it requires are ready and those that it
    /// comes after have settled.
    #[serde(default)]
    pub(crate) kind: Kind,
    /// What starts it: the `boot`, the first connection or packet at one of its sockets (`socket`), or a
    /// person or another service (`manual`).
    pub(crate) start: Option<Spanned<Start>>,
    /// When a daemon counts as ready: when its program runs (`started`), when it sends `READY=1`
    /// (`notify`, sd_notify(3)), or when it writes a line to the descriptor `ready_fd` (`fd`).
    pub(crate) ready: Option<Spanned<RawReady>>,
    /// The descriptor of `ready = "fd"`, behind those that the service is given (3 and following).
    pub(crate) ready_fd: Option<Spanned<u32>>,
    /// Starts when these have become ready or have failed; stops before them at power-off.
    #[serde(default)]
    pub(crate) after: Vec<Spanned<String>>,
    /// Starts only while these are ready; stops before them and comes back with them. Starts them with it.
    #[serde(default)]
    pub(crate) requires: Vec<Spanned<String>>,
    /// Starts these with it, and goes on without them.
    #[serde(default)]
    pub(crate) wants: Vec<Spanned<String>>,
    /// It is killed when it is not ready (a oneshot: not done) so long after its start.
    pub(crate) start_timeout: Option<Spanned<String>>,
    /// It is killed when it has not ended so long after its stop signal.
    pub(crate) stop_timeout: Option<Spanned<String>>,
    /// The signal that asks it to end (signal(7)).
    pub(crate) stop_signal: Option<Spanned<String>>,
    /// The signal that makes it read its configuration again; without it, it cannot be reloaded.
    pub(crate) reload_signal: Option<Spanned<String>>,
    /// It is killed and started again when it has not sent `WATCHDOG=1` for so long; needs `ready = "notify"`.
    pub(crate) watchdog: Option<Spanned<String>>,
    /// Of a template: its instances.
    #[serde(default)]
    pub(crate) instances: Vec<Spanned<String>>,
    /// Below `/data/`; made for the user alone, mode 0700.
    pub(crate) state_directory: Option<Spanned<String>>,
    /// Below `/run/`; made for the user alone, mode 0700.
    pub(crate) runtime_directory: Option<Spanned<String>>,
    /// Device nodes below `/dev/`; given to the user when they exist.
    #[serde(default)]
    pub(crate) devices: Vec<Spanned<String>>,
    /// Variables. Besides these it gets `PATH USER NOTIFY_SOCKET LISTEN_* WATCHDOG_USEC STATE_DIRECTORY RUNTIME_DIRECTORY` alone.
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
    pub(crate) name: Spanned<String>,
    /// `seqpacket`, `stream` and `dgram` are Unix sockets and have a path; `tcp` and `udp` have an address.
    pub(crate) kind: Spanned<SocketKind>,
    /// Below `/run/`.
    pub(crate) path: Option<Spanned<String>>,
    /// Address and port; `[::]` takes IPv4 as well.
    pub(crate) listen: Option<Spanned<String>>,
    /// Permission bits of the socket's file, octal.
    pub(crate) mode: Option<Spanned<String>>,
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
    pub(crate) name: Spanned<String>,
    /// What is opened.
    pub(crate) path: Spanned<String>,
    /// `read`, `write` or `read-write`.
    #[serde(default)]
    pub(crate) access: Access,
}

/// When a oneshot is run again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTimer {
    /// So long after the boot.
    pub(crate) after_boot: Option<Spanned<String>>,
    /// So long after its last run ended, again and again.
    pub(crate) every: Option<Spanned<String>>,
    /// At the moments of this crontab(5) line, in UTC: minute hour day month weekday.
    pub(crate) at: Option<Spanned<String>>,
    /// At most so much later, by chance: so that many machines do not do the same at once.
    pub(crate) jitter: Option<Spanned<String>>,
    /// Whether a moment of `at` that passed while the machine was off is made up for at boot.
    pub(crate) catch_up: Option<Spanned<bool>>,
}

/// Limits.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawResources {
    /// Memory that is not taken from it when memory is short (`memory.min`).
    pub(crate) memory_min: Option<Spanned<String>>,
    /// Memory above which it is slowed down and has to give back (`memory.high`).
    pub(crate) memory_high: Option<Spanned<String>>,
    /// Memory that it cannot exceed; it is killed as a whole instead (`memory.max`).
    pub(crate) memory_max: Option<Spanned<String>>,
    /// Swap that it cannot exceed (`memory.swap.max`).
    pub(crate) swap_max: Option<Spanned<String>>,
    /// Processes and threads (`pids.max`).
    pub(crate) pids_max: Option<Spanned<u32>>,
    /// Its share of the processors against the other services, 1 to 10000 (`cpu.weight`).
    pub(crate) cpu_weight: Option<Spanned<u32>>,
    /// Percent of one processor that it may use; `200%` are two (`cpu.max`).
    pub(crate) cpu_max: Option<Spanned<String>>,
    /// Its share of the disks against the other services, 1 to 10000 (`io.weight`).
    pub(crate) io_weight: Option<Spanned<u32>>,
    /// Bytes a second that it may read from the data disk (`io.max`).
    pub(crate) io_read_max: Option<Spanned<String>>,
    /// Bytes a second that it may write to the data disk (`io.max`).
    pub(crate) io_write_max: Option<Spanned<String>>,
    /// Open files of each of its processes (`RLIMIT_NOFILE`).
    pub(crate) open_files: Option<Spanned<u32>>,
    /// How readily the kernel ends it when memory runs out: -1000 (never) to 1000 (`oom_score_adj`).
    pub(crate) oom_score: Option<Spanned<i32>>,
    /// Its priority: -20 (first) to 19 (last).
    pub(crate) nice: Option<Spanned<i32>>,
}

/// What the service may do.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSandbox {
    /// Capabilities that it keeps (capabilities(7)); all others are cut from its bounding set.
    #[serde(default)]
    pub(crate) capabilities: Vec<Spanned<String>>,
    /// Whether it sees the machine's network; without, it has an empty one of its own.
    pub(crate) network: Option<bool>,
    /// Families of sockets that it may make: `unix` `inet` `inet6` `netlink` `packet` `vsock`.
    pub(crate) families: Option<Vec<Family>>,
    /// Paths that it may read and start programs from, besides `/usr /bin /sbin /lib /etc /proc /sys` and its own directories (Landlock).
    #[serde(default)]
    pub(crate) read: Vec<Spanned<String>>,
    /// Paths that it may read and change, besides its own directories and its `/tmp` (Landlock).
    #[serde(default)]
    pub(crate) write: Vec<Spanned<String>>,
    /// Whether `/tmp` is empty and its own.
    pub(crate) private_tmp: Option<bool>,
    /// Whether it sees the processes of others in `/proc`.
    pub(crate) sees_processes: Option<bool>,
    /// System calls besides the usual ones, in groups: `clock` `debug` `fanotify` `keyring` `module` `mount`
    /// `namespaces` `ownership` `perf` `reboot` `scheduling` `swap` `uring` (seccomp(2)).
    #[serde(default)]
    pub(crate) syscalls: Vec<SyscallGroup>,
    /// Whether its memory may be writable and executable at once: for programs that compile while they run.
    pub(crate) write_execute: Option<bool>,
}
