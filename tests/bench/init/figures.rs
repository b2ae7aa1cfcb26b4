//! What is measured, in which order.

use super::probe::Probe;
use super::reports::{Kind, now};
use super::supervisor::{ALL, Supervisor, name};
use super::world::World;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rounds of what is done with a supervisor of its own each time.
const ROUNDS: usize = 3;
/// Services that are killed once, each of them for the first time.
const FIRST: usize = 40;
/// Of those, services that are killed again at once; a second of waiting each.
const SECOND: usize = 10;
const IDLE: Duration = Duration::from_secs(60);
pub(super) const MANY: usize = 1000;
pub(super) const SOME: usize = 100;

/// All measurements of one supervisor.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Figures {
    /// From SIGKILL to the new `main`, µs: the first kill of a service, and the one right after it.
    pub(super) first: Vec<f64>,
    pub(super) second: Vec<f64>,
    /// Proportional set size in KiB by the number of services.
    pub(super) pss: BTreeMap<usize, Vec<f64>>,
    /// From the execution of the supervisor to the last of [`MANY`] `main`s, µs.
    pub(super) start: Vec<f64>,
    /// Wake-ups in [`IDLE`] with [`SOME`] services.
    pub(super) wakeups: f64,
    /// From asking for it to the end of PID 1 with [`SOME`] services, µs.
    pub(super) shutdown: Vec<f64>,
}

pub(super) type All = BTreeMap<Supervisor, Figures>;

/// Measure all of them in turns. Progress goes to standard error.
pub(super) fn measure() -> Result<All> {
    let probe = Probe::build()?;
    let mut all: All = ALL.into_iter().map(|supervisor| (supervisor, Figures::default())).collect();
    for round in 1..=ROUNDS {
        for (supervisor, figures) in &mut all {
            eprintln!("bench: {}: start and memory, {round} of {ROUNDS}", supervisor.title());
            let world = World::start(*supervisor, MANY, &probe)?;
            figures.start.push(micros(world.started_in));
            world.settle()?;
            figures.pss.entry(MANY).or_default().push(world.pss()?);
            drop(world);
            let world = World::start(*supervisor, 1, &probe)?;
            world.settle()?;
            figures.pss.entry(1).or_default().push(world.pss()?);
            drop(world);
            let world = World::start(*supervisor, SOME, &probe)?;
            world.settle()?;
            figures.pss.entry(SOME).or_default().push(world.pss()?);
            figures.shutdown.push(micros(world.end()?));
        }
    }
    let worlds = ALL.into_iter().map(|s| World::start(s, SOME, &probe)).collect::<Result<Vec<_>>>()?;
    worlds.iter().try_for_each(World::settle)?;
    eprintln!("bench: {} s in which nothing happens", IDLE.as_secs());
    let before = worlds.iter().map(World::switches).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(IDLE);
    for (world, before) in worlds.iter().zip(before) {
        all.entry(world.supervisor).or_default().wakeups = world.switches()? - before;
    }
    eprintln!("bench: {FIRST} services are killed");
    for number in 0..FIRST {
        for world in &worlds {
            let figures = all.entry(world.supervisor).or_default();
            let main = world.service(number).context("a service has no process")?;
            let (main, first) = kill(world, number, main)?;
            figures.first.push(first);
            if number < SECOND {
                figures.second.push(kill(world, number, main)?.1);
            }
        }
    }
    Ok(all)
}

/// Kill a service's main process; the next one, and how long it took to its `main`.
fn kill(world: &World, number: usize, main: Pid) -> Result<(Pid, f64)> {
    let killed = now()?;
    kill_process(main, Signal::KILL)?;
    let (pid, report) = world.reports.wait(Kind::Began, &name(number))?;
    Ok((pid, micros(report.at.saturating_sub(killed))))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
