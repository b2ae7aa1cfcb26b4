//! From a service file to a process.

use crate::spawner::Spawner;
use crate::sys::{self, Directory, Given, Program, REPORT_BYTES};
use crate::{cgroup::Cgroup, sandbox, socket};
use aios_unit::{Readiness, Unit};
use rustix::fs::{Gid, Uid, chown};
use rustix::process::Pid;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Programs of the image are in these places.
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
/// Open files of a process whose service file says nothing else.
const OPEN_FILES: u32 = 4096;

/// A process that was just made.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    /// What the service writes to its standard output and error.
    pub(crate) output: OwnedFd,
    /// Closes without a word when the program is executed, else says why it was not.
    pub(crate) report: OwnedFd,
    /// Where it writes a line when it is ready, if that is how it says so.
    pub(crate) ready: Option<OwnedFd>,
    /// What is missing without being fatal.
    pub(crate) faults: Vec<String>,
}

impl Spawned {
    /// Why the program was not executed, if that is so and known already.
    pub(crate) fn failure(&self) -> Option<String> {
        let mut report = [0; REPORT_BYTES];
        let whole = rustix::io::read(&self.report, &mut report[..]) == Ok(REPORT_BYTES);
        whole.then(|| sys::read_report(report))
    }
}

/// Make the process of a service. The sockets are made at the first call and kept. One that `waits` does not
/// begin its program before [`sys::begin`].
pub(crate) fn spawn(
    spawner: &mut Spawner,
    unit: &Unit,
    cgroup: &Cgroup,
    sockets: &mut Vec<(String, OwnedFd)>,
    notify: &str,
    waits: bool,
) -> Result<Spawned, String> {
    let mut faults = Vec::new();
    for wanted in &unit.sockets {
        if !sockets.iter().any(|(name, _)| *name == wanted.name) {
            sockets.push((wanted.name.clone(), socket::make(unit, wanted)?));
        }
    }
    unit.devices.iter().for_each(|device| give_device(device, unit));
    let mut opened = Vec::new();
    for open in &unit.open {
        match socket::open(open) {
            Ok(fd) => opened.push((open.name.as_str(), fd)),
            Err(why) => faults.push(why),
        }
    }
    let system = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    let null = File::open("/dev/null").map_err(system("/dev/null"))?;
    let (output, writer) = pipe().map_err(system("no pipe for its output"))?;
    let (report, reporter) = pipe().map_err(system("no pipe for its start"))?;
    let (ready, ready_writer) = match unit.ready {
        Readiness::Descriptor(number) => {
            let (reader, writer) = pipe().map_err(system("no pipe for its readiness"))?;
            (Some(reader), RawFd::try_from(number).ok().map(|number| (number, writer)))
        }
        Readiness::Started | Readiness::Notify => (None, None),
    };
    for reader in [&output, &report].into_iter().chain(&ready) {
        rustix::io::ioctl_fionbio(reader, true).map_err(|e| format!("its pipes cannot be read: {e}"))?;
    }
    let passed: Vec<(&str, BorrowedFd<'_>)> = sockets
        .iter()
        .map(|(name, fd)| (name.as_str(), fd.as_fd()))
        .chain(opened.iter().map(|(name, fd)| (*name, fd.as_fd())))
        .collect();
    let given = [null.as_fd(), writer.as_fd(), writer.as_fd()];
    let mut descriptors: Vec<BorrowedFd<'_>> =
        given.into_iter().chain(passed.iter().map(|(_, fd)| *fd)).collect();
    let mut numbers: Vec<RawFd> = (0..).take(descriptors.len()).collect();
    if let Some((number, writer)) = &ready_writer {
        numbers.push(*number);
        descriptors.push(writer.as_fd());
    }
    let names: Vec<&str> = passed.iter().map(|(name, _)| *name).collect();
    let environment = environment(unit, &names, notify);
    let text = |words: Vec<String>| -> Result<Vec<CString>, String> {
        words
            .into_iter()
            .map(|w| CString::new(w).map_err(|_| "a NUL character in its words".to_owned()))
            .collect()
    };
    let (argv, environment) = (text(unit.exec.clone())?, text(environment)?);
    let listens = (!passed.is_empty()).then_some("LISTEN_PID");
    let watched = unit.watchdog.map(|_| "WATCHDOG_PID");
    let pid_variables = listens.into_iter().chain(watched);
    let (sandbox, missing) = sandbox::prepare(unit);
    faults.extend(missing);
    let score = unit.resources.oom_score;
    let stamp = match &unit.timer {
        Some(_) => text(vec![crate::boot::stamp_of(&unit.name)])?.pop(),
        None => None,
    };
    // In a container init has not all of them, and so has nobody.
    let capabilities = match unit.sandbox.privileged {
        true => rustix::thread::capabilities(None).map_err(|e| format!("its capabilities: {e}"))?.permitted,
        false => unit.sandbox.capabilities,
    };
    let directory = unit.working_directory.as_deref().unwrap_or(Path::new("/"));
    let place = cgroup.open().map_err(system("its cgroup"))?;
    let program = Program {
        argv,
        environment,
        pid_variables: pid_variables.map(str::to_owned).collect(),
        numbers,
        uid: unit.user.uid,
        gid: unit.user.gid,
        groups: unit.user.groups.clone(),
        capabilities: capabilities.bits(),
        open_files: unit.resources.open_files.unwrap_or(OPEN_FILES).into(),
        oom_score: (score != 0).then(|| score.to_string()),
        nice: unit.resources.nice,
        sandbox,
        directories: directories(unit),
        directory: CString::new(directory.as_os_str().as_bytes()).map_err(|e| e.to_string())?,
        stamp,
        waits,
    };
    let given = Given { report: reporter.as_fd(), cgroup: place.as_fd(), descriptors };
    let pid = spawner.spawn(&program, &given).map_err(system("no new process"))?;
    Ok(Spawned { pid, output, report, ready, faults })
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

fn environment(unit: &Unit, names: &[&str], notify: &str) -> Vec<String> {
    // Of two with one name the C library takes the first.
    let own_path = unit.environment.iter().find(|(name, _)| name == "PATH");
    let mut variables = vec![
        format!("PATH={}", own_path.map_or(PATH, |(_, value)| value)),
        format!("USER={}", unit.user.name),
        format!("NOTIFY_SOCKET={notify}"),
    ];
    // As systemd does: a program that is told of no descriptors at all may close those that it has (Debian's sshd does).
    if !names.is_empty() {
        variables.push(format!("LISTEN_FDS={}", names.len()));
        variables.push(format!("LISTEN_FDNAMES={}", names.join(":")));
    }
    let directories =
        [("STATE_DIRECTORY", &unit.state_directory), ("RUNTIME_DIRECTORY", &unit.runtime_directory)];
    for (name, directory) in directories {
        variables.extend(directory.as_ref().map(|path| format!("{name}={}", path.display())));
    }
    variables.extend(unit.watchdog.map(|limit| format!("WATCHDOG_USEC={}", limit.as_micros())));
    let others = unit.environment.iter().filter(|(name, _)| name != "PATH");
    variables.extend(others.map(|(name, value)| format!("{name}={value}")));
    variables
}

/// The service's own directories and those between them and the mount that they are on.
fn directories(unit: &Unit) -> Vec<Directory> {
    let own = unit.state_directory.iter().chain(&unit.runtime_directory);
    let mut all = Vec::new();
    for directory in own {
        // `/data` and `/run` are there.
        let mut above: Vec<&Path> = directory.ancestors().filter(|p| p.components().count() > 2).collect();
        above.reverse();
        all.extend(above.into_iter().filter_map(|path| {
            let own = path == directory.as_path();
            Some(Directory { path: CString::new(path.as_os_str().as_bytes()).ok()?, own })
        }));
    }
    all
}

/// Give a device to the service's user. One that is not there is given when it appears.
pub(crate) fn give_device(path: &Path, unit: &Unit) {
    let _ = chown(path, Some(Uid::from_raw(unit.user.uid)), Some(Gid::from_raw(unit.user.gid)));
}
