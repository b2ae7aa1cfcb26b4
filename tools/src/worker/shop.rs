//! The workshop: makes a process for each call. It has one thread, because a process of several cannot be copied
//! safely, and holds all the power that tools declare; so it does nothing else, and listens to the broker alone.

use super::slots::{Slot, Slots};
use super::{Job, Order, Said, hand, packet};
use crate::reach::Needs;
use crate::tool;
use aios_abi::who::uid;
use aios_sandbox::Cloning;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, socketpair, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Workers at once; the broker has a bound of its own that is lower.
const MOST: usize = 64;

/// Processes that wait for a job: making one takes as long as doing it.
const SPARE: usize = 2;

/// A process that has not been collected yet.
struct Process {
    pid: Pid,
    handle: OwnedFd,
    slot: Option<Slot>,
}

impl Process {
    /// How it ended, once it did; then its number is no longer its own.
    fn end(&self, wait: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
        waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | wait)
    }
}

/// A process that waits for a job.
struct Spare {
    process: Process,
    /// The job comes over this.
    line: OwnedFd,
}

/// A process that has one.
struct Worker {
    job: u64,
    /// The connection that ordered it.
    client: u64,
    process: Process,
    /// Its end of the conversation: the last word is the workshop's.
    conversation: OwnedFd,
}

struct Client {
    number: u64,
    socket: OwnedFd,
}

/// Take orders from this listening socket, and tell PID 1 this often that all is well. Comes back only with an error.
pub fn serve(listener: &OwnedFd, alive: Option<Duration>) -> std::io::Error {
    let mut shop = Shop {
        clients: Vec::new(),
        workers: Vec::new(),
        spares: Vec::new(),
        slots: Slots::find(),
        accepted: 0,
        refused: false,
        stranger: false,
    };
    hand::prepare();
    let pause = alive.and_then(|pause| Timespec::try_from(pause).ok());
    loop {
        if let Err(e) = shop.turn(listener, pause.as_ref()) {
            return e;
        }
    }
}

struct Shop {
    clients: Vec<Client>,
    workers: Vec<Worker>,
    spares: Vec<Spare>,
    slots: Slots,
    accepted: u64,
    /// The kernel made no process when one was wanted last.
    refused: bool,
    /// It has been said that somebody else tried to give orders.
    stranger: bool,
}

impl Shop {
    fn turn(&mut self, listener: &OwnedFd, pause: Option<&Timespec>) -> std::io::Result<()> {
        if pause.is_some() {
            aios_abi::daemon::alive();
        }
        let everyone = std::iter::once(listener.as_fd())
            .chain(self.workers.iter().map(|worker| worker.process.handle.as_fd()))
            .chain(self.spares.iter().map(|spare| spare.process.handle.as_fd()))
            .chain(self.clients.iter().map(|client| client.socket.as_fd()));
        let mut polled: Vec<PollFd<'_>> =
            everyone.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        // With nothing to do for anybody there is time to make those that wait.
        let short = self.spares.len() < SPARE && self.workers.len() < MOST && !self.refused;
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut polled, if short { Some(&now) } else { pause }) {
            Ok(0) if short => {
                // Not again before something else has happened: a job finds out for itself.
                if let Err(e) = self.make_spare() {
                    tracing::warn!("no process could be made to wait for a job: {e}");
                    self.refused = true;
                }
                return Ok(());
            }
            Ok(_) | Err(Errno::INTR) => self.refused = false,
            Err(e) => return Err(e.into()),
        }
        let mut ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        let mut take = |count: usize| ready.drain(..count.min(ready.len())).collect::<Vec<bool>>();
        let (strangers, workers) = (take(1), take(self.workers.len()));
        let (spares, clients) = (take(self.spares.len()), take(self.clients.len()));
        let spoke: Vec<u64> = self
            .clients
            .iter()
            .zip(clients)
            .filter(|(_, ready)| *ready)
            .map(|(client, _)| client.number)
            .collect();
        // From the last to the first: who goes moves nobody that is still to be looked at.
        for (index, _) in workers.iter().enumerate().rev().filter(|(_, ready)| **ready) {
            self.collect(index);
        }
        for (index, _) in spares.iter().enumerate().rev().filter(|(_, ready)| **ready) {
            let spare = self.spares.swap_remove(index);
            self.lost(spare.process, WaitIdOptions::NOHANG);
        }
        spoke.into_iter().for_each(|number| self.listen(number));
        if strangers.contains(&true) {
            self.accept(listener);
        }
        Ok(())
    }

    /// Make a process that waits for a job.
    fn make_spare(&mut self) -> std::io::Result<()> {
        let (line, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let (slot, directory) = self.slots.take().unzip();
        let how = Cloning { cgroup: directory.as_ref().map(AsFd::as_fd), sibling: false };
        let pid = aios_sandbox::fork(how, theirs.as_fd(), hand::wait)?;
        // Until it is collected its number is its own.
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        self.spares.push(Spare { process: Process { pid, handle, slot }, line });
        Ok(())
    }

    /// Somebody ended a process while it waited.
    fn lost(&mut self, process: Process, wait: WaitIdOptions) {
        let _ = process.end(wait);
        self.slots.give_back(process.slot);
    }

    fn accept(&mut self, listener: &OwnedFd) {
        let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC) else { return };
        let own = rustix::process::geteuid().as_raw();
        let peer = sockopt::socket_peercred(&socket).map(|peer| peer.uid.as_raw());
        if peer.is_ok_and(|peer| [uid::ROOT, uid::TOOLD, own].contains(&peer)) {
            self.accepted += 1;
            self.clients.push(Client { number: self.accepted, socket });
        } else if !std::mem::replace(&mut self.stranger, true) {
            // Said once: who comes again and again must not fill the log.
            tracing::warn!("a stranger wanted to give orders, and was not heard");
        }
    }

    fn listen(&mut self, number: u64) {
        let Some(client) = self.clients.iter().find(|client| client.number == number) else { return };
        match packet::receive(&client.socket) {
            Ok(Some((Order::Job(job), Some(conversation)))) => self.make(number, *job, conversation),
            Ok(Some((Order::Job(job), None))) => {
                tracing::error!("job {} came without a conversation", job.id)
            }
            Ok(Some((Order::Kill(job), _))) => {
                self.workers.iter().filter(|w| w.client == number && w.job == job).for_each(kill);
            }
            Ok(None) | Err(_) => {
                // A broker that ended comes back, and finds nothing half-done under way.
                self.clients.retain(|client| client.number != number);
                self.workers.iter().filter(|worker| worker.client == number).for_each(kill);
            }
        }
    }

    fn make(&mut self, client: u64, job: Job, conversation: OwnedFd) {
        if self.workers.len() >= MOST {
            return ended(&conversation, "there are too many workers");
        }
        let id = job.id;
        let given = loop {
            let Some(Spare { mut process, line }) = self.spares.pop() else {
                match self.make_spare() {
                    Ok(()) => continue,
                    Err(e) => break Err(format!("no process could be made for it: {e}")),
                }
            };
            if let Some(slot) = &mut process.slot {
                slot.limit(tool::by_number(job.tool).map_or(Needs::NOTHING.memory, |tool| tool.needs.memory));
            }
            match packet::send(&line, &job, Some(conversation.as_fd())) {
                Ok(()) => break Ok(process),
                // Another one does the job.
                Err(_) => self.lost(process, WaitIdOptions::empty()),
            }
        };
        match given {
            Ok(process) => self.workers.push(Worker { job: id, client, process, conversation }),
            Err(why) => ended(&conversation, &why),
        }
    }

    fn collect(&mut self, index: usize) {
        let Some(worker) = self.workers.get_mut(index) else { return };
        match worker.process.end(WaitIdOptions::NOHANG) {
            Ok(None) => return,
            // One that ended well has said so itself.
            Ok(Some(status)) if status.exit_status() == Some(0) => {}
            Ok(Some(status)) => match worker.process.slot.as_mut().is_some_and(Slot::starved) {
                true => ended(&worker.conversation, "it was killed: it took more memory than its tool may"),
                false => ended(&worker.conversation, &how(&status)),
            },
            Err(e) => ended(&worker.conversation, &format!("it is lost: {}", std::io::Error::from(e))),
        }
        let worker = self.workers.swap_remove(index);
        self.slots.give_back(worker.process.slot);
    }
}

fn kill(worker: &Worker) {
    // One that has ended already does not mind.
    let _ = rustix::process::pidfd_send_signal(&worker.process.handle, Signal::KILL);
}

/// The last word of a worker that had none.
fn ended(conversation: &OwnedFd, how: &str) {
    let _ = packet::send(conversation, &Said::Ended(how.to_owned()), None);
}

fn how(status: &WaitIdStatus) -> String {
    match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) if signal == Signal::SYS.as_raw() => {
            "it was killed (SIGSYS): it made a system call that its tool did not declare".into()
        }
        (Some(signal), _) if signal == Signal::KILL.as_raw() => "it was killed (SIGKILL)".into(),
        (Some(signal), _) => format!("it was ended by signal {signal}"),
        (None, Some(101)) => "it stopped at a fault of its own; the workshop's log has the place".into(),
        (None, code) => format!("it ended with the code {}", code.unwrap_or(-1)),
    }
}
