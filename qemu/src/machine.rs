//! One appliance in one QEMU.

use crate::accel::{self, Accel, Probe};
use crate::command;
use crate::config::MachineConfig;
use crate::engine::{Kind, Order, Worker};
use crate::qmp::Qmp;
use crate::ready::{Ready, Scanner};
use crate::serial::Serial;
use crate::{children, disk};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, absolute};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

/// A machine that runs. Dropping it pulls the plug; nothing is left behind but disks and logs.
pub struct Machine {
    config: MachineConfig,
    probe: Probe,
    port: u16,
    qemu: Child,
    handle: OwnedFd,
    serial: Serial,
    /// The keyboard at the other end of the serial line.
    keyboard: ChildStdin,
    /// How far [`Machine::wait_ready`] has read.
    read: usize,
    workers: Vec<(Kind, Worker)>,
    sockets: tempfile::TempDir,
}

impl Machine {
    /// Start QEMU, and the engine workers beside it where the machine is emulated. Nothing is awaited;
    /// see [`Machine::wait_ready`].
    pub fn start(config: MachineConfig) -> Result<Self> {
        std::fs::create_dir_all(&config.run)
            .with_context(|| format!("{} cannot be made", config.run.display()))?;
        if !config.data.exists() {
            disk::format(&config.data)?;
        }
        let probe = match config.accel {
            Some(accel) => Probe { accel, why: "it was asked for".to_owned() },
            None => accel::probe(&config.probe)?,
        };
        let port = match config.port {
            Some(port) => {
                TcpListener::bind(("127.0.0.1", port)).with_context(|| {
                    format!("port {port} of 127.0.0.1 is not free; end what uses it or choose another one")
                })?;
                port
            }
            // QEMU opens the port itself; should somebody else take it until then, QEMU says so.
            None => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
        };
        let sockets = tempfile::Builder::new().prefix("aios-").tempdir()?;
        let outside = probe.accel == Accel::Tcg && config.engines_outside;
        let workers = if outside { workers(&config, sockets.path())? } else { Vec::new() };
        let mut command = command::qemu(&config, probe.accel, port, outside, sockets.path())?;
        let log = File::create(config.run.join("qemu.log"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut qemu = children::start(command, 0)
            .context("qemu-system-x86_64 cannot be started; scripts/deps.sh installs it")?;
        let keyboard = qemu.stdin.take().context("QEMU has no input")?;
        let output = qemu.stdout.take().context("QEMU has no output")?;
        let serial = Serial::collect(output, File::create(config.serial_log())?);
        let handle = children::handle(&qemu)?;
        Ok(Self { config, probe, port, qemu, handle, serial, keyboard, read: 0, workers, sockets })
    }

    /// Address of the console, without a slash at its end.
    pub fn console_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1 that leads to the console.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How the guest's processor is made, and why.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// What the guest says.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Type a line on the serial line, as somebody who stands before the machine.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).context("nobody listens on the serial line")
    }

    /// What it was started with.
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// QEMU's process.
    pub fn pid(&self) -> u32 {
        self.qemu.id()
    }

    /// Becomes readable when QEMU ends (pidfd_open(2)).
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// The engine worker beside QEMU, while it runs; there is none when the model runs in the machine.
    pub fn engine_pid(&self, kind: Kind) -> Option<u32> {
        self.worker(kind).and_then(Worker::pid)
    }

    /// Kill the engine worker beside QEMU, which is then started again. False when there is none.
    pub fn kill_engine(&self, kind: Kind) -> bool {
        let worker = self.worker(kind);
        worker.inspect(|worker| worker.kill()).is_some()
    }

    fn worker(&self, kind: Kind) -> Option<&Worker> {
        self.workers.iter().find(|(k, _)| *k == kind).map(|(_, worker)| worker)
    }

    /// Wait until the console says on the serial line that it is ready. A second call waits for the next
    /// time: the console's next start, or the machine's.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<Ready> {
        self.wait_ready_and_tell(limit, |_| {})
    }

    /// As [`Machine::wait_ready`], and show each line to somebody meanwhile.
    pub fn wait_ready_and_tell(&mut self, limit: Duration, mut tell: impl FnMut(&str)) -> Result<Ready> {
        let mut scanner = Scanner::default();
        let ready = self.serial.wait_for(&mut self.read, limit, |line| {
            tell(line);
            scanner.line(line)
        });
        ready.with_context(|| {
            let said = std::fs::read_to_string(self.config.run.join("qemu.log")).unwrap_or_default();
            match said.trim() {
                "" => "the console did not become ready".to_owned(),
                said => format!("the console did not become ready; QEMU says: {said}"),
            }
        })
    }

    /// Press the power button and wait until the machine is off.
    pub fn power_off(&mut self, limit: Duration) -> Result<()> {
        self.qmp()?.power_button()?;
        ensure!(
            self.wait_exit(limit)?,
            "the machine did not switch itself off within {} s; {} holds what it said",
            limit.as_secs(),
            self.config.serial_log().display()
        );
        Ok(())
    }

    /// QEMU's control connection.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.sockets.path().join(command::CONTROL))
    }

    /// Wait until QEMU ends; false when the time is up before.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<bool> {
        let ended = children::wait(&self.handle, limit)?;
        if ended {
            self.qemu.wait()?;
        }
        Ok(ended)
    }

    /// Pull the plug: what the guest did not write to its disks is lost.
    pub fn kill(&mut self) -> Result<()> {
        children::kill(&self.handle);
        self.qemu.wait()?;
        Ok(())
    }

    /// Start it again with the same disks and the same port, after pulling the plug if it still runs.
    pub fn restart_same_disks(mut self) -> Result<Self> {
        self.kill()?;
        let mut config = self.config.clone();
        config.port = Some(self.port);
        drop(self);
        Self::start(config)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn workers(config: &MachineConfig, sockets: &Path) -> Result<Vec<(Kind, Worker)>> {
    let start = |kind: Kind| {
        let model = match kind {
            Kind::Text => config.text_model.clone().unwrap_or_else(|| config.models.join("text.gguf")),
            Kind::Embed => config.models.join("embed"),
        };
        let adapter = config.models.join(match kind {
            Kind::Text => "calls.gguf",
            Kind::Embed => "choice.safetensors",
        });
        let reader = config.models.join("arguments.safetensors");
        let is_ours = (kind == Kind::Embed || config.text_model.is_none()) && adapter.exists();
        // One for all machines that are started from here: they have the same processor.
        let kernels = (kind == Kind::Text).then(|| absolute(config.engines.join("kernels.json")));
        let order = Order {
            kernels: kernels.transpose()?,
            program: absolute(config.engines.join(kind.program()))?,
            model: absolute(model)?,
            adapter: is_ours.then(|| absolute(adapter)).transpose()?,
            reader: (kind == Kind::Embed && reader.exists()).then(|| absolute(reader)).transpose()?,
            socket: sockets.join(kind.port()),
            log: config.run.join(format!("{}.log", kind.program())),
        };
        Ok((kind, Worker::start(order)?))
    };
    Kind::ALL.into_iter().map(start).collect()
}
