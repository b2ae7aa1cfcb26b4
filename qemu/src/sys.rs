//! Children that die with their parent. The only module of the crate with `unsafe`.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Let the kernel kill the child when the thread that starts it ends (PR_SET_PDEATHSIG, prctl(2)), so
/// that no emulator and no engine worker is left behind. `nice` is added to the child's nice value.
pub(crate) fn die_with_parent(command: &mut Command, nice: i32) -> &mut Command {
    // SAFETY: between fork and exec the closure makes two system calls, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            if nice != 0 {
                rustix::process::nice(nice)?;
            }
            Ok(())
        })
    }
}
