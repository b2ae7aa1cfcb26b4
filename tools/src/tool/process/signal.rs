//! `process.signal`

use super::shared::{Held, no_process, process};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use rustix::process::Signal as KernelSignal;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tell a process something that it listens for. One that does not listen for it would end, so that is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Process id.
    #[schemars(range(min = 1))]
    pid: u32,
    /// The signal.
    signal: Signal,
}

/// Signals that a program gives a meaning of its own (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Signal {
    /// Hang up; many daemons read their configuration anew.
    #[serde(alias = "HUP", alias = "SIGHUP")]
    Hup,
    /// First signal of its own; many programs report their state.
    #[serde(alias = "USR1", alias = "SIGUSR1")]
    Usr1,
    /// Second signal of its own.
    #[serde(alias = "USR2", alias = "SIGUSR2")]
    Usr2,
}

impl Signal {
    fn kernel(self) -> KernelSignal {
        match self {
            Self::Hup => KernelSignal::HUP,
            Self::Usr1 => KernelSignal::USR1,
            Self::Usr2 => KernelSignal::USR2,
        }
    }

    /// Its place in the masks of `/proc/PID/status`.
    fn bit(self) -> u64 {
        1 << (self.kernel().as_raw() - 1)
    }
}

/// What came of the signal.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Told {
    /// Process id.
    pid: u32,
    /// Its name.
    name: String,
    /// The signal that was sent.
    signal: Signal,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 14,
    name: "process.signal",
    summary: "Send a process a signal that it listens for: HUP, USR1 or USR2",
    effect: Effect::Irreversible,
    touches: &["the process named, if it listens for the signal; never init or the kernel"],
    // It cannot end the process, but there is nothing to take back.
    role: Role::Operator,
    timeout_ms: 5_000,
    examples: &[
        ("send USR1 to process 512", r#"{"pid":512,"signal":"usr1"}"#),
        ("make process 640 read its settings again with a hangup", r#"{"pid":640,"signal":"hup"}"#),
        ("signal pid 88 with SIGUSR2", r#"{"pid":88,"signal":"usr2"}"#),
        ("poke process 301 with user signal 1", r#"{"pid":301,"signal":"usr1"}"#),
        ("tell process 93 by HUP to reopen its log file", r#"{"pid":93,"signal":"hup"}"#),
    ],
    needs: Needs::NOTHING.read(&["/proc"]).capabilities(CapabilitySet::KILL),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Tell {
    process: Held,
    signal: Signal,
}

/// Whether it listens for the signal now; a program that starts may not do so yet.
fn listens(pid: u32, signal: Signal) -> Result<bool, CallError> {
    let status = process(pid)?.status().map_err(|_| no_process(pid))?;
    // One that is caught by a handler, or kept back until the program asks for it.
    Ok((status.sigcgt | status.sigblk) & signal.bit() != 0)
}

fn prepare(_ctx: &Ctx, args: Args) -> Result<Tell, CallError> {
    let process = Held::find(args.pid)?;
    if !listens(args.pid, args.signal)? {
        let (name, pid, signal) = (&process.name, process.pid, args.signal);
        let text = format!(
            "{name} ({pid}) does not listen for {signal:?}: it would ignore it or end; process.kill sends it all the same"
        );
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    Ok(Tell { process, signal: args.signal })
}

impl Change for Tell {
    type Output = Told;

    fn target(&self) -> Target {
        Target::Process { pid: self.process.pid, kernel: self.process.kernel, halt: false }
    }

    fn preview(&self) -> Preview {
        let Held { name, pid, .. } = &self.process;
        Preview {
            would: format!("send {:?} to {name} ({pid}), which listens for it", self.signal),
            diff: None,
        }
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Told, CallError> {
        self.process.signal(self.signal.kernel())?;
        Ok(Told { pid: self.process.pid, name: self.process.name.clone(), signal: self.signal })
    }
}

fn summary(told: &Told) -> String {
    format!("{} ({}) got {:?}", told.name, told.pid, told.signal)
}
