//! From the kernel's hand-over to a machine on which services can be started.
//!
//! One binary, two stages: as `/init` of the initramfs it finds the root file system and executes
//! `/sbin/init` there, which is the same program again. Without `root=` on the kernel command line the
//! initramfs itself is the system.

mod child;
mod data;
pub(crate) mod ext4;
pub(crate) mod groups;
mod identity;
mod initramfs;
pub(crate) mod mounts;
mod network;
pub(crate) mod order;
mod place;
pub(crate) mod recovery;
#[allow(unsafe_code)]
mod sys;

use crate::clock;
use crate::cmdline::{self, Cmdline, Disk};
use crate::device::{self, Uevents, wait_for_disk};
use crate::logs::{Fatal, Logs};
use crate::modules::{self, Index};
use crate::power::Watchdog;
use std::time::Duration;

pub(crate) use identity::{last_run, save_seed, stamp_of, version};
pub(crate) use place::Place;

/// Carries the time of the first instruction from the first stage to the second.
const STARTED: &str = "AIOS_INIT_STARTED_MS";
/// How long a disk other than the root may take to appear.
const DISK_LIMIT: Duration = Duration::from_secs(10);

/// What the boot found out.
#[derive(Debug)]
pub(crate) struct Booted {
    pub(crate) logs: Logs,
    pub(crate) uevents: Option<Uevents>,
    pub(crate) modules: Index,
    /// Milliseconds from the kernel's start to our first instruction.
    pub(crate) started_ms: u64,
    pub(crate) hostname: String,
    /// `disk` or `memory`
    pub(crate) data: &'static str,
}

/// Do all of it. In the initramfs this ends by executing the next stage.
pub(crate) fn boot(started: Duration, stage: &str, watchdog: &mut Option<Watchdog>) -> Result<Booted, Fatal> {
    let own = clock::milliseconds(started);
    let started_ms = std::env::var(STARTED).ok().and_then(|ms| ms.parse().ok()).unwrap_or(own);
    if Place::find() == Place::Container {
        return Ok(container(started_ms));
    }
    let faults = mounts::first();
    let mut logs = Logs::with_console();
    faults.iter().for_each(|fault| logs.warn(fault));
    let cmdline = cmdline::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default());
    if stage == "/init" && cmdline.root.is_some() {
        logs.info(&format!("initramfs reached {own} ms after the kernel's start"));
        cmdline.faults.iter().for_each(|fault| logs.warn(fault));
        if let Err(why) = initramfs::enter(&cmdline, &mut logs) {
            return Err(Box::new((logs, why)));
        }
        let why = crate::sys::execute(c"/sbin/init", &format!("{STARTED}={own}"));
        return Err(Box::new((
            logs,
            format!("/sbin/init of the root file system cannot be executed: {why}"),
        )));
    }
    logs.info(&format!(
        "aiOS {} starts, {} ms after the kernel",
        version(),
        clock::milliseconds(clock::now())
    ));
    Ok(system(&cmdline, logs, started_ms, watchdog))
}

/// The second stage. Nothing in it is fatal: what is missing is said, the rest goes on.
fn system(cmdline: &Cmdline, mut logs: Logs, started_ms: u64, watchdog: &mut Option<Watchdog>) -> Booted {
    mounts::rest().iter().for_each(|fault| logs.warn(fault));
    let uevents = Uevents::open().map_err(|e| logs.warn(&format!("no kernel events: {e}"))).ok();
    let (loaded, faults) = modules::load_list();
    faults.iter().for_each(|fault| logs.warn(fault));
    let mut index = Index::open();
    for fault in index.coldplug() {
        logs.push(crate::logs::INIT, 4, &fault);
    }
    logs.push(crate::logs::INIT, 6, &format!("{loaded} modules from the image's list are loaded"));
    // Now the modules are there that it may need; a check of the data disk can take long.
    *watchdog = watchdog.take().or_else(Watchdog::arm);
    identity::sysctls(&mut logs);
    if let Err(e) = network::loopback_up() {
        logs.warn(&format!("the loopback interface is not up: {e}"));
    }
    if let Some(disk) = &cmdline.models {
        let mounted = find(disk, uevents.as_ref()).and_then(|device| mounts::read_only(&device, "/models"));
        if let Err(why) = mounted {
            logs.warn(&format!("no models: {why}; the machine works without them"));
        }
    }
    let data = mount_data(cmdline, uevents.as_ref(), &mut logs, watchdog);
    if uevents.as_ref().is_some_and(Uevents::take_skipped) {
        index.coldplug().iter().for_each(|fault| logs.push(crate::logs::INIT, 4, fault));
    }
    directories(&mut logs);
    device::link_virtio_ports();
    recovery::begin(cmdline, &mut logs);
    identity::restore_seed();
    let hostname = identity::hostname(&mut logs);
    Booted { logs, uevents, modules: index, started_ms, hostname, data }
}

/// Where people put service files, tools extensions, snapshots and models, and the console what is sent to it; without a disk it
/// is as short-lived as everything else there. Services are allowed them when they start, so they are there before.
fn directories(logs: &mut Logs) {
    use aios_abi::paths::{BACKUP, IMPORTED_MODELS, UPLOADS};
    for place in ["/data/config/services", aios_extension::DIRECTORY, BACKUP, IMPORTED_MODELS, UPLOADS] {
        if let Err(e) = std::fs::create_dir_all(place) {
            logs.warn(&format!("{place} cannot be made: {e}"));
        }
    }
    let console = Some(aios_abi::who::uid::CONSOLE);
    if let Err(e) = std::os::unix::fs::lchown(UPLOADS, console, console) {
        logs.warn(&format!("{UPLOADS} cannot be given to the console: {e}"));
    }
}

/// On somebody else's machine: mount what is missing, and leave all else as it was found.
fn container(started_ms: u64) -> Booted {
    let faults = mounts::in_container();
    let mut logs = Logs::with_console();
    faults.iter().for_each(|fault| logs.warn(fault));
    logs.info(&format!("aiOS {} starts in a container", version()));
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let data = if mounts::is_mount_point(std::path::Path::new("/data")) {
        "disk"
    } else {
        mounts::memory("/data").unwrap_or_else(|why| logs.warn(&why));
        "memory"
    };
    directories(&mut logs);
    Booted { logs, uevents: None, modules: Index::default(), started_ms, hostname, data }
}

fn find(disk: &Disk, uevents: Option<&Uevents>) -> Result<std::path::PathBuf, String> {
    let uevents = uevents.ok_or("without kernel events no disk can be waited for")?;
    wait_for_disk(disk, uevents, DISK_LIMIT)
}

fn mount_data(
    cmdline: &Cmdline,
    uevents: Option<&Uevents>,
    logs: &mut Logs,
    watchdog: &mut Option<Watchdog>,
) -> &'static str {
    let mounted = match &cmdline.data {
        Some(disk) => find(disk, uevents).and_then(|device| data::mount(&device, "/data", logs, watchdog)),
        None => Err("the kernel command line has no aios.data=".to_owned()),
    };
    let Err(why) = mounted else { return "disk" };
    logs.say(1, &format!("NOTHING WILL SURVIVE A REBOOT: /data is in memory, because {why}"));
    if let Err(e) = mounts::memory("/data") {
        logs.say(1, &e);
    }
    "memory"
}
