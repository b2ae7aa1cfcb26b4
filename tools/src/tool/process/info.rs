//! `process.info`

use super::shared::{
    KERNEL_THREAD, MAX_COMMAND, cgroup_of, human_bytes, no_process, process, service_of, users,
};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::process::FDTarget;
use rustix::thread::CapabilitySet;
use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Show all about one process but its memory and its environment, which may hold secrets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Process id.
    #[schemars(range(min = 1))]
    pid: u32,
}

/// One process.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Info {
    /// Process id.
    pid: u32,
    /// Id of its parent.
    parent: u32,
    /// Name as the kernel has it.
    name: String,
    /// Command line, shortened to 200 characters.
    command: String,
    /// The program that it executes; none for a thread of the kernel.
    program: Option<String>,
    /// It is a thread of the kernel.
    kernel: bool,
    /// State: `R` runs, `S` sleeps, `D` waits for a device, `Z` has ended, `T` is stopped, `I` is idle.
    state: char,
    /// User that it runs as.
    user: String,
    /// Its effective user id.
    uid: u32,
    /// Its effective group id.
    gid: u32,
    /// Service that it belongs to.
    service: Option<String>,
    /// Its cgroup, below `/sys/fs/cgroup`.
    cgroup: Option<String>,
    /// Seconds since it was started.
    age_seconds: u64,
    /// Processor time since its start, in seconds.
    cpu_seconds: f64,
    /// Niceness, from -20 (much processor time) to 19 (little).
    nice: i64,
    /// Threads.
    threads: u64,
    /// Memory in bytes (resident set).
    memory_bytes: u64,
    /// The most that it ever had, in bytes.
    peak_memory_bytes: u64,
    /// Bytes of it in swap.
    swap_bytes: u64,
    /// Open files of all kinds; none where they cannot be seen.
    open_files: Option<u32>,
    /// Sockets among them.
    sockets: Option<u32>,
    /// How many files it may have open.
    open_files_limit: Option<u64>,
    /// Capabilities that it can use: bits of capabilities(7), hexadecimal; 0 is none.
    capabilities: String,
    /// It cannot gain privileges by starting programs.
    no_new_privileges: bool,
    /// Its system calls are filtered (seccomp).
    filtered: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 13,
    name: "process.info",
    summary: "Show all about one process: state, service, user, threads, open files",
    effect: Effect::Read,
    touches: &["facts of the process named; neither memory nor environment"],
    role: Role::Viewer,
    timeout_ms: 5_000,
    examples: &[
        ("tell me about process 412", r#"{"pid":412}"#),
        ("what is pid 1?", r#"{"pid":1}"#),
        ("which service does process 230 belong to?", r#"{"pid":230}"#),
        ("how many files has process 98 open?", r#"{"pid":98}"#),
        ("since when does process 77 run?", r#"{"pid":77}"#),
        ("show the details of process 1500", r#"{"pid":1500}"#),
    ],
    needs: Needs::NOTHING
        .read(&["/etc/passwd"])
        .capabilities(CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH))
        .looks_into_processes(),
    code: &Look { paths: no_paths, run, summary },
};

fn run(_ctx: &Ctx, args: Args) -> Result<Info, CallError> {
    let none = |_| no_process(args.pid);
    let process = process(args.pid)?;
    let (stat, status) = (process.stat().map_err(none)?, process.status().map_err(none)?);
    let ticks = procfs::ticks_per_second();
    let up = u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0);
    let kib = |kib: Option<u64>| kib.unwrap_or(0).saturating_mul(1024);
    let open = process.fd().ok().map(|fds| {
        let (mut all, mut sockets) = (0_u32, 0_u32);
        for fd in fds.flatten() {
            all += 1;
            sockets += u32::from(matches!(fd.target, FDTarget::Socket(_)));
        }
        (all, sockets)
    });
    let most = process.limits().ok().and_then(|limits| match limits.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(most) => Some(most),
        procfs::process::LimitValue::Unlimited => None,
    });
    let cgroup = cgroup_of(&process);
    Ok(Info {
        pid: args.pid,
        parent: stat.ppid.cast_unsigned(),
        command: process.cmdline().unwrap_or_default().join(" ").chars().take(MAX_COMMAND).collect(),
        program: process.exe().ok().map(|path| path.display().to_string()),
        kernel: stat.flags & KERNEL_THREAD != 0,
        state: stat.state,
        user: users().get(&status.euid).cloned().unwrap_or_else(|| status.euid.to_string()),
        uid: status.euid,
        gid: status.egid,
        service: cgroup.as_deref().and_then(service_of),
        cgroup,
        age_seconds: up.saturating_sub(stat.starttime / ticks.max(1)),
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks.max(1) as f64,
        nice: stat.nice,
        threads: status.threads,
        memory_bytes: kib(status.vmrss),
        peak_memory_bytes: kib(status.vmhwm),
        swap_bytes: kib(status.vmswap),
        open_files: open.map(|(all, _)| all),
        sockets: open.map(|(_, sockets)| sockets),
        open_files_limit: most,
        capabilities: format!("{:x}", status.capeff),
        no_new_privileges: status.nonewprivs == Some(1),
        filtered: status.seccomp == Some(2),
        name: stat.comm,
    })
}

fn summary(info: &Info) -> String {
    let of = info.service.as_ref().map(|name| format!(" of the service {name}")).unwrap_or_default();
    let files = info.open_files.map(|files| format!(", {files} open files")).unwrap_or_default();
    format!(
        "{} ({}){of}: state {}, user {}, {}, {} threads{files}",
        info.name,
        info.pid,
        info.state,
        info.user,
        human_bytes(info.memory_bytes),
        info.threads
    )
}
