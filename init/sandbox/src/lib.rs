//! What the kernel lets a process take away from itself, before it executes a program or goes on with foreign data:
//! files (landlock(7)), system calls (seccomp(2)), capabilities, namespaces. init does so for each service, toold's
//! workers for each call.
//!
//! Everything that is called between clone and exec allocates nothing.

#![deny(unsafe_code)]

pub mod landlock;
pub mod seccomp;
#[allow(unsafe_code)]
mod sys;
mod syscalls;

pub use rustix::io::Errno;
pub use sys::{Attributes, Cloning, Side, change_mount, clone, end, fork, refuse_write_execute, unshare};

use rustix::thread::CapabilitySet;

/// Cut the capability bounding set (capabilities(7)) down to these: no program that is executed from now on gets
/// another one.
pub fn bound_capabilities(kept: CapabilitySet) -> Result<(), Errno> {
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if !kept.contains(one) {
            match rustix::thread::remove_capability_from_bounding_set(one) {
                // The kernel knows no capability of this number, nor any above it.
                Err(Errno::INVAL) => break,
                other => other?,
            }
        }
    }
    Ok(())
}
