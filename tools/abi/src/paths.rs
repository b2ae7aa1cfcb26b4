//! Well-known paths of the appliance.

/// Control socket of PID 1.
pub const INIT_SOCKET: &str = "/run/aios/init.sock";
/// Socket of the tool broker.
pub const TOOLD_SOCKET: &str = "/run/aios/toold.sock";
/// Where the workshop takes orders of toold.
pub const WORKSHOP_SOCKET: &str = "/run/aios/workshop.sock";
/// Socket of the inference daemon.
pub const INFERD_SOCKET: &str = "/run/aios/inferd.sock";
/// Where the worker of the strategic tier speaks with inferd.
pub const STRATEGIC_SOCKET: &str = "/run/aios/strategic.sock";
/// Socket of the agent.
pub const AGENTD_SOCKET: &str = "/run/aios/agentd.sock";
/// Socket of the network daemon.
pub const NETD_SOCKET: &str = "/run/aios/netd.sock";
/// Where the console answers the tool broker about accounts.
pub const CONSOLE_SOCKET: &str = "/run/aios/console.sock";
/// Configuration that comes with the image (read-only).
pub const ETC: &str = "/etc/aios";
/// The data partition: the only place that survives a reboot.
pub const DATA: &str = "/data";
/// Snapshots of what is in it.
pub const BACKUP: &str = "/data/backup";
/// Models that come with the image (read-only).
pub const MODELS: &str = "/models";
/// Models that people imported, one `NAME.gguf` each. The tools `model.*` alone write here; inferd reads.
pub const IMPORTED_MODELS: &str = "/data/models";
/// Where the console puts what people send to the machine.
pub const UPLOADS: &str = "/data/upload";
/// What the image was built from: a JSON list of [`Component`](crate::tool::Component)s.
pub const MANIFEST: &str = "/usr/lib/aios/manifest.json";
/// Engine worker executables.
pub const ENGINES: &str = "/usr/lib/aios/engines";
/// Directory in which the kernel's virtio ports appear under their names.
pub const VIRTIO_PORTS: &str = "/dev/virtio-ports";
