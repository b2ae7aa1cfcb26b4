//! What a process that has failed can still do: note why, and execute itself anew. Everything here runs in
//! a signal handler and is made of calls that may be made there (signal-safety(7)).

use crate::crc::crc32c;
use std::ffi::c_int;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Where the crash record begins in the state page.
pub(super) const CRASH_AT: u64 = 0;
/// `signal`, `count` (4 bytes each), `time` in ms since the kernel's start (8), checksum (4).
pub(super) const CRASH_BYTES: usize = 20;
/// Crashes that are further apart than this have nothing to do with each other.
const WINDOW_MS: u64 = 600_000;
/// Descriptors beyond this number init never has.
const MAX_DESCRIPTOR: RawFd = 65_536;

/// Signals by which an error of our own shows itself; SIGALRM says that one turn of the loop took too long.
const FATAL: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGALRM];

static PAGE: AtomicI32 = AtomicI32::new(-1);
static FALLING: AtomicBool = AtomicBool::new(false);

/// Stack of the handler: the ordinary one may be what has run out.
const STACK: usize = 64 * 1024;
static mut HANDLER_STACK: [u8; STACK] = [0; STACK];

/// From now on an error executes init anew with this state page. The page's descriptor has to stay open.
pub(super) fn arm(page: RawFd) -> io::Result<()> {
    PAGE.store(page, Ordering::SeqCst);
    // SAFETY: the stack is used by the kernel alone and lives for ever; sigaction gets a zeroed structure
    // whose fields are then set, and a handler that calls async-signal-safe functions only.
    unsafe {
        let stack = libc::stack_t { ss_sp: (&raw mut HANDLER_STACK).cast(), ss_flags: 0, ss_size: STACK };
        if libc::sigaltstack(&raw const stack, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK;
        for signal in FATAL {
            if libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // Whoever executed us may have been in the handler, where its signal is blocked. The others stay
        // as they are: those that a descriptor brings have to be blocked.
        let mut fatal: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut fatal);
        for signal in FATAL {
            libc::sigaddset(&raw mut fatal, signal);
        }
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const fatal, std::ptr::null_mut());
    }
    Ok(())
}

/// The alarm clock of one turn of the loop; 0 seconds switch it off.
pub(super) fn alarm(seconds: u32) {
    // SAFETY: alarm(2) takes a number and cannot fail.
    unsafe { libc::alarm(seconds) };
}

extern "C" fn handler(signal: c_int) {
    execute_anew(signal);
}

/// Note the crash and execute this program anew. Comes back only if there is no state page or no way to
/// execute anything.
pub(super) fn execute_anew(signal: c_int) {
    let page = PAGE.load(Ordering::SeqCst);
    if page < 0 || FALLING.swap(true, Ordering::SeqCst) {
        return;
    }
    note(page, signal);
    let mut digits = [0u8; 12];
    decimal(page, &mut digits);
    let argv = [c"/sbin/init".as_ptr(), c"--resume".as_ptr(), digits.as_ptr().cast(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // SAFETY: plain calls with numbers, and execve with arrays that end with a null pointer and point to
    // NUL-terminated strings that live. If it does not succeed the kernel is asked to restart the machine.
    unsafe {
        libc::alarm(0);
        for fd in 0..MAX_DESCRIPTOR {
            libc::fcntl(fd, libc::F_SETFD, 0);
        }
        libc::execve(c"/proc/self/exe".as_ptr(), argv.as_ptr(), environment.as_ptr());
        libc::execve(c"/sbin/init".as_ptr(), argv.as_ptr(), environment.as_ptr());
        libc::reboot(libc::RB_AUTOBOOT);
    }
}

fn note(page: RawFd, signal: c_int) {
    let mut record = [0u8; CRASH_BYTES];
    // SAFETY: the buffer has the length that is given, and `time` is written by the call.
    let now = unsafe {
        libc::pread(page, record.as_mut_ptr().cast(), CRASH_BYTES, CRASH_AT as libc::off_t);
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time);
        (time.tv_sec as u64).wrapping_mul(1000).wrapping_add(time.tv_nsec as u64 / 1_000_000)
    };
    let earlier = Crash::read(&record);
    let recent = earlier.filter(|crash| now.wrapping_sub(crash.at_ms) < WINDOW_MS);
    let count = recent.map_or(0, |crash| crash.count).wrapping_add(1);
    let record = Crash { signal, count, at_ms: now }.write();
    // SAFETY: the buffer has the length that is given.
    unsafe { libc::pwrite(page, record.as_ptr().cast(), CRASH_BYTES, CRASH_AT as libc::off_t) };
}

/// The flags of a descriptor, if it is open.
pub(super) fn flags(fd: RawFd) -> io::Result<rustix::io::FdFlags> {
    // SAFETY: the borrow ends with the call, which fails when the number is not open.
    Ok(rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) })?)
}

/// Own an open descriptor that nobody owns, and close it at the next exec again.
pub(super) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    let flags = flags(fd)?;
    // SAFETY: it is open, and the state page names each descriptor once, so nobody else owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, flags | rustix::io::FdFlags::CLOEXEC)?;
    Ok(owned)
}

fn decimal(number: RawFd, digits: &mut [u8; 12]) {
    let mut rest = number.unsigned_abs();
    let length = rest.checked_ilog10().unwrap_or(0) as usize + 1;
    for place in digits[..length].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// The last crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crash {
    /// The signal; SIGABRT for a panic, SIGALRM for a turn that took too long.
    pub(crate) signal: i32,
    /// Crashes in a row, each less than ten minutes after the one before.
    pub(crate) count: u32,
    /// Milliseconds since the kernel's start.
    pub(crate) at_ms: u64,
}

impl Crash {
    fn write(self) -> [u8; CRASH_BYTES] {
        let mut record = [0; CRASH_BYTES];
        record[..4].copy_from_slice(&self.signal.to_le_bytes());
        record[4..8].copy_from_slice(&self.count.to_le_bytes());
        record[8..16].copy_from_slice(&self.at_ms.to_le_bytes());
        let sum = crc32c(!0, &record[..16]);
        record[16..].copy_from_slice(&sum.to_le_bytes());
        record
    }

    /// The record, if it is whole.
    pub(super) fn read(record: &[u8; CRASH_BYTES]) -> Option<Self> {
        let [s0, s1, s2, s3, c0, c1, c2, c3, t @ .., x0, x1, x2, x3] = *record;
        let whole = crc32c(!0, &record[..16]) == u32::from_le_bytes([x0, x1, x2, x3]);
        let crash = Self {
            signal: i32::from_le_bytes([s0, s1, s2, s3]),
            count: u32::from_le_bytes([c0, c1, c2, c3]),
            at_ms: u64::from_le_bytes(t),
        };
        (whole && crash.count > 0).then_some(crash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_record_is_read_as_it_was_written_and_nothing_else_is() {
        let crash = Crash { signal: 11, count: 2, at_ms: 1234 };
        let mut record = crash.write();
        assert_eq!(Crash::read(&record), Some(crash));
        record[5] ^= 1;
        assert_eq!(Crash::read(&record), None);
        assert_eq!(Crash::read(&[0; CRASH_BYTES]), None);
    }

    #[test]
    fn descriptors_are_written_in_decimal() {
        for number in [0, 7, 10, 512, 65_535] {
            let mut digits = [0; 12];
            decimal(number, &mut digits);
            let text = std::ffi::CStr::from_bytes_until_nul(&digits).expect("ends");
            assert_eq!(text.to_str(), Ok(number.to_string().as_str()));
        }
    }
}
