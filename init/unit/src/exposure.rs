//! How much a service could do to the machine if it were taken over: from 0.0 to 10.0, as `systemd-analyze
//! security` counts. Each check has a weight; the score is the share of the weights that is open.
//!
//! Only what the service file grants is looked at, not what the program does with it. What init gives nobody
//! (new privileges, other architectures' system calls, setuid files) has weight too: it is part of the machine
//! that a service does not get, and without it a score could not be set beside systemd's.

use super::{Family, SyscallGroup, Unit};
use Open::{Calls, Ever, Holds, If, Never, Sockets};
use rustix::thread::CapabilitySet as Can;
use std::path::Path;

/// One thing that a service may be able to do: the key that decides, what it weighs against the others, what
/// the service can do, and when it can.
struct Check(&'static str, u32, &'static str, Open);

/// When a check is open.
enum Open {
    /// With any of these capabilities.
    Holds(&'static [Can]),
    /// With this group of system calls.
    Calls(SyscallGroup),
    /// With sockets of any of these families.
    Sockets(&'static [Family]),
    /// When this is so.
    If(fn(&Unit) -> bool),
    /// For every service.
    Ever,
    /// For none.
    Never,
}

impl Open {
    fn of(&self, unit: &Unit) -> bool {
        let sandbox = &unit.sandbox;
        match self {
            Holds(any) => any.iter().any(|one| sandbox.capabilities.contains(*one)),
            Calls(group) => sandbox.syscalls.contains(group),
            Sockets(any) => any.iter().any(|one| sandbox.families.contains(one)),
            If(so) => so(unit),
            Ever => true,
            Never => false,
        }
    }
}

/// A service's exposure.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposure {
    /// 0 to 100: tenths.
    pub tenths: u32,
    /// What is open and what is closed.
    pub findings: Vec<Finding>,
}

/// A check's result.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The key of the service file that decides.
    pub key: &'static str,
    /// What the service can do.
    pub what: &'static str,
    /// Whether it can do that, at least in part.
    pub open: bool,
    /// What it adds to the exposure, in thousandths.
    pub adds: u32,
}

impl Exposure {
    /// The word for the number; words and bounds are those of `systemd-analyze security`.
    pub fn word(&self) -> &'static str {
        match self.tenths {
            0 => "PERFECT",
            1..10 => "SAFE",
            10..50 => "OK",
            50..75 => "MEDIUM",
            75..90 => "EXPOSED",
            90..100 => "UNSAFE",
            _ => "DANGEROUS",
        }
    }
}

/// Score a service.
pub fn exposure(unit: &Unit) -> Exposure {
    let all: u32 = CHECKS.iter().map(|Check(_, weight, ..)| weight).sum();
    let found = CHECKS.iter().map(|Check(key, weight, what, open)| {
        let open = open.of(unit);
        let adds = if open { (weight * 1000).div_ceil(all) } else { 0 };
        (if open { *weight } else { 0 }, Finding { key, what, open, adds })
    });
    let (weights, mut findings): (Vec<u32>, Vec<Finding>) = found.unzip();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.adds));
    Exposure { tenths: (weights.iter().sum::<u32>() * 100).div_ceil(all), findings }
}

/// Whether it may change something at or below this path, or a directory above it.
fn changes(unit: &Unit, path: &str) -> bool {
    let path = Path::new(path);
    unit.sandbox.write.iter().any(|written| written.starts_with(path) || path.starts_with(written))
}

/// A capability that undoes restrictions of files is held: Landlock is not used then.
fn beyond_files(unit: &Unit) -> bool {
    unit.sandbox.capabilities.intersects(Can::SYS_ADMIN | Can::SYS_PTRACE)
}

/// Capabilities that are worth little to an attacker.
#[rustfmt::skip]
const LESSER: &[Can] = &[
    Can::SYS_BOOT, Can::SYS_CHROOT, Can::SYS_PACCT, Can::SYS_TTY_CONFIG, Can::LINUX_IMMUTABLE,
    Can::IPC_LOCK, Can::LEASE, Can::MAC_ADMIN, Can::MAC_OVERRIDE, Can::WAKE_ALARM,
    Can::BLOCK_SUSPEND, Can::PERFMON, Can::CHECKPOINT_RESTORE,
];

/// The weights follow the damage: what gives the whole machine away weighs 15 and more, what gives away a part
/// of it (the network, the files of others, the clock) 10, what only helps an attacker along 5 and less.
#[rustfmt::skip]
const CHECKS: &[Check] = &[
    Check("user", 20, "is root, who owns the system's files", If(|u| u.user.uid == 0)),
    Check("user", 2, "belongs to groups of others", If(|u| !u.user.groups.is_empty())),
    Check("sandbox.capabilities", 15, "administers the whole machine", Holds(&[Can::SYS_ADMIN])),
    Check("sandbox.capabilities", 15, "becomes any other user", Holds(&[Can::SETUID, Can::SETGID, Can::SETPCAP])),
    Check("sandbox.capabilities", 15, "looks into and alters other processes", Holds(&[Can::SYS_PTRACE])),
    Check("sandbox.capabilities", 10, "reads and writes raw memory and ports", Holds(&[Can::SYS_RAWIO])),
    Check("sandbox.capabilities", 10, "loads code into the kernel", Holds(&[Can::SYS_MODULE, Can::BPF])),
    Check("sandbox.capabilities", 10, "sets the clock", Holds(&[Can::SYS_TIME])),
    Check("sandbox.capabilities", 10, "configures the network", Holds(&[Can::NET_ADMIN])),
    Check("sandbox.capabilities", 10, "opens files whatever their permissions say", Holds(&[Can::DAC_OVERRIDE, Can::DAC_READ_SEARCH, Can::FOWNER, Can::IPC_OWNER])),
    Check("sandbox.capabilities", 10, "gives files to others and makes setuid ones", Holds(&[Can::CHOWN, Can::FSETID, Can::SETFCAP])),
    Check("sandbox.capabilities", 5, "sends signals to any process", Holds(&[Can::KILL])),
    Check("sandbox.capabilities", 5, "takes low ports and reads raw packets", Holds(&[Can::NET_RAW, Can::NET_BIND_SERVICE, Can::NET_BROADCAST])),
    Check("sandbox.capabilities", 5, "exceeds limits and priorities", Holds(&[Can::SYS_NICE, Can::SYS_RESOURCE])),
    Check("sandbox.capabilities", 5, "makes device nodes", Holds(&[Can::MKNOD])),
    Check("sandbox.capabilities", 10, "reads and writes the kernel's log and audit", Holds(&[Can::SYSLOG, Can::AUDIT_CONTROL, Can::AUDIT_READ, Can::AUDIT_WRITE])),
    Check("sandbox.capabilities", 4, "has one of the lesser capabilities", Holds(LESSER)),
    Check("sandbox.capabilities", 5, "holds capabilities without being root", If(|u| u.user.uid != 0 && !u.sandbox.capabilities.is_empty())),
    Check("sandbox.network", 25, "is in the machine's network", If(|u| u.sandbox.network)),
    Check("sandbox.network", 10, "reaches every address", If(|u| u.sandbox.reaches_others())),
    Check("sandbox.families", 15, "makes sockets of the internet", Sockets(&[Family::Inet, Family::Inet6])),
    Check("sandbox.families", 10, "makes raw packets' sockets", Sockets(&[Family::Packet])),
    Check("sandbox.families", 2, "talks to the kernel's network (netlink)", Sockets(&[Family::Netlink])),
    Check("sandbox.families", 12, "makes sockets to the machine's host", Sockets(&[Family::Vsock])),
    Check("sandbox.families", 1, "makes local sockets", Sockets(&[Family::Unix])),
    Check("sandbox.write", 10, "changes the system's files", If(|u| ["/usr", "/etc", "/lib", "/boot"].iter().any(|path| changes(u, path)))),
    Check("sandbox.write", 20, "changes settings of the kernel", If(|u| changes(u, "/proc") || changes(u, "/sys"))),
    Check("sandbox.write", 10, "changes files of other services", If(|u| !u.sandbox.write.is_empty())),
    Check("sandbox.read", 5, "reads more than the system's files and its own", If(|u| !u.sandbox.read.is_empty() || beyond_files(u))),
    Check("devices", 10, "uses devices", If(|u| !u.devices.is_empty())),
    Check("sandbox.private_tmp", 10, "shares /tmp with others", If(|u| !u.sandbox.private_tmp)),
    Check("sandbox.sees_processes", 10, "sees the processes of others", If(|u| u.sandbox.sees_processes)),
    Check("sandbox.syscalls", 40, "makes namespaces, where much more of the kernel is reached", Calls(SyscallGroup::Namespaces)),
    Check("sandbox.syscalls", 10, "mounts", Calls(SyscallGroup::Mount)),
    Check("sandbox.syscalls", 10, "loads modules", Calls(SyscallGroup::Module)),
    Check("sandbox.syscalls", 10, "restarts the machine and loads another kernel", Calls(SyscallGroup::Reboot)),
    Check("sandbox.syscalls", 10, "uses the calls of debuggers", Calls(SyscallGroup::Debug)),
    Check("sandbox.syscalls", 10, "uses the calls that set clocks", Calls(SyscallGroup::Clock)),
    Check("sandbox.syscalls", 10, "turns swap on and off", Calls(SyscallGroup::Swap)),
    Check("sandbox.syscalls", 10, "uses keys of the kernel", Calls(SyscallGroup::Keyring)),
    Check("sandbox.syscalls", 7, "uses the calls that change users and owners", Calls(SyscallGroup::Ownership)),
    Check("sandbox.syscalls", 10, "raises its priority", Calls(SyscallGroup::Scheduling)),
    Check("sandbox.syscalls", 10, "gives programs to the kernel and measures it", Calls(SyscallGroup::Perf)),
    Check("sandbox.syscalls", 5, "has the kernel work through io_uring", Calls(SyscallGroup::Uring)),
    Check("sandbox.syscalls", 2, "watches whole file systems", Calls(SyscallGroup::Fanotify)),
    Check("sandbox.write_execute", 2, "executes what it has written to memory", If(|u| u.sandbox.write_execute)),
    Check("sandbox.scratch", 2, "executes what it has written to its /tmp", If(|u| u.sandbox.scratch.is_some() || u.sandbox.privileged)),
    Check("resources.delegate", 10, "divides its own cgroup", If(|u| u.resources.delegate)),
    // No other key decides these: init does so for all but the privileged.
    Check("always", 10, "gains privileges by starting programs", Never),
    Check("sandbox.privileged", 10, "makes programs that run with more rights", If(|u| u.sandbox.privileged)),
    Check("sandbox.privileged", 15, "uses system calls of other architectures and obsolete ones", If(|u| u.sandbox.privileged)),
    Check("sandbox.mounts", 10, "mounts things that others see", If(|u| u.sandbox.mounts.is_some() || u.sandbox.privileged)),
    Check("sandbox.privileged", 10, "speaks to init in the name of others", If(|u| u.sandbox.privileged)),
    Check("sandbox.privileged", 10, "changes cgroups", If(|u| u.sandbox.privileged)),
    Check("always", 10, "shares users' numbers with the machine", Ever),
    Check("always", 1, "makes files that all may read", Ever),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Users, parse};

    fn unit(more: &str) -> Unit {
        let text = format!("description = \"d\"\nexec = [\"/x\"]\nuser = \"web\"\n{more}");
        let users = Users::parse("root:x:0:0::/:\nweb:x:5:5::/:\n", "");
        parse(Path::new("web.toml"), &text, &users).expect("is valid")
    }

    #[test]
    fn whatever_is_granted_raises_the_score_or_leaves_it() {
        let score = |more: &str| exposure(&unit(more)).tenths;
        let least = score("[sandbox]\nnetwork = false\nfamilies = []");
        for granted in [
            "network = true",
            "network = false\ncapabilities = [\"CAP_SYS_ADMIN\"]",
            "network = false\nwrite = [\"/etc\"]",
            "network = false\nsyscalls = [\"namespaces\"]",
            "network = false\nsees_processes = true",
            "network = false\nprivate_tmp = false",
            "network = false\nfamilies = [\"packet\"]",
        ] {
            assert!(score(&format!("[sandbox]\n{granted}")) > least, "{granted}");
        }
        assert!(score("devices = [\"/dev/x\"]\n[sandbox]\nnetwork = false") > least);
    }

    #[test]
    fn the_worst_comes_first_and_the_numbers_have_words() {
        let found = exposure(&unit(""));
        assert_eq!(found.findings[0].key, "sandbox.network");
        assert!(found.findings.is_sorted_by(|a, b| a.adds >= b.adds));
        assert!(found.findings.iter().all(|finding| finding.open == (finding.adds > 0)));
        let word = |tenths| Exposure { tenths, findings: Vec::new() }.word();
        assert_eq!(
            [0, 9, 49, 50, 75, 90, 100].map(word),
            ["PERFECT", "SAFE", "OK", "MEDIUM", "EXPOSED", "UNSAFE", "DANGEROUS"]
        );
    }

    #[test]
    fn every_capability_counts() {
        for bit in 0..41 {
            let mut one = unit("[sandbox]\nnetwork = false");
            let before = exposure(&one).findings;
            one.sandbox.capabilities = Can::from_bits_retain(1 << bit);
            let open = |findings: &[Finding]| findings.iter().filter(|finding| finding.open).count();
            // One for what it can do, one for holding any without being root.
            assert!(open(&exposure(&one).findings) >= open(&before) + 2, "capability {bit}");
        }
    }
}
