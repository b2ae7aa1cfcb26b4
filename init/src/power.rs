//! Power: the button, the watchdog, and the end.

use crate::boot::Place;
use crate::device::line;
use crate::logs::Logs;
use crate::supervisor::Power;
use rustix::system::RebootCommand;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `KEY_POWER` of linux/input-event-codes.h.
const KEY_POWER: u16 = 116;
/// `struct input_event` on a 64-bit kernel.
const INPUT_EVENT: usize = 24;
/// How often the watchdog hears from us; its own limit is longer everywhere.
pub(crate) const WATCHDOG_PAUSE: Duration = Duration::from_secs(5);

/// Input devices that have a power key.
pub(crate) fn buttons() -> Vec<PathBuf> {
    std::fs::read_dir("/sys/class/input")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("event"))
        .filter(|entry| {
            line(&entry.path().join("device/capabilities/key")).is_some_and(|keys| has_power(&keys))
        })
        .map(|entry| Path::new("/dev/input").join(entry.file_name()))
        .collect()
}

/// The kernel shows the key bits as 64-bit words in hexadecimal, the highest first.
fn has_power(keys: &str) -> bool {
    let word = keys.split(' ').rev().nth(usize::from(KEY_POWER / 64));
    word.and_then(|w| u64::from_str_radix(w, 16).ok()).is_some_and(|w| w >> (KEY_POWER % 64) & 1 == 1)
}

/// Open one of them.
pub(crate) fn open_button(path: &Path) -> Option<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path).ok()
}

/// Whether the power key was pressed. An error means that the device has gone.
pub(crate) fn pressed(button: &mut File) -> std::io::Result<bool> {
    const EV_KEY: u16 = 1;
    let mut found = false;
    let mut buffer = [0; INPUT_EVENT * 16];
    loop {
        let length = match button.read(&mut buffer) {
            Ok(0) => return Ok(found),
            Ok(length) => length,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(found),
            Err(e) => return Err(e),
        };
        for event in buffer.get(..length).unwrap_or_default().chunks_exact(INPUT_EVENT) {
            // The time takes 16 bytes; type, code and value follow.
            if let [.., t0, t1, c0, c1, v0, v1, v2, v3] = *event {
                let kind = u16::from_ne_bytes([t0, t1]);
                let code = u16::from_ne_bytes([c0, c1]);
                found |= kind == EV_KEY && code == KEY_POWER && i32::from_ne_bytes([v0, v1, v2, v3]) == 1;
            }
        }
    }
}

/// The hardware that restarts the machine when PID 1 says nothing any more. Opening it arms it; it is
/// disarmed while the machine sleeps and never else, so that a shutdown that hangs ends as well.
#[derive(Debug)]
pub(crate) struct Watchdog {
    device: File,
    pub(crate) due: Duration,
}

impl Watchdog {
    /// Arm the watchdog if the machine has one.
    pub(crate) fn arm() -> Option<Self> {
        if Place::find() == Place::Container {
            return None;
        }
        let device = OpenOptions::new().write(true).open("/dev/watchdog").ok()?;
        Some(Self { device, due: Duration::ZERO })
    }

    /// The one that an earlier init armed.
    pub(crate) fn inherit(device: OwnedFd) -> Self {
        Self { device: device.into(), due: Duration::ZERO }
    }

    /// For the state page.
    pub(crate) fn fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }

    /// Stop it, as far as its driver lets us: the letter before the end says that the end is meant (watchdog-api.rst, "Magic
    /// Close feature").
    fn disarm(mut self) {
        let _ = self.device.write_all(b"V");
    }

    /// Say that all is well, when it is time to.
    pub(crate) fn feed(&mut self, now: Duration) {
        if self.due <= now {
            let _ = self.device.write_all(b"\0");
            self.due = now + WATCHDOG_PAUSE;
        }
    }
}

/// Where the kernel is told to sleep (Documentation/admin-guide/pm/sleep-states.rst).
const STATE: &str = "/sys/power/state";
/// Where the clock is told when to wake the machine (Documentation/ABI/testing/sysfs-class-rtc).
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
/// Whether the watchdog counts (Documentation/ABI/testing/sysfs-class-watchdog).
const COUNTS: &str = "/sys/class/watchdog/watchdog0/state";

/// Sleep until something wakes the machine: the clock after so many seconds, unless they are 0, a button or a network card.
/// Comes back when it is awake; the error is a sentence that says why it never slept.
pub(crate) fn suspend(wake_after_seconds: u32, watchdog: &mut Option<Watchdog>) -> Result<(), String> {
    let offered = std::fs::read_to_string(STATE).unwrap_or_default();
    let state =
        ["mem", "freeze"].into_iter().find(|state| offered.split_whitespace().any(|word| word == *state));
    let Some(state) = state else { return Err("this kernel offers no sleep".into()) };
    let alarm =
        |text: &str| std::fs::write(ALARM, text).map_err(|e| format!("its clock takes no alarm: {e}"));
    if wake_after_seconds > 0 {
        // One that is set has to be taken away first.
        alarm("0")?;
        alarm(&format!("+{wake_after_seconds}"))?;
    }
    let armed = watchdog.take().map(Watchdog::disarm).is_some();
    let still = match armed && line(Path::new(COUNTS)).as_deref() != Some("inactive") {
        true => Err("its watchdog cannot be stopped, and would restart it in its sleep".to_owned()),
        false => std::fs::write(STATE, state).map_err(|e| format!("the kernel refuses: {e}")),
    };
    if armed {
        *watchdog = Watchdog::arm();
    }
    if wake_after_seconds > 0 {
        let _ = alarm("0");
    }
    still
}

/// All services have stopped: leave the disks and end. Does not return unless the kernel refuses.
pub(crate) fn go_down(power: Power, logs: &mut Logs) {
    crate::boot::save_seed();
    // Whatever is still there, in whatever cgroup: it may hold a disk.
    let _ = std::fs::write("/sys/fs/cgroup/aios/cgroup.kill", "1");
    crate::boot::mounts::leave().iter().for_each(|fault| logs.warn(fault));
    let (command, word) = match power {
        Power::Off => (RebootCommand::PowerOff, "off"),
        Power::Reboot => (RebootCommand::Restart, "restarting"),
        Power::Kexec => (RebootCommand::Kexec, "starting the loaded kernel"),
    };
    logs.info(&format!("disks are clean; {word}"));
    logs.flush_for(Duration::from_secs(1));
    if let Err(e) = rustix::system::reboot(command) {
        logs.warn(&format!("the kernel refuses: {e}"));
    }
}

/// Load a kernel that [`Power::Kexec`] starts. An empty command line stands for the present one.
pub(crate) fn load_kernel(kernel: &str, initramfs: Option<&str>, cmdline: &str) -> Result<(), String> {
    let open = |path: &str| match path.starts_with('/') {
        true => File::open(path).map_err(|e| format!("{path}: {e}")),
        false => Err(format!("\"{path}\" is not an absolute path; begin it with /")),
    };
    let image = open(kernel)?;
    let initramfs = initramfs.map(open).transpose()?;
    let present = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let cmdline = if cmdline.is_empty() { present.trim() } else { cmdline };
    let line = CString::new(cmdline).map_err(|_| "the command line holds a NUL character".to_owned())?;
    crate::sys::load_kernel(&image, initramfs.as_ref(), &line)
        .map_err(|e| format!("{kernel} cannot be loaded: {e}"))
}

/// Where people and the kernel's log see it, past everything that may be broken.
pub(crate) fn say(message: &str) {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    for place in ["/dev/console", "/dev/kmsg"] {
        if let Ok(mut file) = OpenOptions::new().write(true).custom_flags(flags).open(place) {
            let _ = file.write_all(message.as_bytes());
        }
    }
}

/// PID 1 cannot go on: say so, give people ten seconds to read it, restart. Never returns.
pub(crate) fn last_resort(text: &str) -> ! {
    say(&format!("aios: {text}; the machine restarts in 10 s\n"));
    rustix::fs::sync();
    let until = crate::clock::now() + Duration::from_secs(10);
    loop {
        let left = until.saturating_sub(crate::clock::now());
        if left.is_zero() {
            let _ = rustix::system::reboot(RebootCommand::Restart);
        }
        // Nothing is left to wait for but time; a pause after a refused restart keeps the processor cool.
        let pause = left.max(Duration::from_secs(1));
        if let Ok(pause) = rustix::event::Timespec::try_from(pause) {
            let _ = rustix::event::poll(&mut [], Some(&pause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_key_is_found_among_the_key_bits() {
        assert!(has_power("10000000000000 0"));
        assert!(!has_power("10000000000000"));
        assert!(!has_power(""));
        assert!(
            has_power("402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe")
                == (0xfeff_ffdf_ffef_ffff_u64 >> 52 & 1 == 1)
        );
    }
}
