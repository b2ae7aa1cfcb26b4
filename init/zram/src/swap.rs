//! Swap areas: what the kernel wants to find in one, and turning one on and off.

use rustix::io::Errno;
use std::ffi::CStr;

/// Bytes of a page; a swap area begins with one that describes it.
pub(crate) const PAGE: u64 = 4096;
/// Before all disks.
const PRIORITY: i32 = 100;
const PREFER: i32 = 0x8000;

/// The first page of an area of so many bytes (`union swap_header` in the kernel's `include/linux/swap.h`).
pub(crate) fn header(bytes: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE as usize];
    let last = u32::try_from(bytes / PAGE).unwrap_or(u32::MAX).saturating_sub(1);
    // Behind 1024 bytes for boot loaders: version, number of the last page, bad pages.
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&last.to_le_bytes());
    page[PAGE as usize - 10..].copy_from_slice(b"SWAPSPACE2");
    page
}

/// Begin to swap to this device (swapon(2)).
pub(crate) fn on(device: &CStr) -> Result<(), Errno> {
    // SAFETY: the path is a C string that outlives the call; the kernel reads it and writes nothing.
    done(unsafe { libc::swapon(device.as_ptr(), PREFER | PRIORITY) })
}

/// Bring back what is swapped to this device, and do it no more (swapoff(2)).
pub(crate) fn off(device: &CStr) -> Result<(), Errno> {
    // SAFETY: as above.
    done(unsafe { libc::swapoff(device.as_ptr()) })
}

fn done(result: i32) -> Result<(), Errno> {
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_header_is_what_the_usual_programs_find() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut area = header(64 * PAGE);
        area.resize(64 * PAGE as usize, 0);
        std::fs::write(file.path(), area).expect("written");
        let found =
            Command::new("blkid").args(["-p", "-o", "export"]).arg(file.path()).output().expect("util-linux");
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(said.contains("TYPE=swap") && said.contains("VERSION=1"), "{said}");
    }
}
