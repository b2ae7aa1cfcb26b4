//! Recovery mode: the image's own service files only, and of those nothing is started but the console for
//! the person at the machine (the service `rescue`).
//!
//! Whoever can change the kernel's command line or plug a disk in stands before the machine; what he may do
//! there is the business of `aios-rescue`.

use crate::cmdline::{Cmdline, Disk};
use crate::logs::Logs;
use aios_unit::{Start, Unit};
use std::path::Path;

/// The service that is started then, besides the keeper of the logs.
const CONSOLE: &str = "rescue";
/// A disk with this serial number or a partition with this name asks for it as well.
const KEY_DISK: &str = "aios-rescue";
/// Says for the rest of this boot that it is on, to init after it had to start itself anew, and to the console.
const MARK: &str = "/run/aios/recovery";

/// Begin it if somebody at the machine asked for it.
pub(super) fn begin(cmdline: &Cmdline, logs: &mut Logs) {
    let key_disk = [Disk::Serial(KEY_DISK.to_owned()), Disk::Label(KEY_DISK.to_owned())];
    let why = if cmdline.recovery {
        "the kernel's command line says so"
    } else if key_disk.iter().any(|disk| crate::device::find_disk(disk).is_some()) {
        "a disk is there that is called aios-rescue"
    } else {
        return;
    };
    logs.say(5, &format!("recovery mode: {why}; only its console is started"));
    let marked = std::fs::create_dir_all("/run/aios").and_then(|()| std::fs::write(MARK, ""));
    if let Err(e) = marked {
        logs.warn(&format!("{MARK}: {e}; everything is started"));
    }
}

/// Whether it is on.
pub(crate) fn is_on() -> bool {
    Path::new(MARK).exists()
}

/// Start nothing but the console of recovery mode and what is named; people may start the rest.
pub(crate) fn hold_back(units: &mut [Unit], keep: &str) {
    for unit in units {
        if unit.name == CONSOLE {
            unit.start = Start::Boot;
        } else if unit.name != keep {
            unit.start = Start::Manual;
            unit.timer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_console_and_the_keeper_of_the_logs_are_started() {
        let users = aios_unit::Users::parse("root:x:0:0::/:", "");
        let unit = |name: &str, more: &str| {
            let file = format!("/etc/aios/services/{name}.toml");
            let text = format!("description = \"d\"\nexec = [\"/bin/true\"]\nuser = \"root\"\n{more}");
            aios_unit::parse(Path::new(&file), &text, &users).expect("is valid")
        };
        let mut units = [
            unit("agentd", ""),
            unit("clean", "kind = \"oneshot\"\n[timer]\nevery = \"60m\"\n"),
            unit("log", ""),
            unit("rescue", "start = \"manual\"\n"),
        ];
        hold_back(&mut units, "log");
        let starts = units.map(|unit| (unit.start, unit.timer.is_some()));
        let (boot, manual) = ((Start::Boot, false), (Start::Manual, false));
        assert_eq!(starts, [manual, manual, boot, boot]);
    }
}
