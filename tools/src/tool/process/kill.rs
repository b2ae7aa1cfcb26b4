//! `process.kill`

use super::list::KERNEL_THREAD;
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal as KernelSignal, pidfd_open, pidfd_send_signal};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// How long the end of the process is awaited.
const WAIT: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

/// Send a signal to a process.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Process id.
    #[schemars(range(min = 1))]
    pid: u32,
    /// The signal.
    #[serde(default)]
    signal: Signal,
}

/// Signals by name (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Signal {
    /// Ask it to end.
    #[default]
    #[serde(alias = "TERM", alias = "SIGTERM")]
    Term,
    /// End it at once.
    #[serde(alias = "KILL", alias = "SIGKILL")]
    Kill,
    /// Hang up; many daemons read their configuration anew.
    #[serde(alias = "HUP", alias = "SIGHUP")]
    Hup,
    /// Interrupt, like Ctrl-C.
    #[serde(alias = "INT", alias = "SIGINT")]
    Int,
    /// Quit and leave a core file.
    #[serde(alias = "QUIT", alias = "SIGQUIT")]
    Quit,
    /// First signal of its own.
    #[serde(alias = "USR1", alias = "SIGUSR1")]
    Usr1,
    /// Second signal of its own.
    #[serde(alias = "USR2", alias = "SIGUSR2")]
    Usr2,
    /// Halt it.
    #[serde(alias = "STOP", alias = "SIGSTOP")]
    Stop,
    /// Let it go on.
    #[serde(alias = "CONT", alias = "SIGCONT")]
    Cont,
}

impl Signal {
    fn kernel(self) -> KernelSignal {
        match self {
            Self::Term => KernelSignal::TERM,
            Self::Kill => KernelSignal::KILL,
            Self::Hup => KernelSignal::HUP,
            Self::Int => KernelSignal::INT,
            Self::Quit => KernelSignal::QUIT,
            Self::Usr1 => KernelSignal::USR1,
            Self::Usr2 => KernelSignal::USR2,
            Self::Stop => KernelSignal::STOP,
            Self::Cont => KernelSignal::CONT,
        }
    }

    /// Whether it is meant to end the process, so that the end is worth waiting for.
    fn ends(self) -> bool {
        matches!(self, Self::Term | Self::Kill | Self::Int | Self::Quit)
    }
}

/// What came of the signal.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sent {
    /// Process id.
    pid: u32,
    /// Its name.
    name: String,
    /// The signal that was sent.
    signal: Signal,
    /// The process has ended.
    ended: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 11,
    name: "process.kill",
    summary: "Send a signal to a process: end, stop or continue it",
    effect: Effect::Irreversible,
    touches: &["the process named; never init or the kernel"],
    role: Role::Admin,
    timeout_ms: 10_000,
    examples: &[
        ("kill process 1234", r#"{"pid":1234}"#),
        ("stop the process with the id 42", r#"{"pid":42,"signal":"term"}"#),
        ("force quit pid 777", r#"{"pid":777,"signal":"kill"}"#),
        ("send SIGHUP to process 300", r#"{"pid":300,"signal":"hup"}"#),
        ("terminate the hanging program 9001 immediately", r#"{"pid":9001,"signal":"kill"}"#),
    ],
    needs: Needs::NOTHING.read(&["/proc"]).capabilities(CapabilitySet::KILL),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Kill {
    /// Names this very process, also after its number was given to another one (pidfd_open(2)).
    process: OwnedFd,
    pid: u32,
    name: String,
    kernel: bool,
    signal: Signal,
}

fn prepare(_ctx: &Ctx, args: Args) -> Result<Kill, CallError> {
    let none = || CallError::not_found(format!("there is no process {}", args.pid));
    let pid = i32::try_from(args.pid).map_err(|_| none())?;
    let process =
        pidfd_open(Pid::from_raw(pid).ok_or_else(none)?, PidfdFlags::empty()).map_err(|_| none())?;
    let stat = procfs::process::Process::new(pid).and_then(|p| p.stat()).map_err(|_| none())?;
    if has_ended(&process, Timespec { tv_sec: 0, tv_nsec: 0 })? {
        return Err(none());
    }
    Ok(Kill {
        process,
        pid: args.pid,
        name: stat.comm,
        kernel: stat.flags & KERNEL_THREAD != 0,
        signal: args.signal,
    })
}

fn has_ended(process: &OwnedFd, wait: Timespec) -> Result<bool, CallError> {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&wait)).map_err(std::io::Error::from)?;
    Ok(ready > 0)
}

impl Change for Kill {
    type Output = Sent;

    fn target(&self) -> Target {
        Target::Process { pid: self.pid, kernel: self.kernel, halt: self.signal == Signal::Stop }
    }

    fn preview(&self) -> Preview {
        Preview { would: format!("send {:?} to {} ({})", self.signal, self.name, self.pid), diff: None }
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Sent, CallError> {
        pidfd_send_signal(&self.process, self.signal.kernel()).map_err(|e| {
            let error = CallError::from(std::io::Error::from(e));
            let text = format!("{} ({}) did not get the signal: {error}", self.name, self.pid);
            match e {
                rustix::io::Errno::SRCH => CallError::new(ErrorCode::NotFound, text),
                _ => CallError::new(error.code, text),
            }
        })?;
        let ended = self.signal.ends() && has_ended(&self.process, WAIT)?;
        Ok(Sent { pid: self.pid, name: self.name.clone(), signal: self.signal, ended })
    }
}

fn summary(sent: &Sent) -> String {
    let end = match (sent.ended, sent.signal.ends()) {
        (true, _) => "; it has ended",
        (false, true) => "; it has not ended within 3 seconds",
        (false, false) => "",
    };
    format!("{} ({}) got {:?}{end}", sent.name, sent.pid, sent.signal)
}
