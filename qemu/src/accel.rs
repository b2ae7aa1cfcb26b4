//! Whether a guest really runs under KVM here.
//!
//! A `/dev/kvm` that opens proves nothing: on some nested hosts a guest never gets past its first
//! instructions. So a guest of fifteen bytes is started, and KVM counts only when it says good-bye.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::path::Path;
use std::process::{Command, Stdio};

/// How the guest's processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// Hardware virtualisation.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Accel {
    /// QEMU's arguments for it.
    pub fn args(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// Boot sector: `out 0xf4, al` with AL = 0x10, which ends QEMU with status 0x10 × 2 + 1 through its
/// isa-debug-exit device; then it halts for ever.
const GUEST: [u8; 9] = [0xba, 0xf4, 0x00, 0xb0, 0x10, 0xee, 0xf4, 0xeb, 0xfd];
const GOOD_BYE: i32 = 0x10 * 2 + 1;
/// Far more than a firmware and nine bytes need, in milliseconds.
const PATIENCE_MS: i64 = 4000;

/// Find out, and remember it until the next boot of this computer in a file in `folder`.
pub fn probe(folder: &Path) -> Result<Accel> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let memo = folder.join("kvm-probe");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if let Some(known) =
        std::fs::read_to_string(&memo).ok().and_then(|t| t.strip_prefix(&boot).map(str::to_owned))
    {
        return Ok(if known == "kvm" { Accel::Kvm } else { Accel::Tcg });
    }
    let accel = if runs_under_kvm(folder)? { Accel::Kvm } else { Accel::Tcg };
    std::fs::write(&memo, format!("{boot}{}", if accel == Accel::Kvm { "kvm" } else { "tcg" }))?;
    Ok(accel)
}

fn runs_under_kvm(folder: &Path) -> Result<bool> {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(false);
    }
    let mut sector = [0; 512];
    sector[..GUEST.len()].copy_from_slice(&GUEST);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let image = folder.join("kvm-probe.img");
    std::fs::write(&image, sector)?;
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "kvm", "-cpu", "host", "-M", "pc", "-m", "16", "-nodefaults", "-display", "none"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive"])
        .arg(format!("if=ide,format=raw,snapshot=on,file={}", image.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = crate::sys::die_with_parent(&mut command, 0)
        .spawn()
        .context("qemu-system-x86_64 cannot be started; `make run` installs it")?;
    let pid = Pid::from_raw(child.id().cast_signed()).context("the probe has no process id")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = rustix::event::Timespec { tv_sec: PATIENCE_MS / 1000, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit))? > 0;
    if !ended {
        child.kill()?;
    }
    Ok(child.wait()?.code() == Some(GOOD_BYE) && ended)
}
