//! `process.files`

use super::shared::process;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use procfs::process::FDTarget;
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Files in one answer.
const MAX: u32 = 1_000;
/// Characters of a name.
const MAX_NAME: usize = 500;

/// Show which files, sockets and pipes a process has open.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Process id.
    #[schemars(range(min = 1))]
    pid: u32,
    /// Only those whose name contains this text.
    #[serde(default)]
    contains: Option<String>,
    /// At most this many, by number.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1_000))]
    limit: u32,
}

fn default_limit() -> u32 {
    200
}

/// What it has open.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Files {
    /// Process id.
    pid: u32,
    /// Its name.
    process: String,
    /// What it has open, by number.
    files: Vec<Open>,
    /// How many fit in all.
    total: u32,
    /// There are more than are listed.
    truncated: bool,
}

/// One open file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Open {
    /// The process's number of it (file descriptor).
    number: u32,
    /// What it is.
    kind: Kind,
    /// Path of a file or device, number of a socket or pipe, name of what the kernel makes up.
    name: String,
    /// It can be read.
    reads: bool,
    /// It can be written.
    writes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A file, directory or device.
    File,
    /// A socket.
    Socket,
    /// A pipe.
    Pipe,
    /// Memory that is used as a file.
    Memory,
    /// Something that only the kernel knows, such as a timer.
    Kernel,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 17,
    name: "process.files",
    summary: "Show which files, sockets and pipes a process has open",
    effect: Effect::Read,
    touches: &["names of the open files of the process named"],
    // Names may be those of other people's files.
    role: Role::Operator,
    timeout_ms: 5_000,
    examples: &[
        ("which files has process 412 open?", r#"{"pid":412}"#),
        ("lsof -p 98", r#"{"pid":98}"#),
        ("does process 230 have a log file open?", r#"{"pid":230,"contains":".log"}"#),
        ("list the open files of pid 1500", r#"{"pid":1500}"#),
        ("what is process 77 writing to?", r#"{"pid":77}"#),
    ],
    needs: Needs::NOTHING
        .capabilities(CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH))
        .looks_into_processes(),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Files, CallError> {
    if args.limit == 0 || args.limit > MAX {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX} files")));
    }
    let process = process(args.pid)?;
    let name = process.stat().map(|stat| stat.comm).unwrap_or_default();
    let closed = |e| {
        let text = format!("the open files of {name} ({}) cannot be seen: {e}", args.pid);
        CallError::new(ErrorCode::Unavailable, text)
    };
    let mut files = Vec::new();
    for fd in process.fd().map_err(closed)? {
        ctx.check()?;
        // One that is closed meanwhile is no error.
        let Ok(fd) = fd else { continue };
        let mode = fd.mode();
        let (kind, name) = told(fd.target);
        if args.contains.as_ref().is_some_and(|text| !name.contains(text.as_str())) {
            continue;
        }
        files.push(Open {
            number: fd.fd.cast_unsigned(),
            kind,
            name: name.chars().take(MAX_NAME).collect(),
            reads: mode.contains(procfs::process::FDPermissions::READ),
            writes: mode.contains(procfs::process::FDPermissions::WRITE),
        });
    }
    files.sort_by_key(|file| file.number);
    let total = u32::try_from(files.len()).unwrap_or(u32::MAX);
    files.truncate(args.limit as usize);
    Ok(Files { pid: args.pid, process: name, files, total, truncated: total > args.limit })
}

fn told(target: FDTarget) -> (Kind, String) {
    match target {
        FDTarget::Path(path) => (Kind::File, path.display().to_string()),
        FDTarget::Socket(inode) => (Kind::Socket, format!("socket {inode}")),
        FDTarget::Pipe(inode) => (Kind::Pipe, format!("pipe {inode}")),
        FDTarget::MemFD(name) => (Kind::Memory, name),
        FDTarget::AnonInode(name) => (Kind::Kernel, name),
        FDTarget::Net(inode) => (Kind::Kernel, format!("network {inode}")),
        FDTarget::Other(what, inode) => (Kind::Kernel, format!("{what} {inode}")),
        FDTarget::Unknown(what, more) => (Kind::Kernel, format!("{what} {more}")),
    }
}

fn summary(found: &Files) -> String {
    let of = |kind| found.files.iter().filter(|file| file.kind == kind).count();
    let (files, sockets) = (of(Kind::File), of(Kind::Socket));
    let part = if found.truncated { " of those shown" } else { "" };
    format!(
        "{} ({}) has {} open: {files} files and {sockets} sockets{part}",
        found.process, found.pid, found.total
    )
}
