//! One appliance in one QEMU.

use crate::accel::{self, Accel};
use crate::engine::{Kind, Worker};
use crate::qmp::Qmp;
use crate::serial::Serial;
use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What to boot, and with what.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// Folder with `vmlinuz`, `initramfs.cpio`, `root.erofs` and `models.erofs`.
    pub image: PathBuf,
    /// Folder for this machine's sockets and logs.
    pub run: PathBuf,
    /// The data disk; it must exist ([`crate::disk::format`]).
    pub data: PathBuf,
    /// Folder in which the result of the KVM probe is remembered.
    pub probe: PathBuf,
    /// Memory in MiB.
    pub memory: u32,
    /// Port on 127.0.0.1 that leads to the console; a free one is taken when there is none.
    pub port: Option<u16>,
    /// Appended to the kernel's command line.
    pub cmdline: String,
    /// Folder with the engine workers' programs, for the case that they must run beside QEMU.
    pub engines: PathBuf,
    /// Folder with the models for these workers.
    pub models: PathBuf,
    /// Another text model than the folder's, for the worker beside QEMU.
    pub text_model: Option<PathBuf>,
    /// Whether workers run beside QEMU when there is no KVM.
    pub with_engines: bool,
}

impl MachineConfig {
    /// The appliance that the checkout at `root` has built, with its files in `run`.
    pub fn new(root: &Path, run: impl Into<PathBuf>) -> Self {
        let run = run.into();
        Self {
            image: root.join("target/image"),
            data: run.join("data.img"),
            run,
            probe: root.join("target/run"),
            memory: 1024,
            port: None,
            cmdline: String::new(),
            engines: root.join("target/engines/x86_64-unknown-linux-gnu/release"),
            models: root.join("target/models"),
            text_model: None,
            with_engines: true,
        }
    }
}

/// What a machine said when its console became ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// SHA-256 of the console's certificate.
    pub fingerprint: String,
    /// Whether somebody owns it already.
    pub claim: Claim,
}

/// Whether somebody owns the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody does: whoever has this code may claim it.
    Code(String),
    /// Somebody does.
    Claimed,
}

/// A running machine. Dropping it pulls the plug.
pub struct Machine {
    config: MachineConfig,
    accel: Accel,
    port: u16,
    qemu: Child,
    serial: Serial,
    workers: Vec<(Kind, Worker)>,
}

impl Machine {
    /// Start QEMU. Nothing is awaited; see [`Machine::wait_ready`].
    pub fn start(config: MachineConfig) -> Result<Self> {
        std::fs::create_dir_all(&config.run)
            .with_context(|| format!("{} cannot be made", config.run.display()))?;
        let accel = accel::probe(&config.probe)?;
        let workers = if accel == Accel::Tcg && config.with_engines { workers(&config)? } else { Vec::new() };
        let port = match config.port {
            Some(port) => port,
            // QEMU opens the port itself; until then somebody else could take it, and QEMU says so.
            None => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
        };
        let mut command = command(&config, accel, port, !workers.is_empty())?;
        let log = std::fs::File::create(config.run.join("qemu.log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut qemu = crate::sys::die_with_parent(&mut command, 0)
            .spawn()
            .context("qemu-system-x86_64 cannot be started; `make run` installs it")?;
        let output = qemu.stdout.take().context("QEMU has no output")?;
        let serial = Serial::collect(output, std::fs::File::create(config.run.join("serial.log"))?);
        Ok(Self { config, accel, port, qemu, serial, workers })
    }

    /// Address of the console.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// How the guest's processor is made.
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// What the guest says.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// What it was started with.
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// The worker beside QEMU, while it runs.
    pub fn worker_pid(&self, kind: Kind) -> Option<u32> {
        self.workers.iter().find(|(k, _)| *k == kind).and_then(|(_, worker)| worker.pid())
    }

    /// Wait until the console says on the serial line that it is ready.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<Ready> {
        let mut fingerprint = None;
        self.serial
            .wait_for(0, limit, |line| {
                if let Some((_, text)) = line.split_once("aios: certificate sha256 ") {
                    fingerprint = Some(text.trim().to_owned());
                }
                let claim = match line.split_once("aios: claim") {
                    Some((_, text)) if text.starts_with(" code ") => Claim::Code(text[6..].trim().to_owned()),
                    Some((_, text)) if text.trim_end() == "ed" => Claim::Claimed,
                    _ => return None,
                };
                fingerprint.take().map(|fingerprint| Ready { fingerprint, claim })
            })
            .with_context(|| self.diagnosis())
    }

    fn diagnosis(&self) -> String {
        let log = std::fs::read_to_string(self.config.run.join("qemu.log")).unwrap_or_default();
        let said = if log.trim().is_empty() { String::new() } else { format!("; QEMU says: {}", log.trim()) };
        format!("the console did not become ready{said}")
    }

    /// Press the power button and wait until the machine is off.
    pub fn power_off(mut self, limit: Duration) -> Result<()> {
        self.press_power_button()?;
        ensure!(self.wait_exit(limit)?, "the machine did not switch itself off within {} s", limit.as_secs());
        Ok(())
    }

    /// Press the power button (ACPI).
    pub fn press_power_button(&self) -> Result<()> {
        self.qmp()?.execute("system_powerdown", serde_json::json!({}))?;
        Ok(())
    }

    /// QEMU's control connection.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.config.run.join("qmp.sock"))
    }

    /// Wait until QEMU ends; false when the time is up before.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<bool> {
        let pid = Pid::from_raw(self.qemu.id().cast_signed()).context("QEMU has no process id")?;
        if self.qemu.try_wait()?.is_some() {
            return Ok(true);
        }
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let limit =
            Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: i64::from(limit.subsec_nanos()) };
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit))? > 0;
        if ended {
            self.qemu.wait()?;
        }
        Ok(ended)
    }

    /// Pull the plug, keep the disks, and give back what is needed to start again.
    pub fn kill(mut self) -> Result<MachineConfig> {
        self.qemu.kill()?;
        self.qemu.wait()?;
        Ok(self.config.clone())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn workers(config: &MachineConfig) -> Result<Vec<(Kind, Worker)>> {
    Kind::ALL
        .into_iter()
        .map(|kind| {
            let model = match kind {
                Kind::Text => config.text_model.clone().unwrap_or_else(|| config.models.join("text.gguf")),
                Kind::Embed => config.models.join("embed"),
            };
            let socket = config.run.join(format!("{}.sock", kind.port()));
            let log = config.run.join(format!("{}.log", kind.program()));
            Ok((kind, Worker::start(config.engines.join(kind.program()), model, socket, &log)?))
        })
        .collect()
}

fn command(config: &MachineConfig, accel: Accel, port: u16, ports: bool) -> Result<Command> {
    let file = |name: &str| {
        let path = config.image.join(name);
        if path.exists() { Ok(path) } else { bail!("{} is missing; `make image` builds it", path.display()) }
    };
    ensure!(config.data.exists(), "the data disk {} is missing", config.data.display());
    let append = format!(
        "console=ttyS0 root=SERIAL=aios-root aios.models=SERIAL=aios-models aios.data=SERIAL=aios-data quiet panic=10 {}",
        config.cmdline
    );
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-name", "aios", "-M", "q35", "-smp", "2", "-m", &config.memory.to_string()])
        .args(accel.args())
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(file("vmlinuz")?)
        .arg("-initrd")
        .arg(file("initramfs.cpio")?)
        .args(["-append", append.trim_end()])
        .args(["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"])
        .args([
            "-chardev",
            &format!("socket,id=qmp,path={},server=on,wait=off", escaped(&config.run.join("qmp.sock"))),
        ])
        .args(["-mon", "chardev=qmp,mode=control"])
        .args(["-netdev", &format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:443")])
        .args(["-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"]);
    for (serial, path, read_only) in [
        ("aios-root", file("root.erofs")?, true),
        ("aios-models", file("models.erofs")?, true),
        ("aios-data", config.data.clone(), false),
    ] {
        let options = if read_only { "readonly=on,file.locking=off" } else { "readonly=off" };
        command
            .args(["-drive", &format!("if=none,id={serial},format=raw,{options},file={}", escaped(&path))]);
        command.args(["-device", &format!("virtio-blk-pci,drive={serial},serial={serial}")]);
    }
    if ports {
        command.args(["-device", "virtio-serial-pci"]);
        for kind in Kind::ALL {
            let name = kind.port();
            let socket = escaped(&config.run.join(format!("{name}.sock")));
            command.args(["-chardev", &format!("socket,id={name},path={socket},server=off,reconnect=1")]);
            command.args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
        }
    }
    Ok(command)
}

/// A path as QEMU's option parser reads it: a comma is doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
