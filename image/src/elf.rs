//! Whether a program is static: without a program interpreter (elf(5), PT_INTERP) it needs no library.

use anyhow::{Context, Result, ensure};
use std::path::Path;

const PT_INTERP: u32 = 3;

/// Refuse a program that the image, which has no libraries, could not start.
pub(crate) fn require_static(path: &Path) -> Result<()> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("{} is missing; `make build` builds it", path.display()))?;
    let dynamic =
        needs_interpreter(&bytes).with_context(|| format!("{} is no 64-bit ELF program", path.display()))?;
    ensure!(
        !dynamic,
        "{} is not static; run cargo inside the checkout, whose .cargo/config.toml asks for it",
        path.display()
    );
    Ok(())
}

fn needs_interpreter(bytes: &[u8]) -> Option<bool> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    // Class 2: 64 bits; data 1: little-endian.
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(u64_at(0x20)?).ok()?;
    let (size, count) = (usize::from(u16_at(0x36)?), usize::from(u16_at(0x38)?));
    for index in 0..count {
        if u32_at(table.checked_add(index * size)?)? == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_test_is_static_and_a_shared_library_user_is_not() {
        let own = std::fs::read("/proc/self/exe").expect("reads itself");
        assert_eq!(needs_interpreter(&own), Some(false));
        let tar = std::fs::read("/bin/tar").expect("the distribution's tar");
        assert_eq!(needs_interpreter(&tar), Some(true));
    }

    #[test]
    fn what_is_no_program_is_refused_and_never_panics() {
        assert_eq!(needs_interpreter(b""), None);
        assert_eq!(needs_interpreter(b"#!/bin/sh\n"), None);
        let mut cut = std::fs::read("/proc/self/exe").expect("reads itself");
        cut.truncate(100);
        assert_eq!(needs_interpreter(&cut), None);
    }
}
