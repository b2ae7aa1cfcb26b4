//! What rustix does not offer: making a process in its cgroup, executing a program, signals as a descriptor. With its submodules the only place with `unsafe`.

mod process;
mod text;

pub(crate) use process::{
    Change, Directory, Given, Parent, Program, REPORT_BYTES, begin, changed_child, read_report, spawn,
};
pub(crate) use rustix::io::Errno;
pub(crate) use text::give_back;

use libc::c_long;
use std::ffi::{CStr, CString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

fn checked(result: c_long) -> Result<c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// kexec_file_load(2): what reboot(2) with `LINUX_REBOOT_CMD_KEXEC` starts.
pub(crate) fn load_kernel(kernel: &File, initramfs: Option<&File>, cmdline: &CStr) -> io::Result<()> {
    // KEXEC_FILE_NO_INITRAMFS
    let flags: libc::c_ulong = if initramfs.is_some() { 0 } else { 4 };
    let line = cmdline.to_bytes_with_nul();
    let initramfs = initramfs.map_or(-1, AsRawFd::as_raw_fd);
    // SAFETY: two descriptors that are open, and a string of this length, its NUL included, that lives.
    let done = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initramfs,
            line.len(),
            line.as_ptr(),
            flags,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Execute a program in place of this one, with our environment and one more variable. Comes back
/// only with an error.
pub(crate) fn execute(path: &CStr, variable: &str) -> io::Error {
    let mut strings: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec()).ok()
        })
        .collect();
    strings.extend(CString::new(variable).ok());
    let environment = pointers(&strings);
    let argv = [path.as_ptr(), std::ptr::null()];
    // SAFETY: both arrays end with a null pointer and point to NUL-terminated strings that live.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Signals that reach PID 1 through a descriptor instead of a handler.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Block these signals and receive them here.
    pub(crate) fn open(numbers: &[i32]) -> io::Result<Self> {
        // SAFETY: `set` is initialised by sigemptyset before it is used; the results are checked; the
        // descriptor is new and owned by nobody else.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for number in numbers {
                libc::sigaddset(&raw mut set, *number);
            }
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// For the event loop.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The next signal that waits.
    pub(crate) fn next(&self) -> Option<i32> {
        // struct signalfd_siginfo is 128 bytes and begins with the signal's number.
        let mut info = [0; 128];
        match rustix::io::read(&self.fd, &mut info[..]) {
            Ok(128) => {
                let [a, b, c, d, ..] = info;
                i32::try_from(u32::from_ne_bytes([a, b, c, d])).ok()
            }
            _ => None,
        }
    }
}
