//! The shell around the supervisor: waits, tells it what happened, does what it says.

mod commands;
mod devices;
mod held;
mod plan;
mod remember;
mod requests;
mod rescan;
mod services;
mod standby;

pub(crate) use plan::Plan;
pub(crate) use remember::fail;

use crate::boot::{Booted, recovery};
use crate::cgroup;
use crate::control::Control;
use crate::device::Uevents;
use crate::logs::{Fatal, Logs};
use crate::modules::Index;
use crate::notify::Notify;
use crate::poll::{Poller, Token};
use crate::power::{self, Watchdog};
use crate::resume::{self, Page};
use crate::spawner::Spawner;
use crate::supervisor::{Event, Id, Power, Run, Supervisor, Ticket};
use crate::sys::{self, Signals};
use crate::{boot::mounts, clock};
use aios_abi::service::ServiceState;
use aios_unit::{Loaded, Users};
use held::Held;
use rustix::process::Pid;
use rustix::time::{TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The service whose readiness is the end of the boot.
const CONSOLE: &str = "console";
/// The service that init brings itself: [`crate::store`].
const LOG_KEEPER: &str = "log";
/// Messages of services that are read before others have their turn.
const TURN: usize = 64;

/// The machine that is up.
#[derive(Debug)]
pub(crate) struct Machine {
    poller: Poller,
    supervisor: Supervisor,
    services: Vec<Held>,
    spawner: Spawner,
    refused: Vec<String>,
    logs: Logs,
    control: Control,
    notify: Notify,
    signals: Signals,
    kernel: Option<File>,
    uevents: Option<Uevents>,
    modules: Index,
    buttons: HashMap<u32, (PathBuf, File)>,
    watchdog: Option<Watchdog>,
    /// Becomes readable when somebody sets the clock.
    clock: Option<OwnedFd>,
    cgroups: Option<cgroup::Events>,
    tickets: HashMap<Ticket, Asked>,
    commands: commands::Commands,
    last_ticket: u64,
    started_ms: u64,
    hostname: String,
    data: &'static str,
    console_ready: Option<Duration>,
    console_watched: bool,
    /// Memory that only the boot, or reading service files, needed has not been given back yet.
    bulky: bool,
    /// More processes have ended than were collected in one turn.
    unreaped: bool,
    /// Runs that begin in a later turn, because this one has begun enough.
    to_spawn: VecDeque<(Id, Run)>,
    spawned: usize,
    /// Services that want a standby.
    standbys: VecDeque<Id>,
    page: Option<Page>,
    /// The machine is to go down later.
    plan: Option<Plan>,
    resumed: u32,
    ended: bool,
}

/// A request that is answered later.
#[derive(Debug)]
struct Asked {
    connection: u32,
    request: u64,
    deadline: Option<Duration>,
    /// The request ends without an answer of the supervisor: a followed log, watched services.
    follow: bool,
}

/// The sockets that clients know init by.
struct Doors {
    control: Control,
    notify: Notify,
}

impl Machine {
    /// Read the service files and open everything that the loop listens to.
    pub(crate) fn new(booted: Booted, watchdog: Option<Watchdog>) -> Result<Self, Fatal> {
        let open = || -> io::Result<Doors> {
            std::fs::create_dir_all("/run/aios")?;
            Ok(Doors { control: Control::open(aios_abi::paths::INIT_SOCKET)?, notify: Notify::open()? })
        };
        match open() {
            Ok(doors) => Self::assemble(booted, watchdog, doors),
            Err(e) => Err(Box::new((
                booted.logs,
                format!("the sockets of init cannot be opened in /run/aios: {e}"),
            ))),
        }
    }

    fn assemble(booted: Booted, watchdog: Option<Watchdog>, doors: Doors) -> Result<Self, Fatal> {
        let Booted { mut logs, uevents, modules, started_ms, hostname, data } = booted;
        let open = || -> io::Result<(Poller, Signals)> {
            let signals = Signals::open(&[
                libc::SIGCHLD,
                libc::SIGTERM,
                libc::SIGINT,
                libc::SIGUSR1,
                libc::SIGUSR2,
                libc::SIGHUP,
                libc::SIGPIPE,
            ])?;
            Ok((Poller::new()?, signals))
        };
        let (poller, signals) = match open() {
            Ok(opened) => opened,
            Err(e) => return Err(Box::new((logs, format!("init cannot wait for events: {e}")))),
        };
        let spawner = Spawner::new();
        let loaded = load(data == "disk");
        for sentence in &loaded.refused {
            logs.warn(&format!("service file refused: {sentence}"));
        }
        let protected = loaded.units.iter().filter_map(|u| u.resources.memory_min).sum();
        if let Err(why) = cgroup::make_slice(protected) {
            logs.warn(&why);
        }
        let services: Vec<Held> = loaded.units.into_iter().map(|unit| Held::new(unit, &mut logs)).collect();
        let specs = held::specs(&services, LOG_KEEPER).into_iter().flatten().collect();
        let nonblocking = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let kernel = match crate::boot::Place::find() {
            crate::boot::Place::Machine => {
                std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/kmsg").ok()
            }
            crate::boot::Place::Container => None,
        };
        let mut seed = [0; 8];
        let _ = File::open("/dev/urandom").and_then(|mut f| io::Read::read_exact(&mut f, &mut seed));
        Ok(Self {
            poller,
            supervisor: Supervisor::new(specs, u64::from_ne_bytes(seed)),
            services,
            spawner,
            refused: loaded.refused,
            logs,
            control: doors.control,
            notify: doors.notify,
            signals,
            kernel,
            uevents,
            modules,
            buttons: HashMap::new(),
            watchdog,
            clock: clock_that_tells().ok(),
            cgroups: cgroup::Events::open().ok(),
            tickets: HashMap::new(),
            commands: commands::Commands::default(),
            last_ticket: 0,
            started_ms,
            hostname,
            data,
            console_ready: None,
            console_watched: false,
            bulky: true,
            unreaped: false,
            to_spawn: VecDeque::new(),
            spawned: 0,
            standbys: VecDeque::new(),
            page: None,
            plan: None,
            resumed: 0,
            ended: false,
        })
    }

    /// Start everything and keep it up until the machine goes down.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        self.listen()?;
        match Page::new() {
            Ok(page) => self.page = Some(page),
            Err(e) => self.logs.warn(&format!("an error of init would end the machine: no state page: {e}")),
        }
        let count = self.services.len();
        self.logs.info(&format!(
            "{count} services, {} refused files; /data is {} {}",
            self.refused.len(),
            if self.data == "disk" { "on" } else { "in" },
            self.data
        ));
        self.happened(Event::Boot);
        for id in self.supervisor.listening() {
            self.listen_for(id, true);
        }
        self.go_on()
    }

    fn listen(&mut self) -> io::Result<()> {
        self.poller.readable(self.signals.fd(), Token::Signal)?;
        self.poller.readable(self.control.fd(), Token::Control)?;
        self.poller.readable(self.notify.fd(), Token::Notify)?;
        if let Some(uevents) = &self.uevents {
            self.poller.readable(uevents.fd(), Token::Uevent)?;
        }
        if let Some(kernel) = &self.kernel {
            self.poller.readable(kernel, Token::Kernel)?;
        }
        if let Some(clock) = &self.clock {
            self.poller.readable(clock, Token::Clock)?;
        }
        match &self.cgroups {
            Some(cgroups) => self.poller.readable(cgroups.fd(), Token::Cgroups)?,
            None => {
                self.logs.warn("cgroups cannot be watched: what a service leaves behind is not seen to end")
            }
        }
        for index in 0..self.services.len() {
            self.watch_cgroup(index);
        }
        self.find_buttons();
        Ok(())
    }

    fn watch_cgroup(&mut self, index: usize) {
        let cgroup = self.services.get(index).and_then(|held| held.cgroup.as_ref());
        if let (Some(events), Some(cgroup), Ok(number)) = (&mut self.cgroups, cgroup, u32::try_from(index))
            && let Err(e) = events.watch(cgroup, number)
        {
            self.logs.warn(&format!("a cgroup cannot be watched: {e}"));
        }
    }

    /// The loop.
    fn go_on(&mut self) -> io::Result<()> {
        self.logs.defer();
        while !self.ended {
            if self.bulky && self.supervisor.next_deadline().is_none() {
                self.bulky = false;
                sys::give_back();
                self.spawner.rest();
            }
            resume::turn(false);
            let ready = self.poller.wait(self.pause())?;
            resume::turn(true);
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.feed(clock::now());
            }
            if std::mem::take(&mut self.unreaped) {
                self.reap();
            }
            for token in ready {
                self.serve(token);
            }
            self.happened(Event::Tick);
            self.spawn_those_that_wait();
            self.make_standby();
            if let Some(fault) = self.spawner.fault() {
                self.logs.warn(&fault);
            }
            self.expire_tickets();
            self.tend_commands();
            self.carry_out();
            self.serve_console();
            self.publish_changes();
            let new = self.logs.take_new();
            if !new.is_empty() {
                self.control.publish(&new, &self.poller);
            }
        }
        Ok(())
    }

    /// How long nothing has to be done if nothing happens.
    fn pause(&self) -> Option<Duration> {
        let may_spawn = !self.to_spawn.is_empty() && self.may_prepare_more();
        if self.unreaped || may_spawn || self.may_make_standby() {
            return Some(Duration::ZERO);
        }
        let tickets = self.tickets.values().filter_map(|asked| asked.deadline);
        let watchdog = self.watchdog.as_ref().map(|w| w.due);
        let plan = self.plan.as_ref().map(|plan| plan.at);
        let decided = self.supervisor.next_deadline().into_iter().chain(self.commands.next_deadline());
        let next = tickets.chain(watchdog).chain(plan).chain(decided).min()?;
        Some(next.saturating_sub(clock::now()))
    }

    fn serve(&mut self, token: Token) {
        match token {
            Token::Signal => self.signalled(),
            Token::Control => self.control.accept(&self.poller),
            Token::Connection(key) => {
                for incoming in self.control.serve(key, &self.poller) {
                    self.requested(incoming);
                }
            }
            Token::Notify => self.notified(),
            Token::Kernel => self.kernel_spoke(),
            Token::Uevent => self.device_event(),
            Token::Button(key) => self.button(key),
            Token::Output(index) => self.output(index),
            Token::Report(index) => self.report(index),
            Token::Cgroups => self.cgroups_changed(),
            Token::Ready(index) => self.ready_line(index),
            Token::Knock(index) => self.happened(Event::Knock(Id(index as usize))),
            Token::Clock => self.clock_was_set(),
            Token::Command(number) => self.command_output(number),
            Token::Console => self.logs.flush(),
        }
    }

    /// Wait for the console only while something is left to be written to it.
    fn serve_console(&mut self) {
        self.logs.flush();
        let pending = self.logs.pending();
        if pending == self.console_watched {
            return;
        }
        let watched = match self.logs.console() {
            Some(console) if pending => self.poller.write_only(console, Token::Console),
            Some(console) => self.poller.forget(console),
            None => Ok(()),
        };
        // A console that is no terminal cannot be waited for; it takes the rest with the next line.
        self.console_watched = pending && watched.is_ok();
    }

    fn signalled(&mut self) {
        while let Some(signal) = self.signals.next() {
            let power = match signal {
                libc::SIGCHLD => {
                    self.reap();
                    continue;
                }
                libc::SIGTERM | libc::SIGINT => Power::Reboot,
                libc::SIGUSR1 | libc::SIGUSR2 => Power::Off,
                _ => continue,
            };
            self.begin_shutdown(power, &aios_unit::signal_name(signal));
        }
    }

    fn begin_shutdown(&mut self, power: Power, why: &str) {
        if !self.supervisor.shutting_down() {
            let what = match power {
                Power::Off => "switching off",
                Power::Reboot => "restarting",
                Power::Kexec => "starting another kernel",
            };
            self.logs.info(&format!("{what} ({why}): stopping {} services", self.services.len()));
            self.commands.end_all();
            self.happened(Event::Shutdown(power));
        }
    }

    fn notified(&mut self) {
        for _ in 0..TURN {
            let Some(message) = self.notify.next() else { return };
            let Some((id, run)) = self.sender(message.pid) else { continue };
            if let (Some(held), Some(status)) = (self.services.get_mut(id.0), message.status) {
                held.status = Some(status);
            }
            if let Some(time) = message.extend {
                self.happened(Event::Extend(id, run, time));
            }
            if message.ready {
                self.happened(Event::Ready(id, run));
                self.note_console(id);
            }
            if message.alive {
                self.happened(Event::Alive(id, run));
            }
            if message.unwell {
                self.happened(Event::Unwell(id, run));
            }
        }
    }

    /// The service and the run that a process belongs to.
    fn sender(&self, pid: u32) -> Option<(Id, Run)> {
        let main = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let main = main.and_then(|pid| self.services.iter().position(|held| held.is_main(pid)));
        let index = main.or_else(|| {
            let name = cgroup::service_of(pid)?;
            self.services.iter().position(|held| !held.gone && held.unit.name == name)
        })?;
        Some((Id(index), self.supervisor.active_run(Id(index))?))
    }

    fn note_console(&mut self, id: Id) {
        let is_console = self.services.get(id.0).is_some_and(|held| held.unit.name == CONSOLE);
        if !is_console || self.console_ready.is_some() {
            return;
        }
        let now = clock::now();
        let running = self.supervisor.view(id, now).is_some_and(|v| v.state == ServiceState::Running);
        if running {
            self.console_ready = Some(now);
            self.logs.info(&format!("the console answers {} ms after the kernel's start", now.as_millis()));
        }
    }

    fn clock_was_set(&mut self) {
        let Some(clock) = &self.clock else { return };
        let mut expirations = [0; 8];
        // ECANCELED is what the kernel says when the clock was set.
        let set = matches!(rustix::io::read(clock, &mut expirations[..]), Err(rustix::io::Errno::CANCELED));
        if set {
            if let Err(e) = arm_clock(clock) {
                self.logs.warn(&format!("the clock cannot be watched any more: {e}"));
                self.clock = None;
            }
            self.logs.push(crate::logs::INIT, 5, "the clock was set");
            self.happened(Event::ClockSet);
        }
    }

    fn go_down(&mut self, power: Power, left: &[Id]) {
        for held in left.iter().filter_map(|id| self.services.get(id.0)) {
            self.logs.warn(&format!("{} did not stop; going down without it", held.unit.name));
        }
        resume::turn(false);
        power::go_down(power, &mut self.logs);
        self.ended = true;
    }
}

/// All service files, and the service that init brings itself when there is a disk to keep logs on.
fn load(disk: bool) -> Loaded {
    let users = Users::read(Path::new("/"));
    let directories = [Path::new("/etc/aios/services"), Path::new("/data/config/services")];
    let recovery = recovery::is_on();
    // What the owner has stored may be the very thing that is broken.
    let mut loaded = aios_unit::load(directories.get(..if recovery { 1 } else { 2 }).unwrap_or(&[]), &users);
    if disk && !loaded.units.iter().any(|unit| unit.name == LOG_KEEPER) {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/sbin/init"));
        let file = Path::new("(built in)").join(format!("{LOG_KEEPER}.toml"));
        match aios_unit::parse(&file, &crate::store::service_file(&program), &users) {
            Ok(unit) => loaded.units.push(unit),
            Err(sentence) => loaded.refused.push(sentence),
        }
        loaded.units.sort_by(|a, b| a.name.cmp(&b.name));
    }
    if recovery {
        recovery::hold_back(&mut loaded.units, LOG_KEEPER);
    }
    loaded
}

/// A timer that ends when somebody sets the clock, and otherwise in the year 2300.
fn clock_that_tells() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let clock = rustix::time::timerfd_create(TimerfdClockId::Realtime, flags)?;
    arm_clock(&clock)?;
    Ok(clock)
}

fn arm_clock(clock: &OwnedFd) -> io::Result<()> {
    let far = rustix::time::Timespec { tv_sec: 10_413_792_000, tv_nsec: 0 };
    let never = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    let value = rustix::time::Itimerspec { it_interval: never, it_value: far };
    rustix::time::timerfd_settime(clock, flags, &value)?;
    Ok(())
}

/// What to say when there is nothing left to wait with.
pub(crate) fn waiting_failed(error: io::Error) -> Fatal {
    Box::new((Logs::with_console(), format!("init cannot wait for events: {error}")))
}

/// Nothing can be started, but the machine can still say so and go down in order.
pub(crate) fn give_up((mut logs, why): (Logs, String)) -> ! {
    mounts::leave().iter().for_each(|fault| logs.warn(fault));
    logs.flush_for(Duration::from_secs(1));
    power::last_resort(&why)
}
