//! The supervisors: how a service is written down for each of them, what is executed, how it is ended.

use crate::peer::run;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// The service's program, as it is seen inside.
const PROBE: &str = "/bench/probe";
/// Where service directories are, inside.
const SERVICES: &str = "services";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Supervisor {
    Aios,
    /// Each service with a standby.
    Standby,
    /// Each service privileged: the peers take nothing from a service either.
    Privileged,
    S6,
    Runit,
    Systemd,
}

pub(super) const ALL: [Supervisor; 6] = [
    Supervisor::Aios,
    Supervisor::Standby,
    Supervisor::Privileged,
    Supervisor::S6,
    Supervisor::Runit,
    Supervisor::Systemd,
];

/// The name of a service by its number.
pub(super) fn name(number: usize) -> String {
    format!("s{number:04}")
}

impl Supervisor {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Aios => "aiOS",
            Self::Standby => "standby",
            Self::Privileged => "privileged",
            Self::S6 => "s6",
            Self::Runit => "runit",
            Self::Systemd => "systemd",
        }
    }

    /// By its title.
    pub(super) fn called(title: &str) -> Result<Self> {
        let found = ALL.into_iter().find(|supervisor| supervisor.title() == title);
        found.with_context(|| format!("{title} is no supervisor that is measured"))
    }

    /// Program and arguments of PID 1.
    pub(super) fn command(self) -> &'static [&'static str] {
        match self {
            Self::Aios | Self::Standby | Self::Privileged => &["/sbin/init"],
            Self::S6 => &["/usr/bin/s6-svscan", "-c", "2000", "/services"],
            Self::Runit => &["/usr/bin/runsvdir", "/services"],
            Self::Systemd => {
                &["/usr/lib/systemd/systemd", "--system", "--unit=bench.target", "--show-status=0"]
            }
        }
    }

    /// Write down this many services below a root.
    pub(super) fn prepare(self, root: &Path, count: usize) -> Result<()> {
        match self {
            Self::Aios | Self::Standby | Self::Privileged => {
                let own = aios_tests::program("aios-init");
                fs::create_dir(root.join("sbin"))?;
                fs::copy(&own, root.join("sbin/init"))
                    .with_context(|| format!("{} is missing", own.display()))?;
            }
            _ => {
                let program = Path::new(self.command()[0]);
                ensure!(
                    program.exists(),
                    "{} is missing; scripts/deps.sh bench installs it",
                    program.display()
                );
            }
        }
        for number in 0..count {
            self.service(root, &name(number)).context("a service cannot be written down")?;
        }
        if self == Self::Systemd {
            let target = "[Unit]\nDescription=All services\nDefaultDependencies=no\n";
            fs::write(root.join("etc/systemd/system/bench.target"), target)?;
        }
        Ok(())
    }

    /// One service; each is the shortest that the supervisor takes, and as ready as it can tell.
    fn service(self, root: &Path, name: &str) -> std::io::Result<()> {
        match self {
            Self::Aios | Self::Standby | Self::Privileged => {
                let folder = root.join("etc/aios/services");
                fs::create_dir_all(&folder)?;
                let standby = self == Self::Standby;
                let granted = if self == Self::Privileged { "privileged" } else { "network" };
                let text = format!(
                    "description = \"{name}\"\nexec = [\"{PROBE}\", \"{name}\"]\nuser = \"root\"\n\
                     ready = \"notify\"\nstandby = {standby}\n[sandbox]\n{granted} = true\n"
                );
                fs::write(folder.join(format!("{name}.toml")), text)
            }
            Self::S6 | Self::Runit => {
                let folder = root.join(SERVICES).join(name);
                fs::create_dir_all(&folder)?;
                if self == Self::S6 {
                    fs::write(folder.join("notification-fd"), "3\n")?;
                }
                symlink(PROBE, folder.join("run"))
            }
            Self::Systemd => {
                let folder = root.join("etc/systemd/system");
                let wants = folder.join("bench.target.wants");
                fs::create_dir_all(&wants)?;
                let text = format!(
                    "[Unit]\nDescription={name}\nDefaultDependencies=no\nConflicts=shutdown.target\n\
                     Before=shutdown.target\n[Service]\nType=notify\nExecStart={PROBE} {name}\nRestart=always\n\
                     StandardOutput=null\nStandardError=null\n"
                );
                fs::write(folder.join(format!("{name}.service")), text)?;
                symlink(format!("../{name}.service"), wants.join(format!("{name}.service")))
            }
        }
    }

    /// Ask for the end: services are stopped, then PID 1 ends.
    pub(super) fn end(self, pid1: Pid, root: &Path) -> Result<()> {
        let signal = match self {
            Self::Aios | Self::Standby | Self::Privileged | Self::S6 => Signal::TERM,
            Self::Systemd => Signal::INT,
            Self::Runit => {
                // Alone, runsvdir ends without waiting for its services.
                let folders = fs::read_dir(root.join(SERVICES))?.map(|entry| Ok(entry?.path()));
                let folders = folders.collect::<std::io::Result<Vec<_>>>()?;
                run(Command::new("sv").args(["-w", "30", "force-stop"]).args(folders))?;
                Signal::HUP
            }
        };
        kill_process(pid1, signal).with_context(|| format!("{} cannot be asked to end", self.title()))
    }
}
