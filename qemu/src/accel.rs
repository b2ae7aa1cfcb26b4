//! Whether a guest really runs under KVM here.
//!
//! A `/dev/kvm` that opens proves nothing: on some nested hosts a guest never gets past its first
//! instructions. So a guest of nine bytes is started, and KVM counts only when it says good-bye. How long that
//! may take is measured: the same guest under emulation, just before, knows how busy this computer is.

use crate::children;
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
            // One thread for all processors: with a thread for each, a kernel that patched its own code (static
            // keys) panicked with `int3` once in some dozens of boots (QEMU 7.2). Booting is no slower this way.
            Self::Tcg => ["-accel", "tcg,thread=single", "-cpu", "max"],
        }
    }
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What to use.
    pub accel: Accel,
    /// Why, as a part of a sentence.
    pub why: String,
}

/// Boot sector: `mov dx, 0xf4; mov al, 0x10; out dx, al; hlt; jmp .`, which ends QEMU with status
/// 0x10 × 2 + 1 through its isa-debug-exit device.
const GUEST: [u8; 9] = [0xba, 0xf4, 0x00, 0xb0, 0x10, 0xee, 0xf4, 0xeb, 0xfd];
const GOOD_BYE: i32 = 0x10 * 2 + 1;
/// Far more than a firmware and nine bytes need under KVM, on an idle computer.
const SHORTEST: Duration = Duration::from_secs(4);
/// How many times as long as under emulation the guest may take under KVM, where it is a fraction of it.
const TIMES: u32 = 4;
/// After this an emulated guest hangs too, however busy the computer is.
const LONGEST: Duration = Duration::from_secs(120);
/// How a result that KVM works is remembered.
const WORKS: &str = "works";

/// Find out. What the guest did is remembered in a file in `folder` until this computer boots again.
pub fn probe(folder: &Path) -> Result<Probe> {
    if let Err(e) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        let why = match e.kind() {
            ErrorKind::NotFound => "there is no /dev/kvm on this computer".to_owned(),
            ErrorKind::PermissionDenied => {
                "you may not open /dev/kvm; join the group kvm to use it".to_owned()
            }
            _ => format!("/dev/kvm cannot be opened: {e}"),
        };
        return Ok(Probe { accel: Accel::Tcg, why });
    }
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let memo = folder.join("kvm-probe");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let known =
        std::fs::read_to_string(&memo).ok().and_then(|text| text.strip_prefix(&boot).map(str::to_owned));
    let works = match known {
        Some(known) => known == WORKS,
        None => {
            let begun = Instant::now();
            says_good_bye(Accel::Tcg, LONGEST)?;
            let works = says_good_bye(Accel::Kvm, SHORTEST.max(begun.elapsed() * TIMES))?;
            std::fs::write(&memo, format!("{boot}{}", if works { WORKS } else { "hangs" }))?;
            works
        }
    };
    Ok(if works {
        Probe { accel: Accel::Kvm, why: "a small guest ran under KVM".to_owned() }
    } else {
        let why = "/dev/kvm opens, but a guest does not get past its first instructions".to_owned();
        Probe { accel: Accel::Tcg, why }
    })
}

/// Whether the tiny guest runs to its end in this time.
fn says_good_bye(accel: Accel, patience: Duration) -> Result<bool> {
    let mut sector = [0; 512];
    sector[..GUEST.len()].copy_from_slice(&GUEST);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("guest"), sector)?;
    let mut command = Command::new("qemu-system-x86_64");
    command
        .current_dir(folder.path())
        .args(accel.args())
        .args(["-M", "pc", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .args(["-drive", "if=ide,format=raw,file=guest"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = children::start(command, 0)
        .context("qemu-system-x86_64 cannot be started; scripts/deps.sh installs it")?;
    let handle = children::handle(&child)?;
    let ended = children::wait(&handle, patience)?;
    if !ended {
        children::kill(&handle);
    }
    Ok(child.wait()?.code() == Some(GOOD_BYE) && ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiny_guest_says_good_bye_where_guests_run_at_all() {
        assert!(says_good_bye(Accel::Tcg, LONGEST).expect("QEMU starts"));
    }

    #[test]
    fn what_was_found_out_is_the_same_the_second_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = probe(folder.path()).expect("probes");
        // Where nobody may open /dev/kvm there is nothing to remember, and no guest is started.
        let memo = folder.path().join("kvm-probe");
        let written = std::fs::metadata(&memo).and_then(|m| m.modified()).ok();
        assert_eq!(probe(folder.path()).expect("probes"), first);
        let again = std::fs::metadata(&memo).and_then(|m| m.modified()).ok();
        assert_eq!(again, written, "the second probe started a guest again");
    }
}
