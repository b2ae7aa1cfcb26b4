//! What init writes down while all is well, and how it goes on from there after an error of its own.

use super::held::Process;
use super::{Doors, Machine};
use crate::boot::Booted;
use crate::control::Control;
use crate::device::Uevents;
use crate::logs::{Fatal, INIT, Logs};
use crate::modules::Index;
use crate::notify::Notify;
use crate::poll::Token;
use crate::power::{self, Watchdog};
use crate::resume::{self, Crash, Header, Page, Record};
use crate::supervisor::{Ended, Event, Id};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, RawFd};

/// Longer texts are not worth a place in the state page.
const MAX_TEXT: usize = 300;

impl Machine {
    /// Write down what changed, and tell those who watch.
    pub(super) fn publish_changes(&mut self) {
        let changed = self.supervisor.take_changed();
        if changed.is_empty() {
            return;
        }
        let watched = self.control.watched();
        for id in &changed {
            if let Some(change) = self.change(*id).filter(|_| watched) {
                self.control.announce(&change, &self.poller);
            }
            self.consider_standby(*id);
            self.remember(*id);
        }
        self.remember_common();
    }

    pub(super) fn remember(&mut self, id: Id) {
        let (Some(page), Some(held)) = (&self.page, self.services.get(id.0)) else { return };
        let Some(memory) = self.supervisor.memory(id) else { return };
        let record = Record {
            name: held.unit.name.clone(),
            memory: memory.short(MAX_TEXT),
            status: held.status.as_ref().map(|text| text.chars().take(MAX_TEXT).collect()),
            sockets: held.sockets.iter().map(|(name, fd)| (name.clone(), fd.as_raw_fd())).collect(),
            standby: held.standby.as_ref().map(|standby| standby.pid().as_raw_nonzero().get()),
            output: held.output.as_ref().map(AsRawFd::as_raw_fd),
            ready: held.ready.as_ref().map(AsRawFd::as_raw_fd),
        };
        if let Err(e) = page.store_service(id.0, &record) {
            self.logs.push(INIT, 4, &format!("{}: not in the state page: {e}", held.unit.name));
        }
    }

    pub(super) fn remember_common(&mut self) {
        let Some(page) = &self.page else { return };
        let header = Header {
            started_ms: self.started_ms,
            hostname: self.hostname.clone(),
            data_on_disk: self.data == "disk",
            console_ready: self.console_ready,
            resumed: self.resumed,
            seq: self.logs.seq(),
            common: self.supervisor.common(),
            plan: self.plan.clone(),
            services: u32::try_from(self.services.len()).unwrap_or(u32::MAX),
            control: self.control.fd().as_raw_fd(),
            notify: self.notify.fd().as_raw_fd(),
            watchdog: self.watchdog.as_ref().map(|w| w.fd()),
        };
        if let Err(e) = page.store(&header) {
            self.logs.push(INIT, 4, &format!("the state page cannot be written: {e}"));
        }
    }

    /// Go on after an error, with the processes, sockets and pipes of the init that had it.
    pub(crate) fn resume(fd: RawFd) -> Result<Self, Fatal> {
        let mut logs = Logs::with_console();
        resume::resuming();
        let (page, crash) = match Page::inherit(fd) {
            Ok(inherited) => inherited,
            Err(e) => return Err(Box::new((logs, format!("the state page is lost: {e}")))),
        };
        let what = crash.map_or_else(|| "an error of its own".to_owned(), describe);
        if let Some(count) = crash.map(|crash| crash.count).filter(|count| *count >= resume::TOO_MANY) {
            return Err(Box::new((
                logs,
                format!("init failed {count} times within minutes, the last time by {what}"),
            )));
        }
        let Some(header) = page.header() else {
            return Err(Box::new((logs, format!("the state page is damaged, after {what}"))));
        };
        // Lines that nobody had read yet are lost; the gap in the numbers shows it.
        logs.count_from(header.seq + 1000);
        let take = |fd, what: &str| resume::take(fd).map_err(|e| format!("the {what} socket is lost: {e}"));
        let doors = take(header.control, "control").and_then(|control| {
            Ok(Doors {
                control: Control::inherit(control),
                notify: Notify::inherit(take(header.notify, "notify")?),
            })
        });
        let doors = match doors {
            Ok(doors) => doors,
            Err(why) => return Err(Box::new((logs, why))),
        };
        let watchdog = header.watchdog.and_then(|fd| resume::take(fd).ok()).map(Watchdog::inherit);
        let booted = Booted {
            logs,
            uevents: Uevents::open().ok(),
            modules: Index::open(),
            started_ms: header.started_ms,
            hostname: header.hostname.clone(),
            data: if header.data_on_disk { "disk" } else { "memory" },
        };
        let mut machine = Self::assemble(booted, watchdog, doors)?;
        machine.resumed = header.resumed + 1;
        machine.console_ready = header.console_ready;
        machine.plan = header.plan.clone();
        machine.recall(&page, &header);
        machine.page = Some(page);
        let text = format!("init goes on after {what}; {} services keep running", machine.running());
        machine.logs.warn(&text);
        Ok(machine)
    }

    fn recall(&mut self, page: &Page, header: &Header) {
        let mut records: Vec<Record> =
            (0..header.services as usize).filter_map(|n| page.service(n)).collect();
        let mut memories = Vec::new();
        for (index, held) in self.services.iter_mut().enumerate() {
            let Some(at) = records.iter().position(|record| record.name == held.unit.name) else { continue };
            let record = records.swap_remove(at);
            held.status = record.status;
            // The pipe that it would speak through is not known any more.
            if let Some(pid) = record.standby.and_then(Pid::from_raw).filter(is_child) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            held.sockets = record
                .sockets
                .into_iter()
                .filter_map(|(name, fd)| Some((name, resume::take(fd).ok()?)))
                .collect();
            held.output = record.output.and_then(|fd| resume::take(fd).ok());
            held.ready = record.ready.and_then(|fd| resume::take(fd).ok());
            held.oom_before = held.cgroup.as_ref().map_or(0, |cgroup| cgroup.oom_kills());
            if let Some((run, number)) = record.memory.process() {
                let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
                held.process = pid.filter(is_child).map(|pid| Process { run, pid });
            }
            memories.push((Id(index), record.memory));
        }
        // What is not in the page and runs is ended: nobody would ever look after it.
        let known: Vec<&str> = memories
            .iter()
            .filter(|(_, memory)| memory.active_run().is_some())
            .filter_map(|(id, _)| self.services.get(id.0).map(|held| held.unit.name.as_str()))
            .collect();
        for name in crate::cgroup::kill_strangers(&known) {
            self.logs.push(INIT, 5, &format!("whatever ran as {name} is ended"));
        }
        self.supervisor.recall(header.common, memories);
    }

    /// Open everything that the loop listens to, catch up on what happened meanwhile, and go on.
    pub(crate) fn run_on(&mut self) -> std::io::Result<()> {
        close_strangers();
        self.listen()?;
        for index in 0..self.services.len() {
            let (Some(held), Ok(number)) = (self.services.get(index), u32::try_from(index)) else { continue };
            if let Some(output) = &held.output {
                let _ = self.poller.readable(output, Token::Output(number));
            }
            if let Some(ready) = &held.ready {
                let _ = self.poller.readable(ready, Token::Ready(number));
            }
        }
        self.catch_up();
        (0..self.services.len()).for_each(|index| self.consider_standby(Id(index)));
        for id in self.supervisor.listening() {
            self.listen_for(id, true);
        }
        self.go_on()
    }

    /// Processes that ended, starts that were under way, cgroups that became empty in the meantime.
    fn catch_up(&mut self) {
        for index in 0..self.services.len() {
            let id = Id(index);
            let Some(run) = self.supervisor.active_run(id) else { continue };
            let Some(held) = self.services.get(index) else { continue };
            if held.process.is_some() {
                // Its report pipe is gone; a program that could not be executed ends by itself.
                self.happened(Event::Executed(id, run));
            } else if !held.unit.exec.is_empty() {
                let how = "ended while init was being executed anew".to_owned();
                self.happened(Event::Exited(id, run, Ended { success: false, starved: false, how }));
            }
        }
        self.reap();
        for index in 0..self.services.len() {
            self.cgroup_changed(index);
        }
        self.happened(Event::Tick);
    }

    fn running(&self) -> usize {
        self.services.iter().filter(|held| held.process.is_some()).count()
    }
}

/// The turn that failed may have reaped it, and its number may be another's by now.
fn is_child(pid: &Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(*pid), look).is_ok()
}

fn describe(crash: Crash) -> String {
    match crash.signal {
        libc::SIGABRT => "an internal error".to_owned(),
        libc::SIGALRM => "a turn of its loop that did not end".to_owned(),
        number => aios_unit::signal_name(number),
    }
}

/// Close what the state page did not name: connections, half-made pipes, the old epoll. What was taken over is
/// closed at exec again; so is nothing else.
fn close_strangers() {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: BTreeSet<RawFd> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        resume::close_if_inherited(fd);
    }
}

/// An error of init itself, while the machine runs: execute anew. Comes back only when that is impossible.
pub(crate) fn fail(text: &str) {
    power::say(&format!("aios: internal error in init: {text}\n"));
    resume::execute_anew();
}
