//! Service files: what a service is, as its author wrote it.

mod load;
mod parse;
mod values;

pub(crate) use load::load;
pub(crate) use parse::parse;
pub(crate) use values::Users;

use crate::supervisor::{Kind, Readiness};
use rustix::thread::CapabilitySet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One service file, checked.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// The file's name without `.toml`.
    pub(crate) name: String,
    pub(crate) description: String,
    /// Program and arguments; never through a shell.
    pub(crate) exec: Vec<String>,
    pub(crate) user: Account,
    pub(crate) kind: Kind,
    pub(crate) ready: Readiness,
    pub(crate) after: Vec<String>,
    pub(crate) requires: Vec<String>,
    pub(crate) start_timeout: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) state_directory: Option<PathBuf>,
    pub(crate) runtime_directory: Option<PathBuf>,
    /// Device nodes that are given to the user when they exist.
    pub(crate) devices: Vec<PathBuf>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) open: Vec<Open>,
    pub(crate) resources: Resources,
    pub(crate) sandbox: Sandbox,
}

/// A user as `/etc/passwd` and `/etc/group` have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
}

/// A socket that exists before the service does and outlives each of its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Socket {
    /// What the service knows it by (`LISTEN_FDNAMES`).
    pub(crate) name: String,
    pub(crate) place: Place,
    /// Permission bits of a socket file.
    pub(crate) mode: u32,
}

/// Where a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Unix `SOCK_SEQPACKET`
    Seqpacket(PathBuf),
    /// Unix `SOCK_STREAM`
    Stream(PathBuf),
    /// Unix `SOCK_DGRAM`
    Datagram(PathBuf),
    /// TCP, listening.
    Tcp(SocketAddr),
}

/// A file that is opened for the service, which could not open it itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
}

/// What may be done through an opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Access {
    Read,
    Write,
    #[default]
    ReadWrite,
}

/// Limits of the service's cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    /// Bytes that are not reclaimed from it (`memory.min`).
    pub(crate) memory_min: Option<u64>,
    /// Bytes above which it is throttled and reclaimed (`memory.high`).
    pub(crate) memory_high: Option<u64>,
    /// Bytes that it may not exceed (`memory.max`).
    pub(crate) memory_max: Option<u64>,
    /// Processes and threads (`pids.max`).
    pub(crate) pids_max: Option<u32>,
    /// Share of the processor against its siblings, 1 to 10000, usually 100 (`cpu.weight`).
    pub(crate) cpu_weight: Option<u32>,
    /// Open files of each process (`RLIMIT_NOFILE`).
    pub(crate) open_files: Option<u32>,
}

/// What is taken away from the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// What of root's power it keeps; nothing by default.
    pub(crate) capabilities: CapabilitySet,
    /// Whether it lives in the machine's network, or in an empty one of its own.
    pub(crate) network: bool,
}
