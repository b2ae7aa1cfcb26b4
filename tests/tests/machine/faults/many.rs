//! A thousand services.

use super::{Pids, machine, said, service, start};
use aios_tests::{Appliance, BOOT};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

const COUNT: usize = 1000;
const KILLED: usize = 100;

#[test]
fn a_thousand_services_come_up_are_repaired_and_go_down_in_order() -> Result<()> {
    let list = |prefix: &str| (1..=COUNT).map(|n| format!("\"{prefix}{n}\"")).collect::<Vec<_>>().join(", ");
    let instances = format!("instances = [{}]\n", list(""));
    let all = format!(
        "description = \"many\"\nkind = \"milestone\"\nstart = \"manual\"\nwants = [{}]\n",
        list("many@")
    );
    let killer = "kind = \"oneshot\"\n[sandbox]\ncapabilities = [\"CAP_KILL\"]\nsees_processes = true\n";
    let services = [
        service("many@", "aios-netd", &["idle"], &instances),
        ("config/services/all.toml".to_owned(), all.into_bytes()),
        service("kill", "root", &["kill", "many@", &KILLED.to_string()], killer),
    ];
    let mut appliance = machine(&services, |_| {})?;
    let begun = Instant::now();
    start(&appliance, "all")?;
    let (list, silence) = wait_for(&appliance, COUNT, 0)?;
    println!(
        "fault many: {COUNT} services run {} ms after the order; a list took up to {} ms meanwhile, {} ms then",
        begun.elapsed().as_millis(),
        silence.as_millis(),
        list.as_millis()
    );
    let before = Pids::now(&appliance)?;

    let begun = Instant::now();
    start(&appliance, "kill")?;
    let line = said(&appliance, "kill", "processes")?;
    let (_, silence) = wait_for(&appliance, COUNT, KILLED)?;
    before.same(&appliance, "the death of many")?;
    println!(
        "fault many: {line}; all run again {} ms after the order; a list took up to {} ms meanwhile",
        begun.elapsed().as_millis(),
        silence.as_millis()
    );

    let begun = Instant::now();
    appliance.machine.power_off(BOOT)?;
    let serial = appliance.machine.serial().text();
    ensure!(serial.contains("disks are clean"), "it did not go down in order");
    let late = serial.lines().filter(|line| line.contains("did not end within")).count();
    println!("fault many: off in {} ms, {late} services had to be killed", begun.elapsed().as_millis());
    Ok(())
}

/// Wait until so many services run and so many were started again; how long one list takes then, and how
/// long at most there was none.
fn wait_for(appliance: &Appliance, running: usize, restarted: usize) -> Result<(Duration, Duration)> {
    let until = Instant::now() + BOOT;
    let mut silence = Duration::ZERO;
    let mut asked = Instant::now();
    loop {
        let begun = Instant::now();
        let list = match appliance.json(&["services", "list"]) {
            Err(error) if Instant::now() > until => return Err(error),
            // Busy with the start of so many; how long is in the table.
            Err(_) => continue,
            Ok(list) => list,
        };
        silence = silence.max(asked.elapsed());
        asked = Instant::now();
        let services = list["services"].as_array().context("no list of services")?;
        let many = || services.iter().filter(|s| s["name"].as_str().is_some_and(|n| n.starts_with("many@")));
        let now = many().filter(|s| s["state"] == "running").count();
        let again = many().filter(|s| s["restarts"].as_u64() >= Some(1)).count();
        if (now, again) == (running, restarted) {
            return Ok((begun.elapsed(), silence));
        }
        ensure!(
            Instant::now() < until,
            "{now} of {running} run, {again} of {restarted} were started again; one that does not run: {:?}; one that died: {:?}",
            many().find(|s| s["state"] != "running"),
            many().find(|s| !s["last_exit"].is_null())
        );
    }
}
