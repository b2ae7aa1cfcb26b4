//! A supervisor at work as PID 1 of namespaces of its own, and what is known of its processes.

use super::probe::Probe;
use super::reports::{Kind, Reports};
use super::supervisor::Supervisor;
use crate::process::field;
use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// In memory, so that no disk is measured; the sockets' paths must be short.
const PLACE: &str = "/dev/shm";
/// When nothing more happens after a start.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct World {
    pub(super) supervisor: Supervisor,
    pub(super) reports: Reports,
    pid1: Pid,
    /// Main processes of the services by their number, as the start left them.
    services: Vec<Pid>,
    /// From the execution of the supervisor to the `main` of the last service.
    pub(super) started_in: Duration,
    child: Child,
    cgroup: PathBuf,
    root: tempfile::TempDir,
}

impl World {
    /// Start it with this many services and wait until each has reported that it is ready.
    pub(super) fn start(supervisor: Supervisor, count: usize, probe: &Probe) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("aios-bench-").tempdir_in(PLACE)?;
        furnish(root.path(), probe)?;
        supervisor.prepare(root.path(), count)?;
        let reports = Reports::open(&root.path().join("bench/reports"))?;
        let tag = root.path().file_name().context("no name")?;
        let cgroup = unified()?.join(tag);
        fs::create_dir(&cgroup).with_context(|| format!("{} cannot be made", cgroup.display()))?;
        let child = Command::new(std::env::current_exe()?)
            .args([
                "enter".as_ref(),
                cgroup.as_os_str(),
                supervisor.title().as_ref(),
                root.path().as_os_str(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut world = Self {
            supervisor,
            reports,
            pid1: Pid::INIT,
            services: Vec::new(),
            started_in: Duration::ZERO,
            child,
            cgroup,
            root,
        };
        world.wait_for_all(count).with_context(|| format!("{} with {count} services", supervisor.title()))?;
        Ok(world)
    }

    fn wait_for_all(&mut self, count: usize) -> Result<()> {
        let (pid1, executed) = self.reports.wait(Kind::Executes, self.supervisor.title())?;
        self.pid1 = pid1;
        let mut mains = vec![None; count];
        let (mut ready, mut last) = (0, executed.at);
        while ready < count {
            let (pid, report) = self.reports.next()?;
            match report.kind {
                Kind::Began => {
                    let number = report.name.get(1..).and_then(|digits| digits.parse::<usize>().ok());
                    let slot =
                        number.and_then(|number| mains.get_mut(number)).context("a stranger reported")?;
                    ensure!(slot.replace(pid).is_none(), "{} was started twice", report.name);
                    last = last.max(report.at);
                }
                Kind::Ready => ready += 1,
                Kind::Executes => {}
            }
        }
        self.started_in = last.saturating_sub(executed.at);
        self.services = mains.into_iter().flatten().collect();
        Ok(())
    }

    /// The main process of a service, as the start left it.
    pub(super) fn service(&self, number: usize) -> Option<Pid> {
        self.services.get(number).copied()
    }

    /// The processes that are no services: PID 1 and its helpers.
    fn supervisors(&self) -> Result<BTreeSet<u32>> {
        let mut all = BTreeSet::new();
        processes(&self.cgroup, &mut all)?;
        all.remove(&self.child.id());
        Ok(all.into_iter().filter(|pid| !is_probe(*pid)).collect())
    }

    /// Proportional set size of all supervisor processes in KiB (proc_pid_smaps(5)).
    pub(super) fn pss(&self) -> Result<f64> {
        let mut sum = 0.0;
        for pid in self.supervisors()? {
            sum += field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")?;
        }
        Ok(sum)
    }

    /// How often all supervisor processes were put on a processor so far (proc_pid_status(5)).
    pub(super) fn switches(&self) -> Result<f64> {
        let mut sum = 0.0;
        for pid in self.supervisors()? {
            let status = format!("/proc/{pid}/status");
            sum +=
                field(&status, "voluntary_ctxt_switches:")? + field(&status, "nonvoluntary_ctxt_switches:")?;
        }
        Ok(sum)
    }

    /// Wait until the supervisor has nothing more to do after the start.
    pub(super) fn settle(&self) -> Result<()> {
        let begin = Instant::now();
        let mut before = self.switches()?;
        // Quiet is that nothing happens for a while: there is no event to wait for.
        while begin.elapsed() < QUIET_LIMIT {
            std::thread::sleep(QUIET);
            let now = self.switches()?;
            if now <= before {
                return Ok(());
            }
            before = now;
        }
        Ok(())
    }

    /// Ask for the end and wait until the namespaces have gone.
    pub(super) fn end(mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.supervisor.end(self.pid1, self.root.path())?;
        self.child.wait()?;
        Ok(begin.elapsed())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = self.child.wait();
        wait_until_empty(&self.cgroup);
        // The last processes may still be on their way out, and nothing tells when they are.
        for _ in 0..100 {
            if remove(&self.cgroup).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("bench: {} could not be removed", self.cgroup.display());
    }
}

/// What every root has: the service's program, users, an identity.
fn furnish(root: &Path, probe: &Probe) -> Result<()> {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    for folder in ["bench", "etc"] {
        fs::create_dir(root.join(folder))?;
    }
    fs::copy(probe.path(), root.join("bench/probe"))?;
    let files = [
        ("etc/passwd", "root:x:0:0:root:/:/bin/false\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/os-release", "ID=bench\nVERSION_ID=0\n"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ];
    for (path, text) in files {
        fs::write(root.join(path), text)?;
    }
    Ok(())
}

/// Where the unified hierarchy of cgroups is mounted.
fn unified() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let place = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let at = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(at))
    });
    place.context("supervisors are measured in cgroups; mount the cgroup2 file system")
}

fn processes(cgroup: &Path, found: &mut BTreeSet<u32>) -> Result<()> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(cgroup)? {
        let path = entry?.path();
        if path.is_dir() {
            processes(&path, found)?;
        }
    }
    Ok(())
}

fn is_probe(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("bench/probe"))
}

/// A cgroup can be removed when its last process has gone, which its events file tells (cgroup-v2.rst).
fn wait_until_empty(cgroup: &Path) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let Ok(mut events) = fs::File::open(cgroup.join("cgroup.events")) else { return };
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    loop {
        let mut text = String::new();
        let read = events.rewind().and_then(|()| events.read_to_string(&mut text));
        if read.is_err() || text.contains("populated 0") {
            return;
        }
        if !matches!(poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&limit)), Ok(1)) {
            return;
        }
    }
}

/// Remove a cgroup and those in it.
fn remove(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let path = entry?.path();
        if path.is_dir() {
            remove(&path)?;
        }
    }
    fs::remove_dir(cgroup)
}
