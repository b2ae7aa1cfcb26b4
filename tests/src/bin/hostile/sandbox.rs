//! Out of the sandbox: tries all that a service which declared nothing must not do, and what it still must.

use crate::{Outcome, sys};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{Result, Write};
use std::process::Command;

/// Try everything, one line each: `hostile: sandbox: WHAT: OUTCOME`.
pub(crate) fn escape() -> Outcome {
    files();
    processes();
    memory();
    calls();
    sockets();
    permitted();
    println!("hostile: sandbox: done");
    Ok(())
}

/// Print what came of an attempt.
fn tried<T>(what: &str, outcome: Result<T>) {
    match outcome {
        Ok(_) => println!("hostile: sandbox: {what}: SUCCESS"),
        Err(error) => println!("hostile: sandbox: {what}: {error}"),
    }
}

fn files() {
    // Root owns them: no mode keeps us out.
    tried("read the audit of toold", fs::read_dir("/data/toold").map(Iterator::count));
    tried("read the stored logs", fs::read("/data/log/current.log"));
    tried("read the console's key", fs::read("/data/console/key.pem"));
    tried("list /data", fs::read_dir("/data").map(Iterator::count));
    tried("list /run", fs::read_dir("/run").map(Iterator::count));
    let open = |path: &str| OpenOptions::new().write(true).open(path);
    tried("write the data disk", open("/dev/vdc"));
    tried("read the kernel's memory", File::open("/dev/mem"));
    tried("write a kernel setting", open("/proc/sys/kernel/core_pattern"));
    tried("pull the plug", open("/proc/sysrq-trigger"));
    tried("write a cgroup's limit", open("/sys/fs/cgroup/aios/toold/memory.max"));
    tried("write a device's setting", open("/sys/power/state"));
    tried("make a file in /data", File::create("/data/hostile"));
    tried("make a file in /run", File::create("/run/hostile"));
    tried("make a file in /etc", File::create("/etc/hostile"));
    tried("make a file in /dev/shm", File::create("/dev/shm/hostile"));
    let before = fs::read_dir("/tmp").map_or(0, Iterator::count);
    println!("hostile: sandbox: files in /tmp at the start: {before}");
    let program = fs::copy("/usr/bin/aios-hostile", "/tmp/program");
    tried("start a program that it wrote", program.and_then(|_| Command::new("/tmp/program").status()));
}

fn processes() {
    let pids = |directory: fs::ReadDir| -> Vec<i32> {
        directory.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    };
    let seen = fs::read_dir("/proc").map(pids).unwrap_or_default();
    println!("hostile: sandbox: processes seen: {}", seen.len());
    tried("look at PID 1", fs::read("/proc/1/status"));
    let own = rustix::process::getpid();
    // The machine is young: all its processes have small numbers.
    let others = (1..3000).filter_map(Pid::from_raw).filter(|pid| *pid != own);
    let reached = others.filter(|pid| test_kill_process(*pid).is_ok()).count();
    println!("hostile: sandbox: processes that a signal reaches: {reached}");
    tried("stop PID 1", kill_process(Pid::INIT, Signal::STOP).map_err(Into::into));
}

fn memory() {
    tried("map memory to write and execute", sys::map_writable_executable());
    tried("make written memory executable", sys::make_executable());
}

fn calls() {
    for (what, number) in [
        ("mount", libc::SYS_mount),
        ("fsopen", libc::SYS_fsopen),
        ("chroot", libc::SYS_chroot),
        ("ptrace", libc::SYS_ptrace),
        ("bpf", libc::SYS_bpf),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("clone3", libc::SYS_clone3),
        ("reboot", libc::SYS_reboot),
        ("init_module", libc::SYS_init_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("keyctl", libc::SYS_keyctl),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("clock_settime", libc::SYS_clock_settime),
        ("setuid", libc::SYS_setuid),
        ("chown", libc::SYS_chown),
        ("syslog", libc::SYS_syslog),
        ("sethostname", libc::SYS_sethostname),
        ("personality", libc::SYS_personality),
        ("swapon", libc::SYS_swapon),
    ] {
        tried(&format!("call {what}"), sys::call(number));
    }
    tried("call ioctl to type into a terminal", sys::type_into_terminal());
    tried("call clone for a user namespace", sys::clone_user_namespace());
}

fn sockets() {
    for (what, family) in [
        ("packet", libc::AF_PACKET),
        ("netlink", libc::AF_NETLINK),
        ("vsock", libc::AF_VSOCK),
        ("alg", libc::AF_ALG),
    ] {
        tried(&format!("{what} socket"), sys::socket(family));
    }
}

/// What every service may do, or the bars would be too narrow.
fn permitted() {
    let all = || -> Result<()> {
        sys::socket(libc::AF_INET)?;
        sys::socket(libc::AF_UNIX)?;
        std::thread::spawn(|| ()).join().map_err(|_| std::io::Error::other("a thread"))?;
        File::create("/data/hostile-state/file")?.write_all(b"x")?;
        File::create("/tmp/file")?.write_all(b"x")?;
        fs::rename("/tmp/file", "/tmp/renamed")?;
        fs::read("/etc/os-release")?;
        fs::read("/proc/self/status")?;
        fs::read("/proc/meminfo")?;
        OpenOptions::new().write(true).open("/dev/null")?.write_all(b"x")?;
        Command::new("/usr/bin/aios-hostile").arg("no-such-fault").output()?;
        Ok(())
    };
    match all() {
        Ok(()) => println!("hostile: sandbox: what every service may do is done"),
        Err(error) => println!("hostile: sandbox: what every service may do: {error}"),
    }
    let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    println!("hostile: sandbox: oom_score_adj is {}", score.trim());
    let nice = rustix::process::getpriority_process(None).unwrap_or(99);
    println!("hostile: sandbox: nice is {nice}");
}
