//! Going down and to sleep, as a person asks for it.

use crate::extensions::call;
use crate::text;
use aios_tests::{Appliance, PATIENCE, said};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Wait until QEMU says so of the machine.
fn wait_until(appliance: &Appliance, status: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let is = appliance.machine.qmp()?.execute("query-status")?;
        if is["status"] == status {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "the machine is not {status}: {is}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn processes(appliance: &Appliance) -> Result<Vec<Value>> {
    ["console", "toold", "netd"].iter().map(|name| Ok(appliance.service(name)?["pid"].clone())).collect()
}

#[test]
fn the_machine_sleeps_is_woken_by_its_clock_and_goes_down_when_it_is_told_to() -> Result<()> {
    // With a watchdog, which must not wake it.
    let mut appliance = Appliance::boot(&[], |machine| machine.watchdog = true)?;
    appliance.claim()?;
    let planned = call(&appliance, "power.off", &["delay_seconds=3600", "reason=moving"])?;
    println!("{}", text(&planned["summary"]));
    let status = call(&appliance, "power.status", &[])?;
    ensure!(status["result"].to_string().contains("moving"), "it is not planned: {status}");
    let second = ["tools", "call", "power.suspend", "delay_seconds=60", "reason=night", "--why", "test"];
    let at_once = ["tools", "call", "power.suspend", "reason=night", "--why", "test"];
    for sleep in [&second[..], &at_once] {
        let refused = appliance.ctl(sleep)?;
        ensure!(!refused.status.success() && said(&refused).contains("power.cancel"), "{}", said(&refused));
    }
    call(&appliance, "power.cancel", &[])?;

    let before = processes(&appliance)?;
    let asleep = call(&appliance, "power.suspend", &["wake_after_seconds=40", "reason=night"])?;
    println!("{}", text(&asleep["summary"]));
    wait_until(&appliance, "suspended")?;
    wait_until(&appliance, "running")?;
    let begun = Instant::now();
    while !appliance.ctl(&["status"])?.status.success() {
        ensure!(begun.elapsed() < PATIENCE, "nobody answers after its sleep");
    }
    let log = said(&appliance.ctl(&["logs", "--unit", "init", "-n", "40"])?);
    ensure!(log.contains("going to sleep for 40 s") && log.contains("awake after"), "no word of it: {log}");
    ensure!(before == processes(&appliance)?, "not everybody slept well: {log}");

    call(&appliance, "power.off", &["reason=moving"])?;
    ensure!(appliance.machine.wait_exit(PATIENCE)?, "it is not off");
    Ok(())
}
