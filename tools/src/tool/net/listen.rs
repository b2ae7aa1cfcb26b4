//! `net.listen`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use crate::tool::process::shared::users;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::net::{TcpState, UdpState};
use procfs::process::{FDTarget, all_processes};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::SocketAddr;

/// Sockets in one answer.
const MAX: usize = 1_000;

/// Show who listens for connections.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only this port.
    #[serde(default)]
    port: Option<u16>,
    /// Also UDP.
    #[serde(default = "yes")]
    udp: bool,
}

fn yes() -> bool {
    true
}

/// Who listens.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listeners {
    /// The open sockets, by port.
    pub(crate) listeners: Vec<Listener>,
    /// There are more than are listed.
    truncated: bool,
}

/// A socket that waits for connections or datagrams.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Listener {
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// Address that it waits on; `0.0.0.0` and `::` are all of them.
    pub(crate) address: String,
    /// Port.
    pub(crate) port: u16,
    /// It can be reached only from this machine.
    pub(crate) local_only: bool,
    /// User that the socket belongs to.
    pub(crate) user: String,
    /// Processes that hold it.
    pub(crate) processes: Vec<Owner>,
}

/// A process that holds a socket.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Owner {
    /// Process id.
    pub(crate) pid: u32,
    /// Its name.
    pub(crate) name: String,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 32,
    name: "net.listen",
    summary: "Show which programs listen on which network ports",
    effect: Effect::Read,
    touches: &["the kernel's network state", "which process holds which socket"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("who is listening?", "{}"),
        ("which ports are open?", "{}"),
        ("what program uses port 443?", r#"{"port":443}"#),
        ("show listening sockets", "{}"),
        ("is anything reachable on port 22?", r#"{"port":22}"#),
        ("netstat", "{}"),
        ("open ports", "{}"),
        ("what is listening on port 80?", r#"{"port":80}"#),
        ("which services can be reached from outside?", "{}"),
        ("show only tcp listeners", r#"{"udp":false}"#),
    ],
    needs: Needs::NOTHING
        .read(&["/etc/passwd"])
        .capabilities(CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH))
        .looks_into_processes(),
    code: &Look { paths: no_paths, run, summary },
};

struct Socket {
    protocol: &'static str,
    local: SocketAddr,
    uid: u32,
    inode: u64,
}

fn run(ctx: &Ctx, args: Args) -> Result<Listeners, CallError> {
    listeners(ctx, args.port, args.udp)
}

/// Everything that listens; the security audit asks the same.
pub(crate) fn listeners(ctx: &Ctx, port: Option<u16>, udp: bool) -> Result<Listeners, CallError> {
    let mut sockets = sockets(udp)?;
    sockets.retain(|socket| port.is_none_or(|port| socket.local.port() == port));
    sockets.sort_by_key(|socket| (socket.local.port(), socket.protocol, socket.local.ip()));
    let truncated = sockets.len() > MAX;
    sockets.truncate(MAX);
    let owners = owners(ctx, &sockets)?;
    let users = users();
    let listeners = sockets
        .into_iter()
        .map(|socket| Listener {
            protocol: socket.protocol,
            address: socket.local.ip().to_string(),
            port: socket.local.port(),
            local_only: socket.local.ip().is_loopback(),
            user: users.get(&socket.uid).cloned().unwrap_or_else(|| socket.uid.to_string()),
            processes: owners.get(&socket.inode).cloned().unwrap_or_default(),
        })
        .collect();
    Ok(Listeners { listeners, truncated })
}

fn sockets(udp: bool) -> Result<Vec<Socket>, CallError> {
    let failed = |e| CallError::failed(format!("/proc/net cannot be read: {e}"));
    let mut sockets = Vec::new();
    // A kernel without IPv6 has no second table.
    for entry in
        procfs::net::tcp().map_err(failed)?.into_iter().chain(procfs::net::tcp6().unwrap_or_default())
    {
        if entry.state == TcpState::Listen {
            let (local, uid, inode) = (entry.local_address, entry.uid, entry.inode);
            sockets.push(Socket { protocol: "tcp", local, uid, inode });
        }
    }
    if udp {
        for entry in
            procfs::net::udp().map_err(failed)?.into_iter().chain(procfs::net::udp6().unwrap_or_default())
        {
            if entry.state != UdpState::Established {
                let (local, uid, inode) = (entry.local_address, entry.uid, entry.inode);
                sockets.push(Socket { protocol: "udp", local, uid, inode });
            }
        }
    }
    Ok(sockets)
}

/// The processes that hold these sockets, by inode.
fn owners(ctx: &Ctx, sockets: &[Socket]) -> Result<HashMap<u64, Vec<Owner>>, CallError> {
    let mut owners: HashMap<u64, Vec<Owner>> = sockets.iter().map(|s| (s.inode, Vec::new())).collect();
    let processes = all_processes().map_err(|e| CallError::failed(format!("/proc cannot be read: {e}")))?;
    for process in processes.flatten() {
        ctx.check()?;
        // Processes that end meanwhile, or that the kernel hides, are passed over.
        let Ok(fds) = process.fd() else { continue };
        for fd in fds.flatten() {
            let FDTarget::Socket(inode) = fd.target else { continue };
            let Some(holders) = owners.get_mut(&inode) else { continue };
            let pid = process.pid().cast_unsigned();
            if holders.iter().all(|owner| owner.pid != pid) {
                let name = process.stat().map(|stat| stat.comm).unwrap_or_default();
                holders.push(Owner { pid, name });
            }
        }
    }
    Ok(owners)
}

fn summary(found: &Listeners) -> String {
    let words: Vec<_> = found
        .listeners
        .iter()
        .take(12)
        .map(|l| {
            let who = l.processes.first().map_or("unknown", |owner| owner.name.as_str());
            let local = if l.local_only { " (local only)" } else { "" };
            format!("{} on {} {}{local}", who, l.protocol, l.port)
        })
        .collect();
    match found.listeners.len() {
        0 => "nothing listens".into(),
        n if n > 12 => format!("{n} sockets listen: {} …", words.join(", ")),
        _ => words.join(", "),
    }
}
