//! A process that makes processes. PID 1 has much memory and many descriptors open, and a fork copies the tables of
//! both for a child that throws them away at once. So PID 1 forks once, early, when it holds next to nothing: the
//! *spawner*, which is sent what is to be made. What the spawner makes is a child of PID 1 (`CLONE_PARENT` of
//! clone(2)), as if PID 1 had made it.
//!
//! Nothing depends on it: when there is no answer, for whatever reason, PID 1 ends the spawner, makes the process
//! itself, and tries another spawner next time.

use crate::sys::{self, Change, Given, Parent, Program};
use aios_sandbox::Cloning;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Bytes of a description; one that is longer is PID 1's own work.
const MOST: usize = 64 * 1024;
/// The whole of a message that is no request. A description is longer.
const REST: u8 = 0;
/// Descriptors that one message carries (`SCM_MAX_FD` of unix(7)).
const MOST_DESCRIPTORS: usize = 253;
/// Nothing that the spawner does waits for anything.
const PATIENCE: Duration = Duration::from_secs(2);

/// What PID 1 holds of it.
#[derive(Debug, Default)]
pub(crate) struct Spawner {
    running: Option<Running>,
    /// What went wrong since somebody asked.
    fault: Option<String>,
}

#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    pid: Pid,
}

impl Spawner {
    /// One that will be there by the time that it is needed.
    pub(crate) fn new() -> Self {
        let mut this = Self::default();
        this.start();
        this
    }

    fn start(&mut self) {
        if self.running.is_none() {
            match Running::start() {
                Ok(running) => self.running = Some(running),
                Err(e) => self.fault = Some(format!("no spawner: {e}")),
            }
        }
    }

    /// Make a process: by the spawner, else here.
    pub(crate) fn spawn(&mut self, program: &Program, given: &Given<'_>) -> io::Result<Pid> {
        match self.ask(program, given) {
            Some(made) => made,
            None => sys::spawn(program, given, Parent::Maker),
        }
    }

    /// Nothing is to be made for some time: it gives back the memory that it can do without.
    pub(crate) fn rest(&self) {
        if let Some(running) = &self.running {
            // A spawner that does not hear it is found out with the next request.
            let _ = rustix::net::send(&running.socket, &[REST], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    /// What went wrong with the spawner since this was last asked.
    pub(crate) fn fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    /// News of a process that is none of a service's: it may be the spawner. The next process gets another one.
    pub(crate) fn changed(&mut self, pid: Pid, change: Change) -> bool {
        let is = self.running.as_ref().is_some_and(|running| running.pid == pid);
        match change {
            _ if !is => {}
            // It is collected: its number is not its own any more.
            Change::Exited(_) | Change::Killed(_) => {
                self.running = None;
                self.fault = Some("the spawner is replaced: it has ended".to_owned());
            }
            Change::Stopped => self.give_up("somebody stopped it"),
            Change::Continued | Change::Trapped(_) => {}
        }
        is
    }

    /// `None` when the spawner cannot do it.
    fn ask(&mut self, program: &Program, given: &Given<'_>) -> Option<io::Result<Pid>> {
        let message = postcard::to_stdvec(program).ok().filter(|message| message.len() <= MOST)?;
        if given.descriptors.len() + 2 > MOST_DESCRIPTORS {
            return None;
        }
        self.start();
        match self.running.as_ref()?.ask(&message, given) {
            Ok(made) => Some(made),
            Err(e) => {
                self.give_up(&e.to_string());
                // It may have made the process and not said so. Where a service starts nothing else is in its cgroup.
                if !program.waits {
                    kill_all(given.cgroup);
                }
                None
            }
        }
    }

    fn give_up(&mut self, why: &str) {
        self.fault = Some(format!("the spawner is replaced: {why}"));
        if let Some(running) = self.running.take() {
            // It is ours until it is collected, which happens with all others: a disk that hangs may hold it up.
            let _ = kill_process(running.pid, Signal::KILL);
        }
    }
}

/// Kill what is in this cgroup.
fn kill_all(cgroup: BorrowedFd<'_>) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let _ =
        openat(cgroup, c"cgroup.kill", flags, Mode::empty()).and_then(|kill| rustix::io::write(&kill, b"1"));
}

impl Running {
    fn start() -> io::Result<Self> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
        let pid = aios_sandbox::fork(Cloning::default(), theirs.as_fd(), serve)?;
        Ok(Self { socket, pid })
    }

    /// The error is one of the spawner; that of the process that could not be made is in the value.
    fn ask(&self, message: &[u8], given: &Given<'_>) -> io::Result<io::Result<Pid>> {
        let descriptors: Vec<BorrowedFd<'_>> =
            [given.report, given.cgroup].into_iter().chain(given.descriptors.iter().copied()).collect();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many descriptors"));
        }
        sendmsg(&self.socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
        let mut answer = [0; 4];
        match rustix::net::recv(&self.socket, &mut answer[..], RecvFlags::empty()) {
            Ok((_, 4)) => {}
            Ok(_) => return Err(io::Error::other("it has ended")),
            Err(Errno::AGAIN) => return Err(io::Error::other("it does not answer")),
            Err(e) => return Err(e.into()),
        }
        let answer = i32::from_ne_bytes(answer);
        Ok(Pid::from_raw(answer.max(0)).ok_or_else(|| io::Error::from_raw_os_error(answer.wrapping_neg())))
    }
}

/// The spawner itself. It ends with PID 1's interest in it.
fn serve(socket: OwnedFd) {
    let _ = rustix::thread::set_name(c"spawner");
    let mut message = vec![0; MOST];
    while let Ok(true) = turn(socket.as_fd(), &mut message) {}
}

/// One request. `false` when there will be no more.
fn turn(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    match buffer.get(..received.bytes) {
        Some([]) => return Ok(false),
        Some([REST]) => {
            sys::give_back();
            return Ok(true);
        }
        _ => {}
    }
    let descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let whole = !received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let program = buffer.get(..received.bytes).filter(|_| whole);
    let program = program.and_then(|bytes| postcard::from_bytes::<Program>(bytes).ok());
    let made = match (program, descriptors.as_slice()) {
        (Some(program), [report, cgroup, descriptors @ ..]) => {
            let descriptors = descriptors.iter().map(AsFd::as_fd).collect();
            let given = Given { report: report.as_fd(), cgroup: cgroup.as_fd(), descriptors };
            sys::spawn(&program, &given, Parent::ParentOfMaker)
        }
        _ => Err(Errno::INVAL.into()),
    };
    let answer = match made {
        Ok(pid) => pid.as_raw_nonzero().get(),
        Err(e) => -e.raw_os_error().unwrap_or(libc::EIO),
    };
    rustix::net::send(socket, &answer.to_ne_bytes(), SendFlags::NOSIGNAL)?;
    Ok(true)
}
