//! `process.nice`

use super::shared::{Held, no_process, process};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo, no_paths};
use crate::policy::Target;
use crate::reach::Needs;
use crate::undo::Kept;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use aios_unit::SyscallGroup;
use rustix::io::Errno;
use rustix::process::{Pid, getpriority_process, setpriority_process};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Threads of a process that is changed.
const MAX_THREADS: usize = 10_000;

/// Give a process more or less of the processor when there is not enough for all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Process id.
    #[schemars(range(min = 1))]
    pid: u32,
    /// From -20 (much processor time) over 0 (usual) to 19 (only what nobody else wants). Below 0 only for an admin.
    #[schemars(range(min = -20, max = 19))]
    nice: i32,
}

/// What is so now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Set {
    /// Process id.
    pid: u32,
    /// Its name.
    name: String,
    /// Niceness of its first thread before.
    nice_before: i32,
    /// Niceness of all its threads now.
    nice: i32,
    /// Threads that were changed.
    threads: u32,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 15,
    name: "process.nice",
    summary: "Give a process a higher or lower share of the processor (niceness)",
    effect: Effect::Reversible,
    touches: &["the process named; never init or the kernel"],
    role: Role::Operator,
    timeout_ms: 10_000,
    examples: &[
        ("set the niceness of process 412 to 10", r#"{"pid":412,"nice":10}"#),
        ("renice 19 -p 98", r#"{"pid":98,"nice":19}"#),
        ("let process 230 run only when nobody else wants the cpu", r#"{"pid":230,"nice":19}"#),
        ("give process 77 a higher priority", r#"{"pid":77,"nice":-5}"#),
        ("process 1500 should be less greedy", r#"{"pid":1500,"nice":5}"#),
    ],
    needs: Needs::NOTHING
        .read(&["/proc"])
        .capabilities(CapabilitySet::SYS_NICE)
        .calls(&[SyscallGroup::Scheduling]),
    code: &Make {
        paths: no_paths,
        prepare,
        summary,
        undo: Some(Undo { paths: |_| Ok(Vec::new()), run: undo }),
    },
};

/// Niceness by thread: the kernel has one for each (setpriority(2)).
type Threads = BTreeMap<i32, i32>;

struct Nice {
    process: Held,
    before: Threads,
    nice: i32,
}

/// What undo has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    pid: u32,
    /// Tells it from another process that gets its number later.
    started: u64,
    before: Threads,
    after: i32,
}

fn priority_of(thread: i32) -> Result<Option<i32>, CallError> {
    match getpriority_process(Pid::from_raw(thread)) {
        Ok(nice) => Ok(Some(nice)),
        // It ended meanwhile.
        Err(Errno::SRCH) => Ok(None),
        Err(e) => Err(std::io::Error::from(e).into()),
    }
}

fn set(thread: i32, nice: i32) -> Result<bool, CallError> {
    match setpriority_process(Pid::from_raw(thread), nice) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(e) => Err(std::io::Error::from(e).into()),
    }
}

fn threads(pid: u32) -> Result<Threads, CallError> {
    let tasks = process(pid)?.tasks().map_err(|_| no_process(pid))?;
    let mut all = Threads::new();
    for task in tasks.flatten().take(MAX_THREADS) {
        all.extend(priority_of(task.tid)?.map(|nice| (task.tid, nice)));
    }
    Ok(all)
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Nice, CallError> {
    if !(-20..=19).contains(&args.nice) {
        return Err(CallError::invalid("`nice` must be -20 to 19"));
    }
    let process = Held::find(args.pid)?;
    if args.nice < 0 {
        ctx.caller.must_be(Role::Admin, "a niceness below 0, which takes time away from all others,")?;
    }
    let before = threads(args.pid)?;
    Ok(Nice { process, before, nice: args.nice })
}

impl Nice {
    fn first(&self) -> i32 {
        self.before.first_key_value().map_or(0, |(_, nice)| *nice)
    }
}

impl Change for Nice {
    type Output = Set;

    fn target(&self) -> Target {
        Target::Process { pid: self.process.pid, kernel: self.process.kernel, halt: false }
    }

    fn preview(&self) -> Preview {
        let Held { name, pid, .. } = &self.process;
        Preview {
            would: format!("set the niceness of {name} ({pid}) from {} to {}", self.first(), self.nice),
            diff: None,
        }
    }

    fn save(&self) -> Option<Kept> {
        let Held { pid, started, .. } = self.process;
        Some(Kept::new(&Note { pid, started, before: self.before.clone(), after: self.nice }, None))
    }

    fn apply(&mut self, _ctx: &Ctx) -> Result<Set, CallError> {
        let mut changed = 0;
        for thread in self.before.keys() {
            changed += u32::from(set(*thread, self.nice)?);
        }
        let Held { pid, name, .. } = &self.process;
        Ok(Set {
            pid: *pid,
            name: name.clone(),
            nice_before: self.first(),
            nice: self.nice,
            threads: changed,
        })
    }

    fn verify(&self, _ctx: &Ctx, set: &Set) -> Result<(), CallError> {
        let others = threads(set.pid)?.values().any(|nice| *nice != set.nice);
        match others {
            true => Err(CallError::failed(format!(
                "{} ({}) was changed by someone else at once",
                set.name, set.pid
            ))),
            false => Ok(()),
        }
    }
}

fn summary(set: &Set) -> String {
    format!("{} ({}) has niceness {} now, {} before", set.name, set.pid, set.nice, set.nice_before)
}

fn undo(_ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let note: Note = kept.read()?;
    let gone = || Ok(format!("process {} has ended; there is nothing to take back", note.pid));
    let process = match Held::find(note.pid) {
        Ok(process) if process.started == note.started => process,
        Ok(_) => return gone(),
        Err(e) if e.code == ErrorCode::NotFound => return gone(),
        Err(e) => return Err(e),
    };
    let now = threads(note.pid)?;
    if now.iter().any(|(thread, nice)| *nice != note.after && note.before.get(thread) != Some(nice)) {
        let text =
            format!("{} ({}) got another niceness since; nothing was undone", process.name, process.pid);
        return Err(CallError::new(ErrorCode::Conflict, text));
    }
    // A thread that is younger than the change has it from its parent.
    let first = note.before.first_key_value().map_or(0, |(_, nice)| *nice);
    for thread in now.keys() {
        set(*thread, note.before.get(thread).copied().unwrap_or(first))?;
    }
    Ok(format!("{} ({}) has niceness {first} again", process.name, process.pid))
}
