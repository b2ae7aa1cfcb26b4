//! `process.kill`

use super::shared::Held;
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::process::Signal as KernelSignal;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the end of the process is awaited.
const WAIT: Duration = Duration::from_secs(3);

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
    process: Held,
    signal: Signal,
}

fn prepare(_ctx: &Ctx, args: Args) -> Result<Kill, CallError> {
    Ok(Kill { process: Held::find(args.pid)?, signal: args.signal })
}

impl Change for Kill {
    type Output = Sent;

    fn target(&self) -> Target {
        let Held { pid, kernel, .. } = self.process;
        Target::Process { pid, kernel, halt: self.signal == Signal::Stop }
    }

    fn preview(&self) -> Preview {
        let Held { name, pid, .. } = &self.process;
        Preview { would: format!("send {:?} to {name} ({pid})", self.signal), diff: None }
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Sent, CallError> {
        self.process.signal(self.signal.kernel())?;
        let ended = self.signal.ends() && self.process.ends_within(WAIT)?;
        let Held { name, pid, .. } = &self.process;
        Ok(Sent { pid: *pid, name: name.clone(), signal: self.signal, ended })
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
