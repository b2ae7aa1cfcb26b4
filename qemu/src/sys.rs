//! What has to happen between fork and exec. The only module of the crate with `unsafe`.

use rustix::process::{Signal, getpid, getppid, nice, set_parent_process_death_signal, setsid};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Let the kernel kill the child when the thread that starts it ends (`PR_SET_PDEATHSIG`, prctl(2)), so
/// that no emulator and no engine worker is left behind. `niceness` is added to the child's nice value.
pub(crate) fn die_with_parent(command: &mut Command, niceness: i32) -> &mut Command {
    let parent = getpid();
    // SAFETY: between fork and exec the closure only makes system calls: it allocates nothing, takes no
    // lock and touches no memory but its own two captured numbers.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the signal was ordered.
            if getppid() != Some(parent) {
                return Err(rustix::io::Errno::SRCH.into());
            }
            if niceness != 0 {
                nice(niceness)?;
            }
            Ok(())
        })
    }
}

/// Let the child lead a session of its own, so that it outlives the terminal (setsid(2)).
pub fn detached(command: &mut Command) -> &mut Command {
    // SAFETY: as above; the closure makes one system call.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            Ok(())
        })
    }
}
