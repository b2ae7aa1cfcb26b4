//! Too many processes, and processes that stand still.

use super::{Pids, end, machine, said, service, start, wait_until};
use crate::text;
use anyhow::{Result, ensure};
use std::time::Instant;

#[test]
fn too_many_processes_and_processes_that_stand_still_harm_nobody_else() -> Result<()> {
    let oneshot = "kind = \"oneshot\"\n";
    let appliance = machine(
        &[
            service(
                "bomb-limited",
                "aios-netd",
                &["fork-bomb"],
                "kind = \"oneshot\"\n[resources]\npids_max = 64\n",
            ),
            service("bomb", "root", &["fork-bomb"], oneshot),
            service(
                "orphans",
                "aios-netd",
                &["orphans", "2000"],
                "kind = \"oneshot\"\n[resources]\npids_max = 4096\n",
            ),
            service("stopped", "aios-netd", &["stop"], "stop_timeout = \"2s\"\n"),
            service("watched", "aios-netd", &["stop-watched"], "ready = \"notify\"\nwatchdog = \"2s\"\n"),
        ],
        |_| {},
    )?;
    let before = Pids::now(&appliance)?;

    for name in ["bomb-limited", "bomb"] {
        start(&appliance, name)?;
        let line = said(&appliance, name, "the first process made")?;
        let begun = Instant::now();
        let status = appliance.service(name)?;
        let answered = begun.elapsed().as_millis();
        end(&appliance, name)?;
        println!(
            "fault {name}: {line}; {} processes, the list of services after {answered} ms; killed as a whole",
            status["processes"]
        );
        before.same(&appliance, name)?;
    }

    start(&appliance, "orphans")?;
    let line = said(&appliance, "orphans", "ended at once")?;
    println!("fault orphans: {line}");
    ensure!(line.contains(", 0 were left"), "PID 1 did not collect them: {line}");
    before.same(&appliance, "orphans")?;

    start(&appliance, "stopped")?;
    said(&appliance, "stopped", "stop: now")?;
    let pid = appliance.service("stopped")?["pid"].clone();
    appliance.json(&["tools", "call", "service.restart", "name=stopped", "--why", "fault"])?;
    let status = wait_until(&appliance, "stopped", |s| s["pid"] != pid && s["pid"].is_u64())?;
    println!("fault stopped: restarted on request; {}", text(&status["last_exit"]));

    start(&appliance, "watched")?;
    let status = wait_until(&appliance, "watched", |s| s["restarts"].as_u64() >= Some(1))?;
    println!("fault watched: stopped itself; {}", text(&status["last_exit"]));
    ensure!(text(&status["last_exit"]).contains("watchdog"), "the reason is not told: {status}");
    before.same(&appliance, "the stopped services")
}
