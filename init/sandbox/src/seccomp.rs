//! The filter of system calls (seccomp(2)): a small program of the kernel's packet filter, made once for all
//! services with the same wishes. The calls are found by bisection, so that a call costs a dozen steps and the
//! kernel has little to do when the filter is installed.

use crate::sys;
use crate::syscalls::{NEVER, USUAL, group};
use aios_unit::{Family, SyscallGroup};
use libc::c_long;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `AUDIT_ARCH_X86_64` of linux/audit.h.
const ARCHITECTURE: u32 = 0xc000_003e;

/// Offsets in `struct seccomp_data`; the machine is little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;

// BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_…|BPF_K and BPF_RET|BPF_K of linux/bpf_common.h.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const UNSUPPORTED: u32 = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32;

/// Flags of clone(2) that make namespaces; `CLONE_NEWTIME` is not among clone's.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Whatever its arguments are.
    Always(u32),
    /// socket(2): only of the families that the service has.
    Socket,
    /// clone(2): without new namespaces.
    Clone,
    /// clone(2): only for a thread.
    Thread,
    /// ioctl(2): all but typing into a terminal on behalf of whoever reads from it.
    Ioctl,
}

/// One instruction of a filter: `struct sock_filter` of linux/filter.h, in a form that can be sent.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

/// What a process may call besides what everybody may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls {
    /// Groups of system calls.
    pub groups: Vec<SyscallGroup>,
    /// Families of sockets.
    pub families: Vec<Family>,
    /// Other processes and programs: fork, exec. Threads are always allowed.
    pub processes: bool,
}

/// From now on the filter decides about each system call of this process and all that it starts; it must not gain
/// privileges any more (`no_new_privs`).
pub fn install(filter: &[Instruction]) -> Result<(), Errno> {
    sys::install_filter(filter)
}

/// The filter for these calls.
pub fn filter(calls: &Calls) -> Vec<Instruction> {
    let mut program = vec![
        step(LOAD, ARCH),
        // A call of another architecture has other numbers.
        branch(IF_EQUAL, ARCHITECTURE, 1, 0),
        step(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, NUMBER),
    ];
    // Whoever starts no programs runs none that was written for another kernel: what it may not, it may not, and the
    // filter is shorter.
    let otherwise = Verdict::Always(if calls.processes { UNKNOWN } else { REFUSE });
    program.extend(search(&ranges(&verdicts(calls), otherwise), &calls.families));
    program
}

fn verdicts(calls: &Calls) -> BTreeMap<u32, Verdict> {
    let mut verdicts = BTreeMap::new();
    let mut put = |numbers: &[c_long], verdict| {
        verdicts.extend(numbers.iter().filter_map(|n| Some((u32::try_from(*n).ok()?, verdict))));
    };
    put(USUAL, Verdict::Always(ALLOW));
    put(NEVER, Verdict::Always(REFUSE));
    put(&[libc::SYS_socket], Verdict::Socket);
    put(&[libc::SYS_clone], if calls.processes { Verdict::Clone } else { Verdict::Thread });
    put(&[libc::SYS_ioctl], Verdict::Ioctl);
    if !calls.processes {
        let programs = [libc::SYS_fork, libc::SYS_vfork, libc::SYS_execve, libc::SYS_execveat];
        put(&programs, Verdict::Always(REFUSE));
    }
    for one in SyscallGroup::ALL {
        let wanted = calls.groups.contains(&one);
        put(group(one), Verdict::Always(if wanted { ALLOW } else { REFUSE }));
    }
    if calls.groups.contains(&SyscallGroup::Namespaces) {
        if calls.processes {
            put(&[libc::SYS_clone], Verdict::Always(ALLOW));
        }
    } else {
        // The C library uses clone when there is no clone3, not when it is refused.
        put(&[libc::SYS_clone3], Verdict::Always(UNKNOWN));
    }
    verdicts
}

/// The first number of each run of equal verdicts, over all numbers; those without one get the other.
fn ranges(verdicts: &BTreeMap<u32, Verdict>, otherwise: Verdict) -> Vec<(u32, Verdict)> {
    let mut ranges = vec![(0, otherwise)];
    let mut next = 0;
    for (number, verdict) in verdicts {
        let gap = (*number > next).then_some((next, otherwise));
        ranges.extend(gap);
        ranges.push((*number, *verdict));
        next = number + 1;
    }
    ranges.push((next, otherwise));
    // Of two that begin at one number the later counts.
    ranges.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = later.1;
        }
        same
    });
    ranges.dedup_by_key(|(_, verdict)| *verdict);
    ranges
}

/// Ranges that are searched with one set of answers. A conditional jump reaches 255 instructions far; this many ranges have a
/// branch less than there are of them, at most one leaf of each kind that looks at an argument (24 instructions together), and an
/// answer of each kind.
const TOGETHER: usize = 100;

/// Find the range of the number in the accumulator.
fn search(ranges: &[(u32, Verdict)], families: &[Family]) -> Vec<Instruction> {
    if ranges.len() <= TOGETHER {
        return Part::search(ranges, families);
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let boundary = right.first().map_or(0, |(start, _)| *start);
    let (left, right) = (search(left, families), search(right, families));
    // Only the unconditional jump reaches far.
    let mut program =
        vec![branch(IF_AT_LEAST, boundary, 0, 1), step(JUMP, u32::try_from(left.len()).unwrap_or(u32::MAX))];
    program.extend(left);
    program.extend(right);
    program
}

/// Where a number leads.
#[derive(Clone, Copy)]
enum Goal {
    /// To this instruction.
    At(usize),
    /// To this answer, which stands behind all instructions, once.
    Answer(u32),
}

/// A search whose branches lead to answers that they share: the kernel translates a filter for each process that gets one, and
/// that takes as long as the filter is.
struct Part<'a> {
    program: Vec<Instruction>,
    /// Instruction by instruction, where it leads if it is a branch of the search: from its boundary on, and below it.
    goals: Vec<Option<(Goal, Goal)>>,
    families: &'a [Family],
}

impl<'a> Part<'a> {
    fn search(ranges: &[(u32, Verdict)], families: &'a [Family]) -> Vec<Instruction> {
        let mut part = Self { program: Vec::new(), goals: Vec::new(), families };
        if let Goal::Answer(answer) = part.find(ranges) {
            return vec![step(RETURN, answer)];
        }
        let Self { mut program, goals, .. } = part;
        let mut answers: Vec<u32> = Vec::new();
        let behind = program.len();
        let mut place = |goal| match goal {
            Goal::At(at) => at,
            Goal::Answer(answer) => {
                let index = answers.iter().position(|known| *known == answer).unwrap_or_else(|| {
                    answers.push(answer);
                    answers.len() - 1
                });
                behind + index
            }
        };
        for (at, goal) in goals.iter().enumerate() {
            if let (Some((above, below)), Some(instruction)) = (goal, program.get_mut(at)) {
                // All lead on; TOGETHER bounds how far.
                let far = |goal: usize| u8::try_from(goal - at - 1).unwrap_or(u8::MAX);
                (instruction.jt, instruction.jf) = (far(place(*above)), far(place(*below)));
            }
        }
        program.extend(answers.iter().map(|answer| step(RETURN, *answer)));
        program
    }

    fn find(&mut self, ranges: &[(u32, Verdict)]) -> Goal {
        let at = self.program.len();
        match ranges {
            [] => Goal::Answer(UNKNOWN),
            [(_, Verdict::Always(answer))] => Goal::Answer(*answer),
            [(_, verdict)] => {
                self.program.extend(decide(*verdict, self.families));
                self.goals.resize(self.program.len(), None);
                Goal::At(at)
            }
            _ => {
                let (left, right) = ranges.split_at(ranges.len() / 2);
                let boundary = right.first().map_or(0, |(start, _)| *start);
                self.program.push(branch(IF_AT_LEAST, boundary, 0, 0));
                self.goals.push(None);
                let (below, above) = (self.find(left), self.find(right));
                if let Some(goal) = self.goals.get_mut(at) {
                    *goal = Some((above, below));
                }
                Goal::At(at)
            }
        }
    }
}

fn decide(verdict: Verdict, families: &[Family]) -> Vec<Instruction> {
    match verdict {
        Verdict::Always(answer) => vec![step(RETURN, answer)],
        Verdict::Socket => {
            let mut program = vec![step(LOAD, FIRST_ARGUMENT)];
            for family in families {
                program.extend([branch(IF_EQUAL, number(*family), 0, 1), step(RETURN, ALLOW)]);
            }
            program.push(step(RETURN, UNSUPPORTED));
            program
        }
        Verdict::Clone => vec![
            step(LOAD, FIRST_ARGUMENT),
            branch(IF_ANY_BIT, NEW_NAMESPACES, 0, 1),
            step(RETURN, REFUSE),
            step(RETURN, ALLOW),
        ],
        Verdict::Thread => vec![
            step(LOAD, FIRST_ARGUMENT),
            branch(IF_ANY_BIT, libc::CLONE_THREAD as u32, 1, 0),
            step(RETURN, REFUSE),
            step(RETURN, ALLOW),
        ],
        Verdict::Ioctl => vec![
            step(LOAD, SECOND_ARGUMENT),
            branch(IF_EQUAL, libc::TIOCSTI as u32, 1, 0),
            branch(IF_EQUAL, libc::TIOCLINUX as u32, 0, 1),
            step(RETURN, REFUSE),
            step(RETURN, ALLOW),
        ],
    }
}

fn number(family: Family) -> u32 {
    let number = match family {
        Family::Unix => libc::AF_UNIX,
        Family::Inet => libc::AF_INET,
        Family::Inet6 => libc::AF_INET6,
        Family::Netlink => libc::AF_NETLINK,
        Family::Packet => libc::AF_PACKET,
        Family::Vsock => libc::AF_VSOCK,
    };
    number.unsigned_abs()
}

fn step(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do: run the program over one call.
    fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u32; 2]) -> u32 {
        let (mut accumulator, mut at) = (0, 0usize);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            match code {
                LOAD => {
                    accumulator = match k {
                        NUMBER => number,
                        ARCH => arch,
                        FIRST_ARGUMENT => arguments[0],
                        SECOND_ARGUMENT => arguments[1],
                        _ => panic!("loads from {k}"),
                    }
                }
                JUMP => at += k as usize,
                IF_EQUAL => at += jump(accumulator == k),
                IF_AT_LEAST => at += jump(accumulator >= k),
                IF_ANY_BIT => at += jump(accumulator & k != 0),
                RETURN => return k,
                _ => panic!("unknown code {code}"),
            }
        }
    }

    fn standard() -> Calls {
        let families = vec![Family::Unix, Family::Inet, Family::Inet6];
        Calls { groups: Vec::new(), families, processes: true }
    }

    fn of(sandbox: &Calls, number: c_long, arguments: [u32; 2]) -> u32 {
        run(&filter(sandbox), ARCHITECTURE, number as u32, arguments)
    }

    #[test]
    fn each_number_gets_the_verdict_of_the_lists() {
        let mut sandboxes = vec![standard()];
        for one in SyscallGroup::ALL {
            sandboxes.push(Calls { groups: vec![one], ..standard() });
        }
        sandboxes.push(Calls { groups: SyscallGroup::ALL.to_vec(), ..standard() });
        for sandbox in &sandboxes {
            let program = filter(sandbox);
            let verdicts = verdicts(sandbox);
            for number in (0..700).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                let expected = match verdicts.get(&number) {
                    Some(Verdict::Always(answer)) => *answer,
                    Some(Verdict::Socket) => UNSUPPORTED,
                    Some(Verdict::Clone | Verdict::Thread | Verdict::Ioctl) => ALLOW,
                    None => UNKNOWN,
                };
                assert_eq!(run(&program, ARCHITECTURE, number, [0, 0]), expected, "call {number}");
            }
            // The kernel takes 4096 (BPF_MAXINSNS); a page is plenty.
            assert!(program.len() < 256, "{} instructions", program.len());
        }
    }

    #[test]
    fn the_longest_search_with_shared_answers_still_reaches_them() {
        let families: Vec<Family> = standard().families;
        let special = [Verdict::Socket, Verdict::Clone, Verdict::Thread, Verdict::Ioctl];
        for count in [1, 2, 3, TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER] {
            let verdict = |n: usize| match special.get(n.wrapping_sub(5)) {
                Some(verdict) => *verdict,
                None => Verdict::Always([ALLOW, REFUSE, UNKNOWN][n % 3]),
            };
            let ranges: Vec<(u32, Verdict)> = (0..count).map(|n| (n as u32 * 2, verdict(n))).collect();
            let mut program = vec![step(LOAD, NUMBER)];
            program.extend(search(&ranges, &families));
            for (start, verdict) in ranges {
                let expected = match verdict {
                    Verdict::Always(answer) => answer,
                    Verdict::Socket => UNSUPPORTED,
                    Verdict::Clone | Verdict::Ioctl => ALLOW,
                    Verdict::Thread => REFUSE,
                };
                for number in [start, start + 1] {
                    assert_eq!(run(&program, ARCHITECTURE, number, [0, 0]), expected, "{number} of {count}");
                }
            }
        }
    }

    #[test]
    fn what_takes_the_machine_is_refused_by_default_and_given_in_groups() {
        use libc::*;
        let usual = standard();
        for call in [
            SYS_mount,
            SYS_ptrace,
            SYS_bpf,
            SYS_unshare,
            SYS_setns,
            SYS_reboot,
            SYS_init_module,
            SYS_finit_module,
            SYS_kexec_load,
            SYS_keyctl,
            SYS_io_uring_setup,
            SYS_chown,
            SYS_swapon,
            SYS_settimeofday,
            SYS_open_by_handle_at,
            SYS_sethostname,
            SYS_syslog,
            SYS_perf_event_open,
        ] {
            assert_eq!(of(&usual, call, [0, 0]), REFUSE, "call {call}");
        }
        let mounts = Calls { groups: vec![SyscallGroup::Mount], ..standard() };
        assert_eq!(of(&mounts, SYS_mount, [0, 0]), ALLOW);
        assert_eq!(of(&mounts, SYS_ptrace, [0, 0]), REFUSE);
    }

    #[test]
    fn another_architecture_ends_the_process() {
        // AUDIT_ARCH_I386
        let answer = run(&filter(&standard()), 0x4000_0003, 1, [0, 0]);
        assert_eq!(answer, libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn sockets_are_of_the_families_that_were_asked_for() {
        let families = |families: &[Family]| Calls { families: families.to_vec(), ..standard() };
        let socket = |sandbox: &Calls, family: i32| of(sandbox, libc::SYS_socket, [family as u32, 0]);
        let usual = standard();
        for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
            assert_eq!(socket(&usual, family), ALLOW);
        }
        for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_BLUETOOTH] {
            assert_eq!(socket(&usual, family), UNSUPPORTED);
        }
        assert_eq!(socket(&families(&[Family::Netlink]), libc::AF_NETLINK), ALLOW);
        assert_eq!(socket(&families(&[]), libc::AF_UNIX), UNSUPPORTED);
    }

    #[test]
    fn threads_are_made_and_namespaces_are_not() {
        let usual = standard();
        let thread = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u32;
        assert_eq!(of(&usual, libc::SYS_clone, [thread, 0]), ALLOW);
        for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWPID] {
            assert_eq!(of(&usual, libc::SYS_clone, [thread | flag as u32, 0]), REFUSE);
        }
        assert_eq!(of(&usual, libc::SYS_clone3, [0, 0]), UNKNOWN);
        let open = Calls { groups: vec![SyscallGroup::Namespaces], ..standard() };
        assert_eq!(of(&open, libc::SYS_clone, [libc::CLONE_NEWUSER as u32, 0]), ALLOW);
        assert_eq!(of(&open, libc::SYS_clone3, [0, 0]), ALLOW);
    }

    #[test]
    fn who_starts_no_programs_still_has_threads() {
        let alone = Calls { processes: false, ..standard() };
        for call in [libc::SYS_fork, libc::SYS_vfork, libc::SYS_execve, libc::SYS_execveat] {
            assert_eq!(of(&alone, call, [0, 0]), REFUSE);
        }
        assert_eq!(of(&alone, libc::SYS_clone, [libc::SIGCHLD as u32, 0]), REFUSE);
        let thread = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u32;
        assert_eq!(of(&alone, libc::SYS_clone, [thread, 0]), ALLOW);
    }

    #[test]
    fn nobody_types_into_a_terminal_for_another() {
        let usual = standard();
        assert_eq!(of(&usual, libc::SYS_ioctl, [0, libc::TIOCSTI as u32]), REFUSE);
        assert_eq!(of(&usual, libc::SYS_ioctl, [0, libc::TIOCLINUX as u32]), REFUSE);
        assert_eq!(of(&usual, libc::SYS_ioctl, [0, libc::TCGETS as u32]), ALLOW);
    }
}
