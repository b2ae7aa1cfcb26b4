//! The one request to a file system that rustix has no function for.

use rustix::ioctl::{Setter, ioctl, opcode};
use std::os::fd::BorrowedFd;

/// Let the mounted ext4 file system that this directory belongs to grow to so many blocks
/// (linux/ext4.h, `EXT4_IOC_RESIZE_FS`).
pub(super) fn grow_ext4(directory: BorrowedFd<'_>, blocks: u64) -> rustix::io::Result<()> {
    const RESIZE_FS: rustix::ioctl::Opcode = opcode::write::<u64>(b'f', 16);
    // SAFETY: this request reads one u64 through its pointer and keeps none of it.
    unsafe { ioctl(directory, Setter::<RESIZE_FS, u64>::new(blocks)) }
}
