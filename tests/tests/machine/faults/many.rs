//! A thousand services.

use super::{Pids, machine, said, service, start};
use aios_tests::{Appliance, PATIENCE};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

const COUNT: usize = 1000;
const KILLED: usize = 100;

#[test]
fn a_thousand_services_come_up_are_repaired_and_go_down_in_order() -> Result<()> {
    let instances = (1..=COUNT).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
    let template = format!(
        "description = \"one of many\"\nexec = [\"/usr/bin/aios-hostile\", \"idle\"]\nuser = \"aios-netd\"\n\
         after = [\"console\"]\ninstances = [{instances}]\n"
    );
    let killer = "kind = \"oneshot\"\n[sandbox]\ncapabilities = [\"CAP_KILL\"]\nsees_processes = true\n";
    let services = [
        ("config/services/many@.toml".to_owned(), template.into_bytes()),
        service("kill", "root", &["kill", "many@", &KILLED.to_string()], killer),
    ];
    let begun = Instant::now();
    let mut appliance = machine(&services, |_| {})?;
    let up = wait_for(&appliance, COUNT, 0)?;
    println!("fault many: {COUNT} services run {} s after QEMU's start", begun.elapsed().as_secs());
    let before = Pids::now(&appliance)?;

    let begun = Instant::now();
    start(&appliance, "kill")?;
    let line = said(&appliance, "kill", "processes")?;
    let repaired = wait_for(&appliance, COUNT, KILLED)?;
    before.same(&appliance, "the death of many")?;
    let took = begun.elapsed().as_millis();
    println!(
        "fault many: {line}; all run again {took} ms after the order; a list takes {} ms",
        repaired.as_millis()
    );

    let begun = Instant::now();
    appliance.machine.power_off(PATIENCE)?;
    let serial = appliance.machine.serial().text();
    ensure!(serial.contains("disks are clean"), "it did not go down in order");
    let late = serial.lines().filter(|line| line.contains("did not end within")).count();
    println!(
        "fault many: off in {} ms, {late} services had to be killed; a list took {} ms at first",
        begun.elapsed().as_millis(),
        up.as_millis()
    );
    Ok(())
}

/// Wait until so many services run and so many were started again; how long one list takes.
fn wait_for(appliance: &Appliance, running: usize, restarted: usize) -> Result<Duration> {
    let until = Instant::now() + PATIENCE;
    loop {
        let begun = Instant::now();
        let list = appliance.json(&["services", "list"])?;
        let took = begun.elapsed();
        let services = list["services"].as_array().context("no list of services")?;
        let many = || services.iter().filter(|s| s["name"].as_str().is_some_and(|n| n.starts_with("many@")));
        let now = many().filter(|s| s["state"] == "running").count();
        let again = many().filter(|s| s["restarts"].as_u64() >= Some(1)).count();
        if (now, again) == (running, restarted) {
            return Ok(took);
        }
        ensure!(
            Instant::now() < until,
            "{now} of {running} run, {again} of {restarted} were started again; one of them: {:?}",
            many().find(|s| s["state"] != "running")
        );
    }
}
