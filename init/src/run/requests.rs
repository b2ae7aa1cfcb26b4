//! What clients of the control socket ask for.

use super::{Asked, Machine};
use crate::boot::version;
use crate::clock::{self, milliseconds};
use crate::control::{Incoming, MANAGERS};
use crate::device::line;
use crate::logs::Filter;
use crate::power;
use crate::supervisor::{Event, Id, Power, Ticket};
use aios_abi::call::Meta;
use aios_abi::service::{InitReply, InitRequest, MachineStatus, ServiceChange, ServiceStatus};
use aios_abi::who::Peer;
use aios_abi::{CallError, ErrorCode};
use std::path::Path;
use std::time::Duration;

/// How long a request without a deadline of its own may take.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// Lines of one answer.
const MAX_LINES: u32 = 20_000;
/// Lines from before that are sent to somebody who follows; he has to keep up with them.
const MAX_EARLIER: u32 = 256;

impl Machine {
    pub(super) fn requested(&mut self, incoming: Incoming) {
        let Incoming { connection, peer, id, request } = incoming;
        let Some((meta, body)) = request else {
            self.tickets.retain(|_, asked| (asked.connection, asked.request) != (connection, id));
            self.commands.cancel(connection, id);
            let error = CallError::new(ErrorCode::Cancelled, "cancelled by the caller");
            self.control.reply(connection, id, Err(error), &self.poller);
            return;
        };
        match self.decide(connection, peer, id, &meta, body) {
            Ok(Some(reply)) => self.control.reply(connection, id, Ok(reply), &self.poller),
            Ok(None) => {}
            Err(error) => self.control.reply(connection, id, Err(error), &self.poller),
        }
    }

    /// The answer, or nothing when it comes later.
    fn decide(
        &mut self,
        connection: u32,
        peer: Peer,
        id: u64,
        meta: &Meta,
        body: InitRequest,
    ) -> Result<Option<InitReply>, CallError> {
        let now = clock::now();
        let asked = |default: Option<Duration>, follow| {
            let limit = match meta.deadline_ms {
                0 => default,
                ms => Some(Duration::from_millis(ms.into())),
            };
            Asked { connection, request: id, deadline: limit.map(|limit| now + limit), follow }
        };
        Ok(match body {
            InitRequest::List => {
                let services = (0..self.services.len()).filter_map(|n| self.status(Id(n))).collect();
                Some(InitReply::List { services, refused: self.refused.clone() })
            }
            InitRequest::Status { name } => {
                let service = self.find(&name)?;
                self.status(service).map(InitReply::Status)
            }
            InitRequest::Machine => Some(InitReply::Machine(self.machine_status())),
            InitRequest::Logs { unit, contains, limit, follow } => {
                let filter = Filter::new(unit, contains);
                let limit = limit.min(if follow { MAX_EARLIER } else { MAX_LINES });
                let lines = self.logs.query(&filter, limit as usize);
                if !follow {
                    return Ok(Some(InitReply::Logs { lines, dropped: self.logs.dropped() }));
                }
                // Lines of this turn that nobody has heard of yet are in the answer already.
                let new = self.logs.take_new();
                self.control.publish(&new, &self.poller);
                for line in &lines {
                    self.control.event(connection, id, line, &self.poller);
                }
                self.control.follow(connection, id, filter);
                let ticket = self.ticket();
                self.tickets.insert(ticket, asked(None, true));
                None
            }
            InitRequest::Start { name } => {
                self.later(peer, &name, "started", asked(Some(DEFAULT_DEADLINE), false), Event::Start)?
            }
            InitRequest::Stop { name } => {
                self.later(peer, &name, "stopped", asked(Some(DEFAULT_DEADLINE), false), Event::Stop)?
            }
            InitRequest::Restart { name } => {
                self.later(peer, &name, "restarted", asked(Some(DEFAULT_DEADLINE), false), Event::Restart)?
            }
            InitRequest::Reload { name } => {
                only_managers(peer)?;
                let id = self.find(&name)?;
                self.note_request(&name, "reloaded", peer);
                self.reload(id).map_err(|why| CallError::failed(format!("{name}: {why}")))?;
                self.status(id).map(InitReply::Status)
            }
            InitRequest::Rescan => {
                only_managers(peer)?;
                Some(self.rescan())
            }
            InitRequest::Watch => {
                self.publish_changes();
                self.control.watch(connection, id);
                for index in 0..self.services.len() {
                    if let Some(change) = self.change(Id(index)) {
                        self.control.change(connection, id, change, &self.poller);
                    }
                }
                let ticket = self.ticket();
                self.tickets.insert(ticket, asked(None, true));
                None
            }
            InitRequest::PowerOff => self.go_down_for(peer, connection, id, Power::Off)?,
            InitRequest::Kexec { kernel, initramfs, cmdline } => {
                only_managers(peer)?;
                power::load_kernel(&kernel, initramfs.as_deref(), &cmdline).map_err(CallError::failed)?;
                self.go_down_for(peer, connection, id, Power::Kexec)?
            }
            InitRequest::Reboot => self.go_down_for(peer, connection, id, Power::Reboot)?,
            InitRequest::GoDown { power, delay_seconds, why } => {
                only_managers(peer)?;
                Some(InitReply::Planned(Some(self.plan(peer, power, delay_seconds, &why)?)))
            }
            InitRequest::Planned => Some(InitReply::Planned(self.planned())),
            InitRequest::CallOff => {
                only_managers(peer)?;
                Some(InitReply::Planned(self.call_off(peer)))
            }
            InitRequest::Commands => Some(self.commands_reply()),
            InitRequest::Run(request) => {
                only_managers(peer)?;
                self.run_command(peer, (connection, id), meta.deadline_ms, request)?
            }
            InitRequest::EndRun { number } => {
                only_managers(peer)?;
                Some(self.end_command(number)?)
            }
            InitRequest::DropCaches { what } => {
                only_managers(peer)?;
                if !(1..=3).contains(&what) {
                    return Err(CallError::invalid(format!("{what} names no caches; say 1, 2 or 3")));
                }
                self.logs.push(
                    crate::logs::INIT,
                    5,
                    &format!("caches are dropped, asked for by process {}", peer.pid),
                );
                std::fs::write("/proc/sys/vm/drop_caches", what.to_string())
                    .map_err(|e| CallError::failed(format!("/proc/sys/vm/drop_caches: {e}")))?;
                Some(InitReply::Accepted)
            }
        })
    }

    fn later(
        &mut self,
        peer: Peer,
        name: &str,
        what: &str,
        asked: Asked,
        event: impl FnOnce(Id, Ticket) -> Event,
    ) -> Result<Option<InitReply>, CallError> {
        only_managers(peer)?;
        let service = self.find(name)?;
        self.note_request(name, what, peer);
        let ticket = self.ticket();
        self.tickets.insert(ticket, asked);
        self.happened(event(service, ticket));
        Ok(None)
    }

    fn note_request(&mut self, name: &str, what: &str, peer: Peer) {
        let text = format!("{name} is to be {what}, asked for by process {}", peer.pid);
        self.logs.push(crate::logs::INIT, 5, &text);
    }

    fn go_down_for(
        &mut self,
        peer: Peer,
        connection: u32,
        id: u64,
        power: Power,
    ) -> Result<Option<InitReply>, CallError> {
        only_managers(peer)?;
        // The answer first: when everything has stopped nobody is left to read it.
        self.control.reply(connection, id, Ok(InitReply::Accepted), &self.poller);
        self.begin_shutdown(power, &format!("asked for by process {}", peer.pid));
        Ok(None)
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// The supervisor has an answer for somebody who waits.
    pub(super) fn answer(&mut self, ticket: Ticket, id: Id, result: Result<(), String>) {
        let Some(asked) = self.tickets.remove(&ticket) else { return };
        let name = self.services.get(id.0).map_or("", |held| held.unit.name.as_str());
        let reply = match result {
            Ok(()) => self
                .status(id)
                .map(InitReply::Status)
                .ok_or_else(|| CallError::failed("the service is not known any more")),
            Err(why) => Err(CallError::failed(format!("{name}: {why}"))),
        };
        self.control.reply(asked.connection, asked.request, reply, &self.poller);
    }

    pub(super) fn expire_tickets(&mut self) {
        let now = clock::now();
        // Nobody waits any more at a connection that was closed.
        self.tickets.retain(|_, asked| self.control.knows(asked.connection));
        let late: Vec<Ticket> = self
            .tickets
            .iter()
            .filter(|(_, asked)| asked.deadline.is_some_and(|at| at <= now))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in late {
            let Some(asked) = self.tickets.remove(&ticket) else { continue };
            let text = match asked.follow {
                true => "the time for which it was to be followed is over",
                false => "not done within the time that was allowed; it goes on, ask for the status",
            };
            let error = CallError::new(ErrorCode::Timeout, text);
            self.control.reply(asked.connection, asked.request, Err(error), &self.poller);
        }
    }

    pub(super) fn find(&self, name: &str) -> Result<Id, CallError> {
        self.services.iter().position(|held| !held.gone && held.unit.name == name).map(Id).ok_or_else(|| {
            let known: Vec<&str> =
                self.services.iter().filter(|held| !held.gone).map(|held| held.unit.name.as_str()).collect();
            CallError::not_found(format!("there is no service \"{name}\"; known are: {}", known.join(", ")))
        })
    }

    fn status(&self, id: Id) -> Option<ServiceStatus> {
        let held = self.services.get(id.0)?;
        let view = self.supervisor.view(id, clock::now())?;
        let usage = held.cgroup.as_ref().map(|c| c.usage()).unwrap_or_default();
        Some(ServiceStatus {
            name: held.unit.name.clone(),
            description: held.unit.description.clone(),
            state: view.state,
            pid: view.pid,
            since_ms: milliseconds(view.since),
            restarts: view.restarts,
            degraded: view.degraded,
            last_exit: view.last_exit,
            status: held.status.clone().filter(|_| view.pid.is_some()),
            memory_bytes: usage.memory_bytes,
            cpu_usec: usage.cpu_usec,
            processes: usage.processes,
            next_run_ms: view.next_run.map(milliseconds),
        })
    }

    pub(super) fn change(&self, id: Id) -> Option<ServiceChange> {
        let view = self.supervisor.view(id, clock::now())?;
        Some(ServiceChange {
            time_ms: milliseconds(clock::both().wall),
            name: self.services.get(id.0)?.unit.name.clone(),
            state: view.state,
            pid: view.pid,
            restarts: view.restarts,
            degraded: view.degraded,
            last_exit: view.last_exit,
        })
    }

    fn machine_status(&self) -> MachineStatus {
        MachineStatus {
            hostname: line(Path::new("/proc/sys/kernel/hostname")).unwrap_or_else(|| self.hostname.clone()),
            version: version(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            boot_id: line(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default(),
            uptime_ms: milliseconds(clock::now()),
            init_started_ms: self.started_ms,
            console_ready_ms: self.console_ready.map(milliseconds),
            data: self.data.to_owned(),
            init_resumed: self.resumed,
        }
    }
}

/// Everybody may look; only those may change something.
fn only_managers(peer: Peer) -> Result<(), CallError> {
    if MANAGERS.contains(&peer.uid) {
        return Ok(());
    }
    Err(CallError::denied(format!(
        "user {} may look but not change services or power; ask toold for it",
        peer.uid
    )))
}
