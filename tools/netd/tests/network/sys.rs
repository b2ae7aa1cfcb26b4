//! A network of one's own, for one thread.
//!
//! This is the only module of the test with `unsafe`.

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Move the calling thread into a new network namespace.
pub(crate) fn leave_network() -> std::io::Result<()> {
    // SAFETY: only with `UnshareFlags::FILES` are there descriptors that other threads do not know.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}
