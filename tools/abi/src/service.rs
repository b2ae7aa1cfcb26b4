//! What PID 1 serves: services, their logs and the machine's power.

use crate::call::Protocol;
use crate::run::{CommandInfo, RunInfo, RunOutcome, RunRequest};
use serde::{Deserialize, Serialize};

/// The protocol of `/run/aios/init.sock`.
pub struct Init;

impl Protocol for Init {
    type Request = InitRequest;
    type Event = InitEvent;
    type Reply = InitReply;
    const SOCKET: &'static str = crate::paths::INIT_SOCKET;
    const SERVER: &'static str = "init";
}

/// A request to PID 1. Who may send what: anybody may look; only root (toold) may change something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitRequest {
    /// All services, and the service files that were refused.
    List,
    /// One service.
    Status {
        /// Name of the service.
        name: String,
    },
    /// Start a service.
    Start {
        /// Name of the service.
        name: String,
    },
    /// Stop a service; the reply comes when its cgroup is empty.
    Stop {
        /// Name of the service.
        name: String,
    },
    /// Stop and start a service; the reply comes when it is ready again.
    Restart {
        /// Name of the service.
        name: String,
    },
    /// Lines from the log rings, oldest first.
    Logs {
        /// Only this service.
        unit: Option<String>,
        /// Only lines that contain this text (case-insensitive).
        contains: Option<String>,
        /// At most this many, the newest ones.
        limit: u32,
        /// Keep sending new lines as events until the request is cancelled.
        follow: bool,
    },
    /// Uptime, boot times, identity.
    Machine,
    /// Sync, stop all services, unmount and switch the machine off.
    PowerOff,
    /// The same, then start anew.
    Reboot,
    /// Send a service the signal on which it reads its configuration again.
    Reload {
        /// Name of the service.
        name: String,
    },
    /// Read the service files again: new services are started, removed ones stopped; a changed file counts
    /// from the next start of its service, its limits at once.
    Rescan,
    /// Send an event whenever a service's state changes, until the request is cancelled; first one for each
    /// service as it is now.
    Watch,
    /// Load a kernel, stop all services, unmount, and start it in place of the present one, without the
    /// firmware (kexec_file_load(2)). Refused, with everything as it was, when it cannot be loaded.
    Kexec {
        /// Absolute path of a kernel image.
        kernel: String,
        /// Absolute path of its initramfs.
        initramfs: Option<String>,
        /// Its command line; the present one if empty.
        cmdline: String,
    },
    /// Switch off, start anew or sleep after a while. What is planned already has to be called off first.
    GoDown {
        /// What is to be done.
        power: PowerChange,
        /// Seconds until then, at most [`MAX_DELAY_SECONDS`]; 0 is at once.
        delay_seconds: u32,
        /// Why, for the log and for those who ask.
        why: String,
    },
    /// What is planned of that.
    Planned,
    /// Call off what is planned.
    CallOff,
    /// The commands of all services, and those that run.
    Commands,
    /// Run a command of a service, as its service file says: whether the service runs or not.
    Run(RunRequest),
    /// Kill a command that runs, with all that it started.
    EndRun {
        /// Its number.
        number: u32,
    },
    /// Have the kernel give back memory that only saves it from reading disks again (`drop_caches` of
    /// Documentation/admin-guide/sysctl/vm.rst): 1 for contents of files, 2 for directories and inodes, 3 for both.
    DropCaches {
        /// Which.
        what: u8,
    },
}

/// The longest delay of [`InitRequest::GoDown`]: a week.
pub const MAX_DELAY_SECONDS: u32 = 7 * 24 * 3600;

/// A change of the machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerChange {
    /// Switch off.
    Off,
    /// Start anew.
    Reboot,
    /// Sleep: everything stands still and stays in memory (suspend, Documentation/admin-guide/pm/sleep-states.rst).
    Suspend {
        /// Seconds after which the machine's clock wakes it; 0 leaves that to a button or a network card.
        wake_after_seconds: u32,
    },
}

/// A change of the machine's power that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPower {
    /// What will be done.
    pub power: PowerChange,
    /// Milliseconds until then.
    pub in_ms: u64,
    /// Why.
    pub why: String,
}

/// What PID 1 sends before or instead of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitEvent {
    /// A line of a log that is followed.
    Line(LogLine),
    /// A service's state has changed.
    Service(ServiceChange),
}

/// A service as it is now, to those who watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceChange {
    /// Milliseconds since 1970 (CLOCK_REALTIME).
    pub time_ms: u64,
    /// Name of the service.
    pub name: String,
    /// Where it is in its life.
    pub state: ServiceState,
    /// Main process, if it runs.
    pub pid: Option<u32>,
    /// How often it was started again after a death, since boot.
    pub restarts: u32,
    /// It keeps dying and is retried slowly.
    pub degraded: bool,
    /// Why it last ended, in words.
    pub last_exit: Option<String>,
}

/// The answer of PID 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InitReply {
    /// To [`InitRequest::List`].
    List {
        /// All services, by name.
        services: Vec<ServiceStatus>,
        /// Service files that were refused: one sentence each, with file, line and cure.
        refused: Vec<String>,
    },
    /// To [`InitRequest::Status`], `Start`, `Stop` and `Restart`.
    Status(ServiceStatus),
    /// To [`InitRequest::Logs`].
    Logs {
        /// The lines.
        lines: Vec<LogLine>,
        /// Lines that the rings have dropped since boot.
        dropped: u64,
    },
    /// To [`InitRequest::Machine`].
    Machine(MachineStatus),
    /// It is under way.
    Accepted,
    /// To [`InitRequest::GoDown`] with a delay and to `Planned`: what is to come; to `CallOff`: what was called off.
    Planned(Option<PlannedPower>),
    /// To [`InitRequest::Rescan`]: names of services, and the files that were refused.
    Rescanned {
        /// Services that are new.
        added: Vec<String>,
        /// Services whose file changed.
        changed: Vec<String>,
        /// Services that are gone.
        removed: Vec<String>,
        /// Service files that were refused: one sentence each, with file, line and cure.
        refused: Vec<String>,
    },
    /// To [`InitRequest::Commands`].
    Commands {
        /// What can be run, by service and name.
        commands: Vec<CommandInfo>,
        /// What runs.
        running: Vec<RunInfo>,
    },
    /// To [`InitRequest::Run`] by somebody who waits: what became of it.
    Ran(RunOutcome),
    /// To [`InitRequest::Run`] in the background, and to `EndRun`: the command as it was then.
    Running(RunInfo),
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Waits for what it depends on.
    Waiting,
    /// Its process runs but has not said that it is ready.
    Starting,
    /// Ready.
    Running,
    /// Is being stopped.
    Stopping,
    /// Was stopped on request, or a oneshot that has done its work.
    Stopped,
    /// Died; will be started again after a pause.
    Backoff,
    /// A oneshot that failed, or a program that cannot be executed.
    Failed,
    /// Is started when somebody connects to one of its sockets.
    Listening,
    /// Is started when its timer says so.
    Scheduled,
}

impl ServiceState {
    /// The state's name as it appears in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Listening => "listening",
            Self::Scheduled => "scheduled",
        }
    }
}

/// One service as PID 1 sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Name of the service, which is the name of its file without `.toml`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Where it is in its life.
    pub state: ServiceState,
    /// Main process, if it runs.
    pub pid: Option<u32>,
    /// Milliseconds in this state.
    pub since_ms: u64,
    /// How often it was started again after a death, since boot.
    pub restarts: u32,
    /// It keeps dying and is retried slowly.
    pub degraded: bool,
    /// Why it last ended, in words: `exited with status 1`, `killed by SIGKILL`.
    pub last_exit: Option<String>,
    /// What it last said of itself (`STATUS=` of sd_notify(3)).
    pub status: Option<String>,
    /// Memory of its cgroup in bytes (`memory.current`).
    pub memory_bytes: Option<u64>,
    /// Processor time of its cgroup in microseconds (`usage_usec` of `cpu.stat`).
    pub cpu_usec: Option<u64>,
    /// Processes in its cgroup (`pids.current`).
    pub processes: Option<u32>,
    /// Milliseconds until its timer runs it.
    pub next_run_ms: Option<u64>,
}

/// Uptime, boot times and identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Host name.
    pub hostname: String,
    /// Version of the image.
    pub version: String,
    /// Kernel release (`uname -r`).
    pub kernel: String,
    /// Random id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// Milliseconds from the kernel's start to PID 1's first instruction (CLOCK_BOOTTIME).
    pub init_started_ms: u64,
    /// Milliseconds from the kernel's start until the console said that it is ready.
    pub console_ready_ms: Option<u64>,
    /// Where `/data` is: `disk` or `memory` (nothing survives a reboot).
    pub data: String,
    /// How often PID 1 executed itself anew after an error of its own, since boot.
    pub init_resumed: u32,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts all lines since boot.
    pub seq: u64,
    /// Milliseconds since 1970 (CLOCK_REALTIME when it was read).
    pub time_ms: u64,
    /// Service, `init` or `kernel`.
    pub unit: String,
    /// syslog priority, 0 (emergency) to 7 (debug); 6 when the line has no `<N>` prefix (sd-daemon(3)).
    pub priority: u8,
    /// The text, without line end; invalid UTF-8 replaced.
    pub text: String,
}
