//! Our score beside that of `systemd-analyze security`: each service file of the image is written as a
//! systemd unit that grants the same, and systemd judges it and its own units.

use aios_unit::{Family, SyscallGroup, Unit, Users, exposure, load, parse};
use rustix::thread::CapabilitySet;
use std::path::Path;
use std::process::Command;

/// Units of systemd's own; Debian has two of them in packages of their own.
const THEIRS: [&str; 6] = [
    "systemd-journald",
    "systemd-logind",
    "systemd-networkd",
    "systemd-resolved",
    "systemd-timesyncd",
    "systemd-udevd",
];

/// What our groups of system calls are called there.
const CALLS: [(SyscallGroup, &str); 13] = [
    (SyscallGroup::Clock, "@clock"),
    (SyscallGroup::Debug, "@debug"),
    (SyscallGroup::Fanotify, "fanotify_init fanotify_mark"),
    (SyscallGroup::Keyring, "@keyring"),
    (SyscallGroup::Module, "@module"),
    (SyscallGroup::Mount, "@mount"),
    (SyscallGroup::Namespaces, "unshare setns clone3"),
    (SyscallGroup::Ownership, "@chown @setuid"),
    (SyscallGroup::Perf, "bpf perf_event_open"),
    (SyscallGroup::Reboot, "@reboot"),
    (SyscallGroup::Scheduling, "@resources"),
    (SyscallGroup::Swap, "@swap"),
    (SyscallGroup::Uring, "io_uring_setup"),
];

fn ours() -> Vec<Unit> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/board/rootfs");
    let loaded = load(&[&root.join("etc/aios/services")], &Users::read(&root));
    assert_eq!(loaded.refused, Vec::<String>::new());
    loaded.units
}

/// A systemd unit that grants what ours grants (systemd.exec(5)). What init does for every service is written
/// out: read-only mounts without setuid, an IPC and mount namespace, the usual system calls, umask 022.
fn translated(unit: &Unit) -> String {
    let sandbox = &unit.sandbox;
    let mut lines: Vec<String> = Vec::new();
    let mut set = |key: &str, value: &str| lines.push(format!("{key}={value}"));
    let yes = |closed: bool| if closed { "yes" } else { "no" };
    let group = |group| sandbox.syscalls.contains(&group);
    let capabilities: Vec<String> =
        sandbox.capabilities.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    let has = |name: &str| capabilities.iter().any(|held| held == name);
    let written =
        |path: &str| sandbox.write.iter().any(|w| w.starts_with(path) || Path::new(path).starts_with(w));
    set("ExecStart", &unit.exec.join(" "));
    set("User", &unit.user.name);
    if !unit.user.groups.is_empty() {
        set("SupplementaryGroups", "others");
    }
    set("NoNewPrivileges", "yes");
    set("CapabilityBoundingSet", &capabilities.join(" "));
    if unit.user.uid != 0 {
        set("AmbientCapabilities", &capabilities.join(" "));
    }
    set("PrivateNetwork", yes(!sandbox.network));
    if !sandbox.reaches_others() {
        // Nothing but itself can be reached from an empty network, and nobody without such a socket.
        set("IPAddressDeny", "any");
    }
    let families = sandbox.families.iter().map(|family| match family {
        Family::Unix => "AF_UNIX",
        Family::Inet => "AF_INET",
        Family::Inet6 => "AF_INET6",
        Family::Netlink => "AF_NETLINK",
        Family::Packet => "AF_PACKET",
        Family::Vsock => "AF_VSOCK",
    });
    let families = families.collect::<Vec<_>>().join(" ");
    set("RestrictAddressFamilies", if families.is_empty() { "none" } else { &families });
    set("PrivateTmp", yes(sandbox.private_tmp));
    set("ProtectSystem", if written("/usr") || written("/etc") { "no" } else { "strict" });
    sandbox.write.iter().for_each(|path| set("ReadWritePaths", &path.to_string_lossy()));
    // Homes are files of others: out of reach save when they were named.
    let homes = sandbox.read.iter().chain(&sandbox.write).any(|path| Path::new("/home").starts_with(path));
    set("ProtectHome", yes(!homes));
    set("ProtectProc", if sandbox.sees_processes { "default" } else { "invisible" });
    set("PrivateDevices", yes(unit.devices.is_empty()));
    set("DevicePolicy", "closed");
    unit.devices.iter().for_each(|path| set("DeviceAllow", &path.to_string_lossy()));
    set("ProtectKernelTunables", yes(!written("/proc") && !written("/sys")));
    set("ProtectControlGroups", yes(!written("/sys")));
    set("ProtectKernelModules", yes(!group(SyscallGroup::Module) && !has("CAP_SYS_MODULE")));
    set("ProtectKernelLogs", yes(!has("CAP_SYSLOG")));
    set("ProtectClock", yes(!group(SyscallGroup::Clock) && !has("CAP_SYS_TIME")));
    set("RestrictNamespaces", yes(!group(SyscallGroup::Namespaces)));
    set("RestrictRealtime", yes(!group(SyscallGroup::Scheduling)));
    set("MemoryDenyWriteExecute", yes(!sandbox.write_execute));
    set("KeyringMode", if group(SyscallGroup::Keyring) { "shared" } else { "private" });
    for key in ["ProtectHostname", "PrivateMounts", "RestrictSUIDSGID", "LockPersonality", "RemoveIPC"] {
        set(key, "yes");
    }
    set("Delegate", yes(unit.resources.delegate));
    set("UMask", "0022");
    set("SystemCallArchitectures", "native");
    // The usual calls are those of @system-service without these groups, but with two of their calls.
    set("SystemCallFilter", "@system-service");
    set("SystemCallFilter", "~@privileged @resources @keyring");
    set("SystemCallFilter", "capset setrlimit");
    CALLS.iter().filter(|(one, _)| group(*one)).for_each(|(_, calls)| set("SystemCallFilter", calls));
    format!("[Service]\n{}\n", lines.join("\n"))
}

/// systemd's number for a unit file, in tenths.
fn verdict(file: &Path) -> u32 {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]).arg(file).env("LC_ALL", "C");
    let output = command.output().expect("systemd-analyze is installed (scripts/deps.sh test)");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().and_then(|line| line.split_once(".service: "));
    let number = last.and_then(|(_, rest)| rest.split(' ').next()?.replace('.', "").parse().ok());
    number.unwrap_or_else(|| panic!("{}: {text}{}", file.display(), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn our_services_score_better_than_systemds_own_and_both_scores_agree() {
    let directory = tempfile::tempdir().expect("a directory");
    let file_of = |name: &str| Path::new("/usr/lib/systemd/system").join(format!("{name}.service"));
    let installed = THEIRS.into_iter().filter(|name| file_of(name).is_file());
    let mut theirs: Vec<(u32, &str)> = installed.map(|name| (verdict(&file_of(name)), name)).collect();
    assert!(theirs.len() >= 4, "only {theirs:?} of systemd's units are installed");
    theirs.sort_unstable();
    println!("systemd's own: {theirs:?}");
    let mut verdicts = Vec::new();
    let mut units = ours();
    units.push(wide_open());
    for unit in &units {
        let file = directory.path().join(format!("{}.service", unit.name));
        std::fs::write(&file, translated(unit)).expect("written");
        let (here, there) = (exposure(unit).tenths, verdict(&file));
        println!("{}: {here} here, {there} there", unit.name);
        assert!(here.abs_diff(there) <= 5, "{}: {here} here, {there} with systemd", unit.name);
        verdicts.push(there);
    }
    assert!(verdicts.pop().is_some_and(|open| open > 75), "a service with all power is exposed");
    // Its work is to make sandboxes for others, as that of PID 1 is, which systemd does not judge at all.
    let workshop = units.iter().position(|unit| unit.name == "workshop").expect("is a service");
    let worst = theirs.last().map_or(0, |(number, _)| *number);
    assert!(verdicts.remove(workshop) <= worst, "the workshop is more open than it has to be");
    verdicts.sort_unstable();
    let middle = verdicts[verdicts.len() / 2];
    let best = theirs.first().map_or(0, |(number, _)| *number);
    assert!(middle < best, "the middle one of ours ({middle}) is no better than the best of systemd's");
    assert!(
        verdicts.iter().all(|one| *one <= best),
        "one of {verdicts:?} is worse than the best of {theirs:?}"
    );
}

/// A service to which everything is given that a service file can give.
fn wide_open() -> Unit {
    let text = "description = \"d\"\nexec = [\"/x\"]\nuser = \"root\"";
    let mut unit = parse(Path::new("open.toml"), text, &Users::anyone()).expect("is valid");
    let sandbox = &mut unit.sandbox;
    sandbox.capabilities = CapabilitySet::from_bits_retain((1 << 41) - 1);
    sandbox.families = Family::ALL.to_vec();
    sandbox.read = vec!["/".into()];
    sandbox.write = vec!["/".into()];
    sandbox.private_tmp = false;
    sandbox.sees_processes = true;
    sandbox.syscalls = SyscallGroup::ALL.to_vec();
    sandbox.write_execute = true;
    unit.resources.delegate = true;
    unit.devices = vec!["/dev/mem".into()];
    unit
}
