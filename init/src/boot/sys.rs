//! Requests to a file system that rustix has no function for.

use rustix::ioctl::{Setter, Updater, ioctl, opcode};
use std::os::fd::BorrowedFd;

/// Let the mounted ext4 file system that this directory belongs to grow to so many blocks
/// (linux/ext4.h, `EXT4_IOC_RESIZE_FS`).
pub(super) fn grow_ext4(directory: BorrowedFd<'_>, blocks: u64) -> rustix::io::Result<()> {
    const RESIZE_FS: rustix::ioctl::Opcode = opcode::write::<u64>(b'f', 16);
    // SAFETY: this request reads one u64 through its pointer and keeps none of it.
    unsafe { ioctl(directory, Setter::<RESIZE_FS, u64>::new(blocks)) }
}

/// Tell the disk which of its blocks this mounted file system does not use (linux/fs.h, `FITRIM`).
pub(super) fn trim(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    /// `struct fstrim_range`
    #[repr(C)]
    struct Range {
        start: u64,
        length: u64,
        shortest: u64,
    }
    const TRIM: rustix::ioctl::Opcode = opcode::read_write::<Range>(b'X', 121);
    let mut all = Range { start: 0, length: u64::MAX, shortest: 0 };
    // SAFETY: this request reads and writes one fstrim_range through its pointer and keeps none of it.
    unsafe { ioctl(directory, Updater::<TRIM, Range>::new(&mut all)) }
}
