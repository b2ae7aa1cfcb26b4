//! All children are started by one thread that never ends.
//!
//! The signal that a child gets when its parent dies is bound to the *thread* that started it
//! (prctl(2), `PR_SET_PDEATHSIG`): a machine that a test shares must outlive the test that started it.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

struct Order {
    command: Command,
    answer: SyncSender<Result<Child>>,
}

static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();

/// Start a child that ends at the latest when this process does. It is in a process group of its own, so
/// that a Ctrl-C on the terminal reaches only us.
pub(crate) fn start(mut command: Command, niceness: i32) -> Result<Child> {
    crate::sys::die_with_parent(&mut command, niceness);
    command.process_group(0);
    let starter = STARTER.get_or_init(|| {
        let (orders, incoming) = channel::<Order>();
        std::thread::spawn(move || {
            for Order { mut command, answer } in incoming {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, result) = sync_channel(1);
    starter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(Order { command, answer })
        .map_err(Error::other)?;
    result.recv().map_err(Error::other)?
}

/// A descriptor that stands for this very process, whatever becomes of its number.
pub(crate) fn handle(child: &Child) -> Result<OwnedFd> {
    let pid =
        Pid::from_raw(child.id().cast_signed()).ok_or_else(|| Error::other("a child without a number"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Kill it. That it is gone already is success.
pub(crate) fn kill(handle: &OwnedFd) {
    let _ = pidfd_send_signal(handle, Signal::KILL);
}

/// Wait until it ends; false when the time is up before.
pub(crate) fn wait(handle: &OwnedFd, limit: Duration) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let until = std::time::Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).map_err(Error::other)?;
        match poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let asking = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("60");
            start(command, 0).expect("starts")
        });
        let mut child = asking.join().expect("no panic");
        let handle = handle(&child).expect("has a handle");
        assert!(!wait(&handle, Duration::from_millis(100)).expect("waits"), "it ended with the thread");
        kill(&handle);
        assert!(wait(&handle, Duration::from_secs(10)).expect("waits"), "it did not end");
        child.wait().expect("reaped");
    }
}
