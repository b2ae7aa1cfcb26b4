//! What a hostile service can reach: nothing that its file does not name.

use crate::text;
use aios_tests::Appliance;
use anyhow::{Context, Result, ensure};

/// It runs as root, so that no file's mode and no user's limit helps: only the sandbox is in its way.
const HOSTILE: &str = r#"description = "a hostile program"
exec = ["/usr/bin/aios-hostile", "escape"]
user = "root"
kind = "oneshot"
after = ["toold", "agentd", "inferd", "console", "log"]
state_directory = "/data/hostile-state"
[resources]
oom_score = 321
nice = 5
"#;

/// What a service without declarations may not do, and the error that says which bar it met.
const REFUSED: &[(&str, &str)] = &[
    ("read the audit of toold", "Permission denied"),
    ("read the stored logs", "Permission denied"),
    ("read the console's key", "Permission denied"),
    ("list /data", "Permission denied"),
    ("list /run", "Permission denied"),
    ("write the data disk", "Permission denied"),
    ("read the kernel's memory", "Permission denied"),
    ("write a kernel setting", "Read-only file system"),
    ("pull the plug", "Read-only file system"),
    ("write a cgroup's limit", "Read-only file system"),
    ("write a device's setting", "Read-only file system"),
    ("make a file in /data", "Read-only file system"),
    ("make a file in /run", "Read-only file system"),
    ("make a file in /etc", "Read-only file system"),
    ("make a file in /dev/shm", "Read-only file system"),
    ("start a program that it wrote", "Permission denied"),
    ("look at PID 1", "No such file"),
    ("stop PID 1", "not permitted"),
    ("map memory to write and execute", "Permission denied"),
    ("make written memory executable", "Permission denied"),
    ("call mount", "not permitted"),
    ("call fsopen", "not permitted"),
    ("call chroot", "not permitted"),
    ("call ptrace", "not permitted"),
    ("call bpf", "not permitted"),
    ("call unshare", "not permitted"),
    ("call setns", "not permitted"),
    ("call clone3", "not implemented"),
    ("call reboot", "not permitted"),
    ("call init_module", "not permitted"),
    ("call kexec_load", "not permitted"),
    ("call keyctl", "not permitted"),
    ("call io_uring_setup", "not permitted"),
    ("call userfaultfd", "not permitted"),
    ("call perf_event_open", "not permitted"),
    ("call process_vm_readv", "not permitted"),
    ("call open_by_handle_at", "not permitted"),
    ("call clock_settime", "not permitted"),
    ("call setuid", "not permitted"),
    ("call chown", "not permitted"),
    ("call syslog", "not permitted"),
    ("call sethostname", "not permitted"),
    ("call personality", "not permitted"),
    ("call swapon", "not permitted"),
    ("call ioctl to type into a terminal", "not permitted"),
    ("call clone for a user namespace", "not permitted"),
    ("packet socket", "not supported"),
    ("netlink socket", "not supported"),
    ("vsock socket", "not supported"),
    ("alg socket", "not supported"),
];

#[test]
fn a_hostile_root_service_that_declares_nothing_reaches_nothing() -> Result<()> {
    let appliance = Appliance::boot(&[("config/services/hostile.toml", HOSTILE.as_bytes())], |_| {})?;
    appliance.claim()?;
    let mut log = appliance.follow(&["logs", "--unit", "hostile", "-n", "200", "--follow"])?;
    let mut lines = Vec::new();
    log.wait_for(|line| {
        lines.push(line.trim().to_owned());
        line.contains("sandbox: done")
    })?;
    drop(log);
    let lines = lines.join("\n");
    println!("{lines}");
    let outcome = |what: &str| {
        let wanted = format!("hostile: sandbox: {what}");
        let line = lines.lines().find_map(|line| line.split_once(&wanted).map(|(_, rest)| rest));
        line.with_context(|| format!("no line {wanted}"))
    };
    for (what, error) in REFUSED {
        let said = outcome(what)?;
        ensure!(said.contains(error), "{what}{said}: should be \"{error}\"");
    }
    ensure!(!lines.contains("SUCCESS"), "something was allowed");
    ensure!(outcome("files in /tmp at the start")? == ": 0", "/tmp is not its own");
    ensure!(outcome("processes seen")? == ": 1", "it sees others");
    ensure!(outcome("processes that a signal reaches")? == ": 0", "signals reach others");
    ensure!(outcome("what every service may do")? == " is done", "the bars are too narrow");
    ensure!(outcome("oom_score_adj")? == " is 321" && outcome("nice")? == " is 5");
    for name in ["toold", "workshop", "inferd", "strategic", "agentd", "netd", "console", "log"] {
        let status = appliance.service(name)?;
        ensure!(status["state"] == "running" && status["restarts"] == 0, "{name} suffered: {status}");
    }
    Ok(())
}

#[test]
fn a_start_that_fails_says_at_which_step() -> Result<()> {
    let broken = r#"description = "a program that is not there"
exec = ["/usr/bin/aios-absent"]
user = "aios-netd"
"#;
    let appliance = Appliance::boot(&[("config/services/broken.toml", broken.as_bytes())], |_| {})?;
    appliance.claim()?;
    let status = appliance.service("broken")?;
    let said = text(&status["last_exit"]);
    println!("{said}");
    ensure!(said.contains("failed while executing its program: No such file"), "not said: {status}");
    Ok(())
}
