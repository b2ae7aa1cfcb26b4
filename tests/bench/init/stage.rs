//! From this program to PID 1 of a small machine of namespaces: it executes itself once before they
//! are made (`enter`) and once inside them (`become`).

use super::reports::{Kind, REPORTS, Report, now};
use super::supervisor::Supervisor;
use anyhow::{Context, Result, anyhow};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Devices of the machine outside that are harmless.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Programs and libraries of the distribution, for its supervisors.
const DISTRIBUTION: [&str; 5] = ["usr", "bin", "sbin", "lib", "lib64"];

/// First half: into the cgroup, then into namespaces of its own.
pub(crate) fn enter(cgroup: &str, supervisor: &str, root: &str) -> Result<()> {
    fs::write(Path::new(cgroup).join("cgroup.procs"), "0").with_context(|| format!("{cgroup} is closed"))?;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child"]);
    let error = unshare.arg(std::env::current_exe()?).args(["become", supervisor, root]).exec();
    Err(anyhow!(error).context("unshare cannot be executed"))
}

/// Second half: the root, then the supervisor.
pub(crate) fn become_pid1(supervisor: &str, root: &str) -> Result<()> {
    let supervisor = Supervisor::called(supervisor)?;
    let own = matches!(supervisor, Supervisor::Aios | Supervisor::Standby | Supervisor::Privileged);
    mounts(Path::new(root), !own)?;
    let (program, arguments) = supervisor.command().split_first().context("no program")?;
    let socket = UnixDatagram::unbound()?;
    socket.send_to(&Report::bytes(Kind::Executes, now()?, supervisor.title()), REPORTS)?;
    drop(socket);
    let error = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), ("container", "bench")])
        .exec();
    Err(anyhow!(error).context(format!("{program} cannot be executed")))
}

/// Make a root of this directory, with what the distribution brings if it is wanted.
fn mounts(root: &Path, distribution: bool) -> Result<()> {
    mount_bind(root, root)?;
    // /dev/shm may forbid programs and devices; this view of it does not.
    mount_remount(root, MountFlags::BIND, c"")?;
    for name in ["proc", "sys", "dev", "run", "tmp", "data"] {
        fs::create_dir_all(root.join(name))?;
    }
    let fresh = |kind: &str, at: &str| {
        mount(kind, root.join(at), kind, MountFlags::empty(), c"")
            .with_context(|| format!("no {kind} on {at}"))
    };
    fresh("proc", "proc")?;
    fresh("sysfs", "sys")?;
    fresh("cgroup2", "sys/fs/cgroup")?;
    fresh("tmpfs", "dev")?;
    fresh("tmpfs", "run")?;
    for name in DEVICES {
        let node = root.join("dev").join(name);
        fs::write(&node, "")?;
        mount_bind(Path::new("/dev").join(name), &node)?;
    }
    for name in DISTRIBUTION.into_iter().filter(|_| distribution) {
        let own = Path::new("/").join(name);
        if own.exists() {
            fs::create_dir(root.join(name))?;
            mount_bind_recursive(&own, root.join(name))?;
        }
    }
    std::env::set_current_dir(root)?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and is taken off.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    Ok(())
}
