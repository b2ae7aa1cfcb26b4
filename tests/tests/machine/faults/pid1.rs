//! PID 1's own faults: it goes on where it was, and where that does not help the machine starts anew.

use super::{Pids, machine, said, service, start};
use aios_tests::{BOOT, PATIENCE};
use anyhow::{Context, Result, ensure};
use std::time::Instant;

const PRIVILEGED: &str = "kind = \"oneshot\"\n[sandbox]\nprivileged = true\n";
const KILLER: &str = "kind = \"oneshot\"\n[sandbox]\ncapabilities = [\"CAP_KILL\"]\nsees_processes = true\n";
/// What the machine says when PID 1 begins a boot; not when it executes itself anew.
const BEGINS: &str = "aios: initramfs reached";

#[test]
fn a_fault_in_pid_1_ends_no_service_and_too_many_restart_the_machine() -> Result<()> {
    let mut appliance = machine(
        &[
            service("segv", "root", &["signal", "SEGV", "1"], KILLER),
            service("abrt", "root", &["signal", "ABRT", "1"], KILLER),
            service("bus", "root", &["signal", "BUS", "1"], KILLER),
            service("storm", "root", &["signal", "SEGV", "100"], KILLER),
            service("kill-spawner", "root", &["spawner", "KILL"], PRIVILEGED),
            service("stop-spawner", "root", &["spawner", "STOP"], PRIVILEGED),
            service("after", "aios-netd", &["say", "made without a spawner"], "kind = \"oneshot\"\n"),
        ],
        |config| config.reboots = true,
    )?;
    let before = Pids::now(&appliance)?;
    for (name, signal) in [("segv", "SIGSEGV"), ("abrt", "internal error"), ("bus", "SIGBUS")] {
        start(&appliance, name)?;
        let line = said(&appliance, name, "answered again")?;
        let told = said(&appliance, "init", signal)?;
        before.same(&appliance, name)?;
        println!("fault {name}: {line}; {told}; the services have the same processes as before");
    }
    for (name, fate) in [("kill-spawner", "has ended"), ("stop-spawner", "stopped it")] {
        start(&appliance, name)?;
        let open = said(&appliance, name, "privileged:")?;
        ensure!(open.contains("seccomp 0") && open.contains("ffffffff, namespaces of init true"), "{open}");
        let line = said(&appliance, name, "hostile: spawner:")?;
        let told = said(&appliance, "init", fate)?;
        start(&appliance, "after")?;
        said(&appliance, "after", "made without a spawner")?;
        before.same(&appliance, name)?;
        println!("fault {name}: {line}; {told}; services start as before");
    }
    // What it forgot would show here: whose child died, and what it may be asked.
    appliance.kill_daemon("netd")?;

    let mut mark = appliance.machine.serial().mark();
    let begun = Instant::now();
    start(&appliance, "storm")?;
    let again = |line: &str| line.contains(BEGINS).then_some(());
    appliance.machine.serial().wait_for(&mut mark, PATIENCE, again).context("it did not restart")?;
    let restarted = begun.elapsed().as_secs();
    appliance.machine.wait_ready(BOOT)?;
    println!("fault storm: the machine restarted {restarted} s after the first of many faults, and came up");
    Ok(())
}

#[test]
fn the_hardware_watchdog_restarts_a_machine_whose_pid_1_hangs() -> Result<()> {
    let more = "kind = \"oneshot\"\n[sandbox]\ncapabilities = [\"CAP_SYS_PTRACE\"]\n\
                syscalls = [\"debug\"]\nsees_processes = true\n";
    let mut appliance = machine(&[service("seize", "root", &["seize"], more)], |config| {
        config.watchdog = true;
        config.reboots = true;
    })?;
    let mut mark = appliance.machine.serial().mark();
    let begun = Instant::now();
    start(&appliance, "seize")?;
    let again = |line: &str| line.contains(BEGINS).then_some(());
    appliance.machine.serial().wait_for(&mut mark, PATIENCE, again).context("it was not reset")?;
    let reset = begun.elapsed().as_secs();
    let ready = appliance.machine.wait_ready(BOOT)?;
    ensure!(ready.claim_code().is_none(), "the machine forgot its owner");
    println!(
        "fault seize: PID 1 stood still; the watchdog reset the machine within {reset} s, and it came up"
    );
    Ok(())
}
