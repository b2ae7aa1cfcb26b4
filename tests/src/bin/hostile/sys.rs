//! System calls for which there is no safe wrapper. The only module with `unsafe`.

use std::io::{Error, Result};

/// Make a process; `None` in the new one (fork(2)).
pub(crate) fn fork() -> Result<Option<i32>> {
    // SAFETY: this program has one thread, so that the child finds no lock held by a thread that is gone.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Wait for all children.
pub(crate) fn reap() {
    while matches!(rustix::process::wait(rustix::process::WaitOptions::empty()), Ok(Some(_))) {}
}

/// Wait for a signal that ends the process; others change nothing.
pub(crate) fn pause() {
    loop {
        // SAFETY: it takes nothing and only waits.
        unsafe { libc::pause() };
    }
}

/// Make a process stop where it is, as a debugger does (ptrace(2)).
pub(crate) fn seize(pid: i32) -> Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
        // SAFETY: neither request reads or writes memory through its two last arguments.
        if unsafe { libc::ptrace(request, pid, nothing, nothing) } == -1 {
            return Err(Error::last_os_error());
        }
    }
    Ok(())
}
