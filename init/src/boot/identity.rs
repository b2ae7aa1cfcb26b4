//! Who this machine is: version, host name, machine id; and the settings of a fresh kernel.

use crate::device::line;
use crate::logs::Logs;
use rustix::io::Errno;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const MACHINE_ID: &str = "/data/machine-id";
const HOSTNAME: &str = "/data/hostname";
const SEED: &str = "/data/random-seed";
/// One empty file a service with a timer; its time is that of the last run.
const STAMPS: &str = "/data/init/timers";
const SEED_BYTES: usize = 512;

/// Kernel settings: what an appliance without shells and logins does not need is off.
const SYSCTLS: &[(&str, &str)] = &[
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/sysrq", "0"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/yama/ptrace_scope", "1"),
    // One service must not use up the table of files for all: each has a limit of its own, and its memory pays.
    ("fs/file-max", "9223372036854775807"),
    ("net/core/bpf_jit_harden", "2"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_regular", "2"),
    ("fs/protected_symlinks", "1"),
    ("fs/suid_dumpable", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    // A machine that hangs after an oops helps nobody; the watchdog of last resort is a restart.
    ("kernel/panic_on_oops", "1"),
    ("kernel/panic", "10"),
];

/// Set what the kernel has; a setting that this kernel does not know is left out.
pub(super) fn sysctls(logs: &mut Logs) {
    for (name, value) in SYSCTLS {
        match std::fs::write(Path::new("/proc/sys").join(name), value) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                logs.push(crate::logs::INIT, 4, &format!("sysctl {name} = {value}: {e}"));
            }
            _ => {}
        }
    }
}

/// `VERSION_ID` of `/etc/os-release`.
pub(crate) fn version() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let version = text.lines().find_map(|l| l.strip_prefix("VERSION_ID="));
    version.map_or_else(|| env!("CARGO_PKG_VERSION").to_owned(), |v| v.trim_matches('"').to_owned())
}

/// The file whose time says when the timer of a service last ran it.
pub(crate) fn stamp_of(service: &str) -> String {
    format!("{STAMPS}/{service}")
}

/// When the timer of a service last ran it, in this boot or an earlier one (since 1970).
pub(crate) fn last_run(service: &str) -> Option<std::time::Duration> {
    let stamp = std::fs::metadata(stamp_of(service)).and_then(|m| m.modified()).ok()?;
    stamp.duration_since(std::time::UNIX_EPOCH).ok()
}

/// Give the machine its name: the stored one, or `aios-` and four digits of its id.
pub(super) fn hostname(logs: &mut Logs) -> String {
    let id = machine_id(logs);
    let stored = line(Path::new(HOSTNAME)).filter(|name| {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let fits = name.len() <= 64 && name.chars().all(good) && !name.starts_with('-');
        if !fits {
            logs.warn(&format!("{HOSTNAME}:1: \"{name}\" is no host name; use letters, digits and -"));
        }
        fits
    });
    let name = stored.unwrap_or_else(|| format!("aios-{}", id.get(..4).unwrap_or("0000")));
    if let Err(e) = rustix::system::sethostname(name.as_bytes()) {
        logs.warn(&format!("the host name {name} cannot be set: {e}"));
    }
    name
}

/// 32 hexadecimal digits that stay the same as long as `/data` does (machine-id(5)).
fn machine_id(logs: &mut Logs) -> String {
    let stored = line(Path::new(MACHINE_ID));
    if let Some(id) = stored.filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())) {
        return id;
    }
    // The kernel makes a new random id each time that this file is read.
    let id = line(Path::new("/proc/sys/kernel/random/uuid")).unwrap_or_default().replace('-', "");
    if let Err(e) = write_whole(MACHINE_ID, format!("{id}\n").as_bytes(), 0o444) {
        logs.warn(&format!("{MACHINE_ID} cannot be written: {e}"));
    }
    id
}

/// Stir what the last run left behind into the kernel's random numbers. It is not counted as entropy:
/// a copied disk would bring the same bytes to two machines.
pub(super) fn restore_seed() {
    if let Ok(seed) = std::fs::read(SEED) {
        let _ = std::fs::write("/dev/urandom", seed);
    }
    save_seed();
}

/// Leave other bytes behind for the next run, at the start as well: power may go at any time.
pub(crate) fn save_seed() {
    let mut seed = [0; SEED_BYTES];
    if File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut seed)).is_ok() {
        let _ = write_whole(SEED, &seed, 0o600);
    }
}

/// Replace a file in such a way that it is the old or the new one, whenever power goes.
fn write_whole(path: &str, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let temporary = format!("{path}.new");
    match std::fs::remove_file(&temporary) {
        Err(e) if Errno::from_io_error(&e) != Some(Errno::NOENT) => return Err(e),
        _ => {}
    }
    let mut file = File::create_new(&temporary)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)
}
