//! What to boot, and with what.

use crate::accel::Accel;
use std::path::{Path, PathBuf};

/// A machine that is to be started.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// Folder with `vmlinuz`, `initramfs.cpio`, `root.erofs` and `models.erofs`.
    pub image: PathBuf,
    /// Folder for this machine's logs.
    pub run: PathBuf,
    /// The data disk. It is made when it is not there; [`crate::disk`] puts files on it.
    pub data: PathBuf,
    /// Folder in which the result of the KVM probe is remembered.
    pub probe: PathBuf,
    /// How the processor is made; found out by a probe when it is `None`.
    pub accel: Option<Accel>,
    /// Memory in MiB.
    pub memory: u32,
    /// Number of processors.
    pub processors: u32,
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
    /// Whether workers run beside QEMU when the machine is emulated.
    pub engines_outside: bool,
    /// Whether a reboot starts the guest again; otherwise it ends the machine, as a test wants it.
    pub reboots: bool,
    /// Whether there is a watchdog (i6300esb), which resets the machine.
    pub watchdog: bool,
    /// Whether there is a USB controller, for [`crate::qmp::Qmp::plug_in`].
    pub usb: bool,
}

impl MachineConfig {
    /// The appliance that the checkout at `root` has built, with its data disk and logs in `run`.
    pub fn new(root: &Path, run: impl Into<PathBuf>) -> Self {
        let run = run.into();
        Self {
            image: root.join("target/image"),
            data: run.join("data.img"),
            run,
            probe: root.join("target/run"),
            accel: None,
            memory: 1024,
            processors: 2,
            port: None,
            cmdline: String::new(),
            engines: root.join("target/engines/x86_64-unknown-linux-gnu/release"),
            models: root.join("target/models"),
            text_model: None,
            engines_outside: true,
            reboots: false,
            watchdog: false,
            usb: false,
        }
    }

    /// File that gets everything that the guest says on its serial line.
    pub fn serial_log(&self) -> PathBuf {
        self.run.join("serial.log")
    }
}
