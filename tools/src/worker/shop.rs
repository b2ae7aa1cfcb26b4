//! The workshop: makes a process for each call. It has one thread, because a process of several cannot be copied
//! safely, and holds all the power that tools declare; so it does nothing else, and listens to the broker alone.

use super::{Job, Order, Said, hand, packet};
use aios_abi::who::uid;
use aios_sandbox::Cloning;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Workers at once; the broker has a bound of its own that is lower.
const MOST: usize = 64;

/// A worker that has not been collected yet.
struct Worker {
    job: u64,
    /// The connection that ordered it.
    client: u64,
    pid: Pid,
    process: OwnedFd,
    /// Its end of the conversation: the last word is the workshop's.
    conversation: OwnedFd,
}

struct Client {
    number: u64,
    socket: OwnedFd,
}

/// Take orders from this listening socket, and tell PID 1 this often that all is well. Comes back only with an error.
pub fn serve(listener: &OwnedFd, alive: Option<Duration>) -> std::io::Error {
    let mut shop = Shop { clients: Vec::new(), workers: Vec::new(), accepted: 0 };
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
    accepted: u64,
}

impl Shop {
    fn turn(&mut self, listener: &OwnedFd, pause: Option<&Timespec>) -> std::io::Result<()> {
        if pause.is_some() {
            aios_abi::daemon::alive();
        }
        let everyone = std::iter::once(listener.as_fd())
            .chain(self.workers.iter().map(|worker| worker.process.as_fd()))
            .chain(self.clients.iter().map(|client| client.socket.as_fd()));
        let mut polled: Vec<PollFd<'_>> =
            everyone.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut polled, pause) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        let (workers, clients) = (self.workers.len(), self.clients.len());
        let is_ready = |at: usize| ready.get(at).copied().unwrap_or(false);
        let spoke: Vec<u64> = (0..clients)
            .filter(|n| is_ready(1 + workers + n))
            .filter_map(|n| self.clients.get(n).map(|client| client.number))
            .collect();
        // From the last to the first: who goes moves nobody that is still to be looked at.
        (0..workers).rev().filter(|n| is_ready(1 + n)).for_each(|n| self.collect(n));
        spoke.into_iter().for_each(|number| self.listen(number));
        if is_ready(0) {
            self.accept(listener);
        }
        Ok(())
    }

    fn accept(&mut self, listener: &OwnedFd) {
        let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC) else { return };
        let own = rustix::process::geteuid().as_raw();
        let peer = sockopt::socket_peercred(&socket).map(|peer| peer.uid.as_raw());
        if peer.is_ok_and(|peer| [uid::ROOT, uid::TOOLD, own].contains(&peer)) {
            self.accepted += 1;
            self.clients.push(Client { number: self.accepted, socket });
        } else {
            tracing::warn!("a stranger wanted to give orders");
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
        let made = aios_sandbox::fork(Cloning::default(), conversation.as_fd(), |kept| hand::work(kept, job));
        // Until it is collected its number is its own.
        let made = made.and_then(|pid| Ok((pid, pidfd_open(pid, PidfdFlags::empty())?)));
        match made {
            Ok((pid, process)) => self.workers.push(Worker { job: id, client, pid, process, conversation }),
            Err(e) => {
                ended(&conversation, &format!("no process could be made for it: {}", std::io::Error::from(e)))
            }
        }
    }

    fn collect(&mut self, index: usize) {
        let Some(worker) = self.workers.get(index) else { return };
        match waitid(WaitId::Pid(worker.pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) => return,
            // One that ended well has said so itself.
            Ok(Some(status)) if status.exit_status() == Some(0) => {}
            Ok(Some(status)) => ended(&worker.conversation, &how(&status)),
            Err(e) => ended(&worker.conversation, &format!("it is lost: {}", std::io::Error::from(e))),
        }
        self.workers.swap_remove(index);
    }
}

fn kill(worker: &Worker) {
    // One that has ended already does not mind.
    let _ = rustix::process::pidfd_send_signal(&worker.process, Signal::KILL);
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
