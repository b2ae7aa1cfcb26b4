//! What goes into the supervisor and what comes out of it.

use aios_abi::service::ServiceState;
pub(crate) use aios_unit::{Kind, Readiness, Start, Timer};
use std::time::Duration;

/// Index of a service. A service that was removed keeps its number until another one needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) usize);

/// One life of a service's main process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Run(pub(crate) u64);

/// Somebody who waits for the outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// The time, as the machine knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Since the kernel's start; never jumps.
    pub(crate) boot: Duration,
    /// Since 1970, UTC; jumps when somebody sets the clock, which [`Event::ClockSet`] tells.
    pub(crate) wall: Duration,
}

/// What the machine does when all services have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Power {
    /// Switch off.
    Off,
    /// Start anew.
    Reboot,
    /// Start the kernel that was loaded.
    Kexec,
}

/// What the supervisor needs to know of a service.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) start: Start,
    pub(crate) ready: Readiness,
    /// Start after these have become ready or have failed; stop before them when the machine goes down.
    pub(crate) after: Vec<Id>,
    /// Start only while these are ready; stop before them.
    pub(crate) requires: Vec<Id>,
    /// Start these with it.
    pub(crate) wants: Vec<Id>,
    /// When the machine goes down it goes on until all others have ended.
    pub(crate) last: bool,
    pub(crate) start_timeout: Duration,
    pub(crate) stop_timeout: Duration,
    /// It has to say that it is alive at least this often.
    pub(crate) watchdog: Option<Duration>,
    pub(crate) timer: Option<Timer>,
    /// When its timer last ran it in an earlier boot (since 1970).
    pub(crate) last_run: Option<Duration>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Start all services that the boot starts.
    Boot,
    /// Somebody wants it up.
    Start(Id, Ticket),
    /// Somebody wants it down.
    Stop(Id, Ticket),
    /// Somebody wants a new run of it.
    Restart(Id, Ticket),
    /// Somebody knocked at one of its sockets.
    Knock(Id),
    /// The process of a run exists.
    Spawned(Id, Run, u32),
    /// The process of a run could not be made, and none exists.
    SpawnFailed(Id, Run, String),
    /// The process executes its program.
    Executed(Id, Run),
    /// The process could not execute its program; its exit follows.
    ExecFailed(Id, Run, String),
    /// It said that it is ready.
    Ready(Id, Run),
    /// It said that it is alive.
    Alive(Id, Run),
    /// It said that it is not well and wants to be killed.
    Unwell(Id, Run),
    /// It said that its start takes so much longer.
    Extend(Id, Run, Duration),
    /// Its main process was stopped by a signal (SIGSTOP).
    Frozen(Id, Run),
    /// Its main process goes on after that.
    Thawed(Id, Run),
    /// Its main process was reaped: whether it ended well, and how in words.
    Exited(Id, Run, Ended),
    /// No process of the run is left.
    Empty(Id, Run),
    /// Somebody set the clock.
    ClockSet,
    /// The machine is to go down.
    Shutdown(Power),
    /// Nothing but time.
    Tick,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// It exited with status 0.
    pub(crate) success: bool,
    /// The machine, not the service alone, was out of memory.
    pub(crate) starved: bool,
    /// `exited with status 1`, `killed by SIGKILL`.
    pub(crate) how: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the process of a new run.
    Spawn(Id, Run),
    /// Ask the main process to end (its stop signal).
    Terminate(Id, Run),
    /// Let a main process go on that was stopped (SIGCONT).
    Thaw(Id, Run),
    /// Kill whatever is left in its cgroup, and report [`Event::Empty`] when nothing is.
    KillAll(Id, Run),
    /// Report [`Event::Knock`] when somebody knocks at its sockets, or no longer.
    Listen(Id, bool),
    /// The service has what it was asked for, or it will not have it.
    Answer(Ticket, Id, Result<(), String>),
    /// Worth telling people.
    Say(Severity, String),
    /// Everything has stopped; these are the services that did not.
    Down(Power, Vec<Id>),
}

/// How a message to people is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Worth a line in the log.
    Note,
    /// A milestone: on the console as well.
    Info,
    /// Something went wrong and is being dealt with.
    Warning,
}

/// A service as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) state: ServiceState,
    pub(crate) pid: Option<u32>,
    pub(crate) since: Duration,
    pub(crate) restarts: u32,
    pub(crate) degraded: bool,
    pub(crate) last_exit: Option<String>,
    /// Time until its timer runs it.
    pub(crate) next_run: Option<Duration>,
}
