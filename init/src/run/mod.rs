//! The shell around the supervisor: waits, tells it what happened, does what it says.

mod requests;
mod services;

use crate::boot::{Booted, Place};
use crate::cgroup::{self, Cgroup};
use crate::control::Control;
use crate::device::{self, Uevents};
use crate::logs::{self, Lines, Logs};
use crate::modules::Index;
use crate::notify::Notify;
use crate::poll::{Poller, Token};
use crate::power::{self, Watchdog};
use crate::supervisor::{Event, Id, Power, Run, Spec, Supervisor, Ticket};
use crate::sys::Signals;
use crate::{boot::mounts, clock};
use aios_abi::service::ServiceState;
use aios_unit::{Unit, Users};
use std::collections::HashMap;
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

/// What the shell holds for a service.
#[derive(Debug)]
struct Held {
    unit: Unit,
    cgroup: Option<Cgroup>,
    sockets: Vec<(String, OwnedFd)>,
    /// The process of the present run.
    process: Option<(Run, rustix::process::Pid, OwnedFd)>,
    output: Option<OwnedFd>,
    lines: Lines,
    report: Option<OwnedFd>,
    /// `STATUS=` of the present run.
    status: Option<String>,
    /// `oom_kill` when the run began.
    oom_before: u64,
}

/// The machine that is up.
#[derive(Debug)]
pub(crate) struct Machine {
    poller: Poller,
    supervisor: Supervisor,
    services: Vec<Held>,
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
    tickets: HashMap<Ticket, Asked>,
    last_ticket: u64,
    started_ms: u64,
    hostname: String,
    data: &'static str,
    console_ready: Option<Duration>,
    console_watched: bool,
    ended: bool,
}

/// A request that is answered later.
#[derive(Debug)]
struct Asked {
    connection: u32,
    request: u64,
    deadline: Option<Duration>,
    /// The request ends without an answer of the supervisor: a followed log.
    follow: bool,
}

impl Machine {
    /// Read the service files and open everything that the loop listens to.
    pub(crate) fn new(booted: Booted, watchdog: Option<Watchdog>) -> Result<Self, (Logs, String)> {
        let Booted { mut logs, uevents, modules, started_ms, hostname, data } = booted;
        let users = Users::read(Path::new("/"));
        let mut loaded =
            aios_unit::load(&[Path::new("/etc/aios/services"), Path::new("/data/config/services")], &users);
        if data == "disk" && !loaded.units.iter().any(|unit| unit.name == LOG_KEEPER) {
            let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/sbin/init"));
            let file = Path::new("(built in)").join(format!("{LOG_KEEPER}.toml"));
            match aios_unit::parse(&file, &crate::store::service_file(&program), &users) {
                Ok(unit) => loaded.units.push(unit),
                Err(sentence) => loaded.refused.push(sentence),
            }
            loaded.units.sort_by(|a, b| a.name.cmp(&b.name));
        }
        for sentence in &loaded.refused {
            logs.warn(&format!("service file refused: {sentence}"));
        }
        let open = || -> io::Result<(Poller, Control, Notify, Signals)> {
            std::fs::create_dir_all("/run/aios")?;
            let signals = Signals::open(&[
                libc::SIGCHLD,
                libc::SIGTERM,
                libc::SIGINT,
                libc::SIGUSR1,
                libc::SIGUSR2,
                libc::SIGHUP,
                libc::SIGPIPE,
            ])?;
            Ok((Poller::new()?, Control::open(aios_abi::paths::INIT_SOCKET)?, Notify::open()?, signals))
        };
        let (poller, control, notify, signals) = match open() {
            Ok(opened) => opened,
            Err(e) => return Err((logs, format!("the sockets of init cannot be opened in /run/aios: {e}"))),
        };
        let specs = specs(&loaded.units);
        let protected = loaded.units.iter().filter_map(|u| u.resources.memory_min).sum();
        if let Err(why) = cgroup::make_slice(protected) {
            logs.warn(&why);
        }
        let services = loaded.units.into_iter().map(|unit| Held::new(unit, &mut logs)).collect();
        let nonblocking = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let open = || std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/kmsg").ok();
        let kernel = (Place::find() == Place::Machine).then(open).flatten();
        let mut seed = [0; 8];
        let _ = File::open("/dev/urandom").and_then(|mut f| io::Read::read_exact(&mut f, &mut seed));
        Ok(Self {
            poller,
            supervisor: Supervisor::new(specs, u64::from_ne_bytes(seed)),
            services,
            refused: loaded.refused,
            logs,
            control,
            notify,
            signals,
            kernel,
            uevents,
            modules,
            buttons: HashMap::new(),
            watchdog,
            tickets: HashMap::new(),
            last_ticket: 0,
            started_ms,
            hostname,
            data,
            console_ready: None,
            console_watched: false,
            ended: false,
        })
    }

    /// Start everything and keep it up until the machine goes down.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        self.poller.readable(self.signals.fd(), Token::Signal)?;
        self.poller.readable(self.control.fd(), Token::Control)?;
        self.poller.readable(self.notify.fd(), Token::Notify)?;
        if let Some(uevents) = &self.uevents {
            self.poller.readable(uevents.fd(), Token::Uevent)?;
        }
        if let Some(kernel) = &self.kernel {
            self.poller.readable(kernel, Token::Kernel)?;
        }
        for (index, held) in (0..).zip(&self.services) {
            if let Some(cgroup) = &held.cgroup {
                self.poller.notified(cgroup.events(), Token::Cgroup(index))?;
            }
        }
        self.find_buttons();
        let count = self.services.len();
        self.logs.info(&format!(
            "{count} services, {} refused files; /data is {} {}",
            self.refused.len(),
            if self.data == "disk" { "on" } else { "in" },
            self.data
        ));
        self.happened(Event::Boot);
        while !self.ended {
            let ready = self.poller.wait(self.pause())?;
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.feed(clock::now());
            }
            for token in ready {
                self.serve(token);
            }
            self.happened(Event::Tick);
            self.expire_tickets();
            self.serve_console();
            let new = self.logs.take_new();
            if !new.is_empty() {
                self.control.publish(&new, &self.poller);
            }
        }
        Ok(())
    }

    /// How long nothing has to be done if nothing happens.
    fn pause(&self) -> Option<Duration> {
        let tickets = self.tickets.values().filter_map(|asked| asked.deadline);
        let watchdog = self.watchdog.as_ref().map(|w| w.due);
        let next = tickets.chain(watchdog).chain(self.supervisor.next_deadline()).min()?;
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
            Token::Cgroup(index) => self.cgroup_changed(index),
            Token::Console => self.logs.flush(),
        }
    }

    /// Wait for the console only while something is left to be written to it.
    fn serve_console(&mut self) {
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
            self.begin_shutdown(power, &format!("signal {signal}"));
        }
    }

    fn begin_shutdown(&mut self, power: Power, why: &str) {
        if !self.supervisor.shutting_down() {
            let what = if power == Power::Off { "switching off" } else { "restarting" };
            self.logs.info(&format!("{what} ({why}): stopping {} services", self.services.len()));
            self.happened(Event::Shutdown(power));
        }
    }

    fn notified(&mut self) {
        while let Some(message) = self.notify.next() {
            let Some((id, run)) = self.sender(message.pid) else { continue };
            if let (Some(held), Some(status)) = (self.services.get_mut(id.0), message.status) {
                held.status = Some(status);
            }
            if message.ready {
                self.happened(Event::Ready(id, run));
                self.note_console(id);
            }
        }
    }

    /// The service and the run that a process belongs to.
    fn sender(&self, pid: u32) -> Option<(Id, Run)> {
        let main = |held: &Held| {
            held.process.as_ref().is_some_and(|(_, p, _)| p.as_raw_nonzero().get().unsigned_abs() == pid)
        };
        let index = self.services.iter().position(main).or_else(|| {
            let name = cgroup::service_of(pid)?;
            self.services.iter().position(|held| held.unit.name == name)
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

    fn kernel_spoke(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let mut buffer = [0; 8192];
        for _ in 0..256 {
            match io::Read::read(kernel, &mut buffer) {
                Ok(length) => {
                    let record = buffer.get(..length).unwrap_or_default();
                    if let Some((priority, text)) = logs::kernel_record(record) {
                        self.logs.push(logs::KERNEL, priority, &text);
                    }
                }
                // Records were overwritten before we came; the next read goes on after them.
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => {
                    self.logs.push(logs::KERNEL, 4, "(records of the kernel were lost here)");
                }
                Err(_) => break,
            }
        }
    }

    fn device_event(&mut self) {
        let (mut ports, mut input) = (false, false);
        let mut wanted = Vec::new();
        loop {
            let Some(uevents) = &self.uevents else { return };
            match uevents.next() {
                Ok(Some(event)) if event.action == "add" || event.action == "change" => {
                    ports |= event.subsystem == "virtio-ports";
                    input |= event.subsystem == "input";
                    wanted.extend(event.modalias);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                // Some were lost: look at everything.
                Err(_) => {
                    (ports, input) = (true, true);
                    for fault in self.modules.coldplug() {
                        self.logs.push(logs::INIT, 4, &fault);
                    }
                    break;
                }
            }
        }
        for modalias in wanted {
            for fault in self.modules.load_for(&modalias) {
                self.logs.push(logs::INIT, 4, &fault);
            }
        }
        if ports && !device::link_virtio_ports().is_empty() {
            for held in &self.services {
                held.unit.devices.iter().for_each(|device| crate::spawn::give_device(device, &held.unit));
            }
        }
        if input {
            self.find_buttons();
        }
    }

    fn find_buttons(&mut self) {
        for path in power::buttons() {
            if self.buttons.values().any(|(known, _)| *known == path) {
                continue;
            }
            let Some(file) = power::open_button(&path) else { continue };
            let key = (0..).find(|key| !self.buttons.contains_key(key)).unwrap_or(0);
            if self.poller.readable(&file, Token::Button(key)).is_ok() {
                self.buttons.insert(key, (path, file));
            }
        }
    }

    fn button(&mut self, key: u32) {
        let Some((_, file)) = self.buttons.get_mut(&key) else { return };
        match power::pressed(file) {
            Ok(true) => self.begin_shutdown(Power::Off, "power button"),
            Ok(false) => {}
            Err(_) => drop(self.buttons.remove(&key)),
        }
    }

    fn go_down(&mut self, power: Power, left: &[Id]) {
        for held in left.iter().filter_map(|id| self.services.get(id.0)) {
            self.logs.warn(&format!("{} did not stop; going down without it", held.unit.name));
        }
        power::go_down(power, &mut self.logs);
        self.ended = true;
    }
}

impl Held {
    fn new(unit: Unit, logs: &mut Logs) -> Self {
        let cgroup = match Cgroup::make(&unit) {
            Ok((cgroup, faults)) => {
                faults.iter().for_each(|fault| logs.warn(fault));
                Some(cgroup)
            }
            Err(why) => {
                logs.warn(&why);
                None
            }
        };
        Self {
            unit,
            cgroup,
            sockets: Vec::new(),
            process: None,
            output: None,
            lines: Lines::default(),
            report: None,
            status: None,
            oom_before: 0,
        }
    }
}

/// What the supervisor needs to know, with names turned into numbers. Names that do not exist are left out.
fn specs(units: &[Unit]) -> Vec<Spec> {
    let ids = |names: &[String]| {
        names.iter().filter_map(|name| units.iter().position(|u| u.name == *name).map(Id)).collect()
    };
    units
        .iter()
        .map(|unit| Spec {
            name: unit.name.clone(),
            kind: unit.kind,
            ready: unit.ready,
            after: ids(&unit.after),
            requires: ids(&unit.requires),
            last: unit.name == LOG_KEEPER,
            start_timeout: unit.start_timeout,
            stop_timeout: unit.stop_timeout,
        })
        .collect()
}

/// Nothing can be started, but the machine can still say so and go down in order.
pub(crate) fn give_up(mut logs: Logs, why: &str) -> ! {
    mounts::leave().iter().for_each(|fault| logs.warn(fault));
    logs.flush_for(Duration::from_secs(1));
    power::last_resort(why)
}
