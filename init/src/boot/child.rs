//! A program that the boot needs an answer from, before there are services.

use crate::clock;
use crate::power::{WATCHDOG_PAUSE, Watchdog};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::{Error, PipeReader, Read, Result};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a program may say; the rest is read and forgotten.
const KEPT: usize = 64 * 1024;
/// How long a program that was asked to end may take for it.
const GRACE: Duration = Duration::from_secs(10);

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this code; `None` when a signal killed it.
    Exit(Option<i32>),
    /// It had not ended by then and was stopped.
    Late,
}

/// Run a program until it ends or the time (as [`clock::now`]) has come, and keep the watchdog quiet
/// meanwhile. Returns what it said as well.
pub(crate) fn run(
    mut command: Command,
    until: Duration,
    watchdog: &mut Option<Watchdog>,
) -> Result<(End, String)> {
    let (mut reader, writer) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    command.env_clear().stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command holds our copies of the pipe's other end.
    drop(command);
    let mut said = Vec::new();
    let mut end = wait(&mut child, &mut reader, &mut said, until, watchdog)?;
    if end.is_none() {
        // First the chance to leave the disk as it should be, then the end; what hangs in the kernel
        // is not waited for.
        for signal in [Signal::TERM, Signal::KILL] {
            let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            let _ = pidfd_send_signal(&process, signal);
            if wait(&mut child, &mut reader, &mut said, clock::now() + GRACE, watchdog)?.is_some() {
                break;
            }
        }
        end = Some(End::Late);
    }
    Ok((end.unwrap_or(End::Late), String::from_utf8_lossy(&said).into_owned()))
}

/// `None` when the time has come first.
fn wait(
    child: &mut Child,
    reader: &mut PipeReader,
    said: &mut Vec<u8>,
    until: Duration,
    watchdog: &mut Option<Watchdog>,
) -> Result<Option<End>> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut open = true;
    loop {
        let now = clock::now();
        if let Some(watchdog) = watchdog {
            watchdog.feed(now);
        }
        let left = until.saturating_sub(now);
        if left.is_zero() {
            return Ok(None);
        }
        let pause = Timespec::try_from(left.min(WATCHDOG_PAUSE)).map_err(Error::other)?;
        let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
        if open {
            fds.push(PollFd::new(&*reader, PollFlags::IN));
        }
        match poll(&mut fds, Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ended = fds.first().is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        // Also after its end: its last words wait in the pipe.
        open = open && drain(reader, said);
        if ended {
            return Ok(child.try_wait()?.map(|status| End::Exit(status.code())));
        }
    }
}

/// Read what there is. False when nothing more will come.
fn drain(reader: &mut PipeReader, said: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let room = KEPT.saturating_sub(said.len()).min(length);
                said.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> (End, String) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, clock::now() + limit, &mut None).expect("runs")
    }

    #[test]
    fn its_code_and_all_its_words_come_back() {
        let (end, said) = sh("echo one; echo two >&2; exit 4", Duration::from_secs(30));
        assert_eq!((end, said.as_str()), (End::Exit(Some(4)), "one\ntwo\n"));
        assert_eq!(sh("kill -9 $$", Duration::from_secs(30)).0, End::Exit(None));
    }

    #[test]
    fn one_that_talks_without_end_neither_blocks_nor_fills_the_memory() {
        let (end, said) = sh("head -c 1000000 /dev/zero", Duration::from_secs(30));
        assert_eq!((end, said.len()), (End::Exit(Some(0)), KEPT));
    }

    #[test]
    fn one_that_takes_too_long_is_asked_to_end_and_its_last_words_are_kept() {
        let script = "trap 'echo cancelled; exit 32' TERM; echo begun; while :; do sleep 0.05; done";
        let (end, said) = sh(script, Duration::from_millis(500));
        assert_eq!((end, said.as_str()), (End::Late, "begun\ncancelled\n"));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        assert!(run(Command::new("/nonexistent"), clock::now(), &mut None).is_err());
    }
}
