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

/// A descriptor that was given to this process and that nothing else here uses.
pub(crate) fn given(number: i32) -> std::fs::File {
    use std::os::fd::FromRawFd;
    // SAFETY: the caller takes it once; one that is not open is an error at its first use.
    unsafe { std::fs::File::from_raw_fd(number) }
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

fn checked(result: libc::c_long) -> Result<libc::c_long> {
    if result == -1 { Err(Error::last_os_error()) } else { Ok(result) }
}

/// Make a system call whose arguments are all zero: allowed, it would fail otherwise or do nothing.
pub(crate) fn call(number: libc::c_long) -> Result<()> {
    // SAFETY: every pointer is null, so the kernel finds no memory to write to.
    checked(unsafe { libc::syscall(number, 0usize, 0usize, 0usize, 0usize, 0usize, 0usize) }).map(drop)
}

/// Make a socket of a family, and close it.
pub(crate) fn socket(family: i32) -> Result<()> {
    let kind = if family == libc::AF_ALG { libc::SOCK_SEQPACKET } else { libc::SOCK_DGRAM };
    // SAFETY: takes numbers; the descriptor is closed by nobody else.
    unsafe {
        let fd = checked(libc::socket(family, kind, 0).into())?;
        libc::close(i32::try_from(fd).unwrap_or(-1));
    }
    Ok(())
}

/// Memory that is writable and executable from the start.
pub(crate) fn map_writable_executable() -> Result<()> {
    map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).map(drop)
}

/// Memory that was writable and becomes executable.
pub(crate) fn make_executable() -> Result<()> {
    let memory = map(libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: the page is ours and nobody runs or reads it.
    checked(unsafe { libc::mprotect(memory, 4096, libc::PROT_READ | libc::PROT_EXEC) }.into()).map(drop)
}

fn map(protection: i32) -> Result<*mut libc::c_void> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new page at a place that the kernel chooses.
    match unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) } {
        libc::MAP_FAILED => Err(Error::last_os_error()),
        memory => Ok(memory),
    }
}

/// Put a character into the input of a terminal, as if a person had typed it.
pub(crate) fn type_into_terminal() -> Result<()> {
    // SAFETY: the character outlives the call, which only reads it.
    checked(unsafe { libc::ioctl(0, libc::TIOCSTI, b"x".as_ptr()) }.into()).map(drop)
}

/// Make a process in a user namespace of its own, where it would be root.
pub(crate) fn clone_user_namespace() -> Result<()> {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: like fork: no memory is shared, and the child only ends.
    match checked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })? {
        0 => std::process::exit(0),
        _ => Ok(()),
    }
}
