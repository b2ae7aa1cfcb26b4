//! Compressed memory to swap to (the kernel's Documentation/admin-guide/blockdev/zram.rst): as large as `/data/config/zram` says,
//! in percent of the memory; none without that file. Run once at the start, and whenever the file was changed.

mod swap;

use rustix::io::Errno;
use std::ffi::CStr;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

const WISH: &str = "/data/config/zram";
const DEVICE: &CStr = c"/dev/zram0";
const SETTINGS: &str = "/sys/devices/virtual/block/zram0";
/// Percent of the memory at most: it holds about three times its size.
const MOST: u64 = 200;

fn main() -> ExitCode {
    match run() {
        Ok(what) => {
            println!("{what}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let wanted = match std::fs::read_to_string(WISH) {
        Ok(text) => percent(&text).map_err(|why| format!("{WISH}: {why}"))?,
        Err(e) if e.kind() == ErrorKind::NotFound => 0,
        Err(e) => return Err(format!("{WISH}: {e}")),
    };
    let settings = Path::new(SETTINGS);
    if !settings.exists() {
        return match wanted {
            0 => Ok("no memory is compressed".into()),
            _ => Err("this kernel has no zram: its module is not in the image".into()),
        };
    }
    let memory = std::fs::read_to_string("/proc/meminfo").map_err(|e| format!("/proc/meminfo: {e}"))?;
    let bytes = size(&memory, wanted).ok_or("/proc/meminfo does not say how much memory there is")?;
    let set = |name: &str, value: &str| {
        let path = settings.join(name);
        std::fs::write(&path, value).map_err(|e| format!("{}: {e}", path.display()))
    };
    match swap::off(DEVICE) {
        // It was not in use.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(Errno::NOMEM) => {
            return Err("the memory does not hold what is swapped; stop a service first".into());
        }
        Err(e) => return Err(format!("swapping cannot be ended: {e}")),
    }
    set("reset", "1")?;
    if bytes == 0 {
        return Ok("no memory is compressed".into());
    }
    set("disksize", &bytes.to_string())?;
    let device = Path::new(std::ffi::OsStr::from_bytes(DEVICE.to_bytes()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).open(device)?;
        file.write_all(&swap::header(bytes))?;
        file.sync_all()
    };
    write().map_err(|e| format!("{}: {e}", device.display()))?;
    swap::on(DEVICE).map_err(|e| format!("swapping cannot begin: {e}"))?;
    Ok(format!("up to {} MiB are swapped to compressed memory ({wanted} percent)", bytes >> 20))
}

fn percent(text: &str) -> Result<u64, String> {
    let number = text.trim().parse().ok().filter(|percent| *percent <= MOST);
    number.ok_or_else(|| {
        let shown: String = text.trim().chars().take(40).collect();
        format!("`{shown}` is no percentage; write a number from 0 to {MOST}")
    })
}

/// Bytes of so many percent of the memory, in whole pages.
fn size(meminfo: &str, percent: u64) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib.checked_mul(1024)? / 100 * percent / swap::PAGE * swap::PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_a_number_and_nothing_else() {
        assert_eq!((percent("50\n"), percent("0"), percent("200")), (Ok(50), Ok(0), Ok(200)));
        for bad in ["", "201", "-1", "50%", "fifty", "5 0"] {
            assert!(percent(bad).expect_err(bad).contains("0 to 200"));
        }
        assert_eq!(size("MemFree: 1 kB\nMemTotal:       1000 kB\n", 50), Some(125 * 4096));
        assert_eq!(size("nothing", 50), None);
    }
}
