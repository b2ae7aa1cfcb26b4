//! An initramfs archive in the "newc" format (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{Result, Write};

/// Writes one archive; names are relative, without a leading slash.
pub(crate) struct Archive<W: Write> {
    out: W,
    inode: u32,
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const DEVICE: u32 = 0o020_600;

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    pub(crate) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY, (0, 0), &[])
    }

    pub(crate) fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, FILE, (0, 0), content)
    }

    pub(crate) fn program(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, PROGRAM, (0, 0), content)
    }

    pub(crate) fn character_device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        self.entry(name, DEVICE, (major, minor), &[])
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).map_err(std::io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(std::io::Error::other)?;
        // Owner root, one link, time 0: the same bytes for the same content.
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header += &format!("{field:08X}");
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.pad(header.len() + name.len() + 1, 1)?;
        self.out.write_all(content)?;
        self.pad(content.len(), 0)
    }

    /// Fill up to a multiple of four, after `least` zero bytes in any case.
    fn pad(&mut self, written: usize, least: usize) -> Result<()> {
        self.out.write_all(&[0; 4][..least + (4 - written % 4) % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_starts_and_ends_on_a_multiple_of_four() {
        for length in 0..9 {
            let mut bytes = Vec::new();
            let mut archive = Archive::new(&mut bytes);
            archive.directory(&"d".repeat(length + 1)).expect("writes");
            archive.program("init", &vec![7; length]).expect("writes");
            archive.finish().expect("writes");
            assert_eq!(bytes.len() % 4, 0);
            let magic = bytes.chunks(4).filter(|c| c == b"0707").count();
            assert_eq!(magic, 3, "three headers at multiples of four for length {length}");
        }
    }
}
