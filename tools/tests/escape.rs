//! Each tool's worker tries what its tool did not declare. A program of one thread, because its process is copied.

use aios_sandbox::Cloning;
use aios_toold::policy::Policy;
use aios_toold::reach::{Needs, Way};
use aios_toold::tool;
use aios_toold::worker::hand;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use rustix::thread::CapabilitySet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode};

/// What was tried, and what came of it.
type Attempts = Vec<(&'static str, io::Result<()>)>;

fn main() -> ExitCode {
    // What a worker gives up has to be there first.
    if !rustix::process::geteuid().is_root() {
        let own = std::env::current_exe().expect("a program");
        let status = Command::new("sudo").arg(own).status().expect("sudo is there");
        return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let stranger = Command::new("sleep").arg("600").spawn().expect("sleep is there");
    let pid = Pid::from_child(&stranger);
    let _ended = Ended(stranger);
    std::fs::write("/tmp/aios-escape", "x").expect("written");
    let mut tried = 0;
    for tool in tool::all().iter().filter(|tool| !tool.needs.in_broker) {
        let lines = in_worker(tool.name, move || attempts(&tool.needs, pid), appliance(), &[]);
        assert!(!lines.is_empty(), "{}: nothing was tried", tool.name);
        for line in &lines {
            assert!(!line.ends_with("SUCCESS"), "{}: {line}", tool.name);
        }
        tried += lines.len();
        println!("{}: {} attempts, all refused", tool.name, lines.len());
    }
    a_named_file_can_be_read_and_its_neighbour_cannot();
    what_belongs_to_daemons_is_sealed_where_a_file_is_written_beside_it();
    println!("test result: ok. {tried} attempts were refused");
    ExitCode::SUCCESS
}

struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The appliance's policy.
fn appliance() -> Policy {
    Policy::appliance(Path::new("/data/toold"), 1)
}

/// What this worker says after it gave up what this tool did not declare.
fn in_worker(
    name: &str,
    work: impl FnOnce() -> Attempts,
    policy: Policy,
    paths: &[(Way, &str)],
) -> Vec<String> {
    let tool = tool::by_name(name).expect("a tool");
    let paths = paths.iter().map(|(way, path)| (*way, path.into())).collect();
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let pid = aios_sandbox::fork(Cloning::default(), writer.as_fd(), move |kept: OwnedFd| {
        hand::enter(tool, &paths, &policy, 60_000).expect("gives up");
        let mut writer = File::from(kept);
        for (what, outcome) in work() {
            let outcome = outcome.map_or_else(|e| e.to_string(), |()| "SUCCESS".to_owned());
            writeln!(writer, "{what}: {outcome}").expect("is heard");
        }
    })
    .expect("a worker");
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("is heard");
    let status = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).expect("ends").expect("has ended");
    assert_eq!(status.exit_status(), Some(0), "{name}: {said}");
    said.lines().map(str::to_owned).collect()
}

fn call(number: libc::c_long, arguments: [usize; 4]) -> io::Result<()> {
    // SAFETY: none of the calls here gets a pointer but a null one; the kernel refuses it before it looks.
    let result = unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2], arguments[3]) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn attempts(needs: &Needs, stranger: Pid) -> Attempts {
    let has = |capability| needs.capabilities.contains(capability);
    let mut all: Attempts = vec![
        ("read /etc/shadow", std::fs::read("/etc/shadow").map(drop)),
        ("read a file of somebody", std::fs::read("/tmp/aios-escape").map(drop)),
        ("write a file of somebody", File::options().write(true).open("/tmp/aios-escape").map(drop)),
        ("make a file in /tmp", File::create("/tmp/aios-escaped").map(drop)),
        ("make a file in /data", File::create("/data/aios-escaped").map(drop)),
        ("make a file in /etc", File::create("/etc/aios-escaped").map(drop)),
        ("remove a file", std::fs::remove_file("/tmp/aios-escape")),
        ("start a program", Command::new("/bin/true").status().map(drop)),
        ("connect out", std::net::TcpStream::connect("127.0.0.1:1").map(drop)),
        ("connect to init", std::os::unix::net::UnixStream::connect("/run/aios/init.sock").map(drop)),
        ("fork", call(libc::SYS_fork, [0; 4])),
        ("clone", call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0])),
        ("mount", call(libc::SYS_mount, [0; 4])),
        ("chroot", call(libc::SYS_chroot, [0; 4])),
        ("ptrace", call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, 1, 0, 0])),
        ("bpf", call(libc::SYS_bpf, [0; 4])),
        ("unshare", call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0])),
        ("setns", call(libc::SYS_setns, [0; 4])),
        ("reboot", call(libc::SYS_reboot, [0; 4])),
        ("load a module", call(libc::SYS_init_module, [0; 4])),
        ("set the clock", call(libc::SYS_settimeofday, [0; 4])),
        ("raw socket", call(libc::SYS_socket, [libc::AF_PACKET as usize, libc::SOCK_RAW as usize, 0, 0])),
        ("read the memory of init", std::fs::read("/proc/1/mem").map(drop)),
        ("gain a capability", gain()),
    ];
    if !has(CapabilitySet::KILL) {
        all.push((
            "kill a stranger",
            rustix::process::kill_process(stranger, Signal::TERM).map_err(Into::into),
        ));
    }
    if needs.families.is_empty() {
        all.push((
            "netlink socket",
            call(libc::SYS_socket, [libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, 0, 0]),
        ));
    }
    if needs.calls.is_empty() {
        all.push(("become root", call(libc::SYS_setuid, [0; 4])));
    }
    all
}

/// All capabilities at once.
fn gain() -> io::Result<()> {
    use rustix::thread::{CapabilitySets, set_capabilities};
    let all = CapabilitySet::all();
    Ok(set_capabilities(None, CapabilitySets { effective: all, permitted: all, inheritable: all })?)
}

fn a_named_file_can_be_read_and_its_neighbour_cannot() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    for name in ["named", "other"] {
        std::fs::write(at(name), "x").expect("written");
    }
    let (named, other) = (at("named"), at("other"));
    let work = {
        let (named, other) = (named.clone(), other.clone());
        move || {
            vec![
                ("named", std::fs::read(&named).map(drop)),
                ("other", std::fs::read(&other).map(drop)),
                ("write", File::options().write(true).open(&named).map(drop)),
            ]
        }
    };
    let path = named.to_str().expect("a name");
    let lines = in_worker("fs.read", work, appliance(), &[(Way::Read, path)]);
    assert_eq!(lines[0], "named: SUCCESS");
    assert!(lines[1..].iter().all(|line| line.contains("Permission denied")), "{lines:?}");
}

fn what_belongs_to_daemons_is_sealed_where_a_file_is_written_beside_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    for folder in ["secret", "kept"] {
        std::fs::create_dir(at(folder)).expect("made");
        std::fs::write(at(folder).join("file"), "x").expect("written");
    }
    let policy = Policy { secret: vec![at("secret")], kept: vec![at("kept")], ..appliance() };
    let (new, secret, kept) = (at("new"), at("secret/file"), at("kept/file"));
    let work = move || {
        let write = |path: &Path| File::options().write(true).open(path).map(drop);
        vec![
            ("make a file", File::create(&new).map(drop)),
            ("read what is kept", std::fs::read(&kept).map(drop)),
            ("write what is kept", write(&kept)),
            ("read a secret", std::fs::read(&secret).map(drop)),
            ("write a secret", write(&secret)),
            ("make a secret", File::create(secret.with_file_name("other")).map(drop)),
        ]
    };
    let path = dir.path().to_str().expect("a name");
    let lines = in_worker("fs.write", work, policy, &[(Way::Change, path)]);
    assert!(lines[..2].iter().all(|line| line.ends_with("SUCCESS")), "{lines:?}");
    assert!(lines[2..].iter().all(|line| !line.ends_with("SUCCESS")), "{lines:?}");
}
