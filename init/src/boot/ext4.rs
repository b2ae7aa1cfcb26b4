//! What the superblock of an ext4 file system says about its health and its size.
//!
//! Source: the kernel's Documentation/filesystems/ext4/super.rst; all numbers are little-endian.

use crate::crc::crc32c;
use std::time::Duration;

/// Where the superblock begins on the disk, in bytes.
pub(crate) const OFFSET: u64 = 1024;
/// How long it is.
pub(crate) const LENGTH: usize = 1024;
/// Where the first copy of it is, as block and length of a block, for the groups that mkfs makes.
pub(crate) const COPIES: [(u64, u64); 3] = [(32768, 4096), (16384, 2048), (8193, 1024)];

/// What concerns the boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Length of the file system in blocks.
    pub(crate) blocks: u64,
    /// Length of a block in bytes.
    pub(crate) block_size: u64,
    /// The name that it was given when it was made.
    pub(crate) label: String,
    /// The block that the first group begins with.
    pub(super) first_block: u64,
    /// Blocks in a group.
    pub(super) group_blocks: u64,
    /// Bytes of a group's descriptor.
    pub(super) descriptor_size: u16,
    /// How many blocks of descriptors follow the superblock, if not all of them do.
    pub(super) table_blocks: Option<u32>,
    /// What the checksums begin with, if there are any.
    pub(super) checksum_seed: Option<u32>,
    state: u16,
    journal_used: bool,
    errors: u32,
    mounts: u16,
    /// 0 or less: never.
    mounts_limit: i16,
    /// Seconds since 1970.
    checked: u64,
    /// Seconds; 0: never.
    check_interval: u32,
}

impl Superblock {
    /// Read it; `None` when these bytes are no superblock, or one with a wrong checksum.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        const MAGIC: u16 = 0xef53;
        const RECOVER: u32 = 0x4;
        const SPREAD_TABLE: u32 = 0x10;
        const WIDE: u32 = 0x80;
        const STORED_SEED: u32 = 0x2000;
        const CHECKSUMS: u32 = 0x400;
        let bytes = bytes.get(..LENGTH)?;
        let byte = |at: usize| bytes.get(at).copied();
        let short = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if short(0x38)? != MAGIC {
            return None;
        }
        let incompatible = word(0x60)?;
        let checksums = word(0x64)? & CHECKSUMS != 0;
        if checksums && crc32c(!0, bytes.get(..0x3fc)?) != word(0x3fc)? {
            return None;
        }
        let seed =
            if incompatible & STORED_SEED == 0 { crc32c(!0, bytes.get(0x68..0x78)?) } else { word(0x270)? };
        let wide = incompatible & WIDE != 0;
        let high = if wide { word(0x150)? } else { 0 };
        let label = bytes.get(0x78..0x88)?.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            blocks: u64::from(high) << 32 | u64::from(word(0x4)?),
            // The kernel takes blocks up to 64 KiB.
            block_size: 1024u64 << word(0x18).filter(|log| *log <= 6)?,
            label: String::from_utf8_lossy(label).into_owned(),
            first_block: word(0x14)?.into(),
            group_blocks: word(0x20)?.into(),
            descriptor_size: if wide { short(0xfe)? } else { 32 },
            table_blocks: if incompatible & SPREAD_TABLE == 0 { None } else { word(0x104) },
            checksum_seed: checksums.then_some(seed),
            state: short(0x3a)?,
            journal_used: incompatible & RECOVER != 0,
            errors: word(0x194)?,
            mounts: short(0x34)?,
            mounts_limit: short(0x36)?.cast_signed(),
            checked: u64::from(byte(0x277)?) << 32 | u64::from(word(0x40)?),
            check_interval: word(0x44)?,
        })
    }

    /// Length of the file system in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size)
    }

    /// Why it has to be checked before it is used, if it has to. `now` is the time since 1970.
    pub(crate) fn needs_check(&self, now: Duration) -> Option<Need> {
        const CLEAN: u16 = 1;
        const ERRORS: u16 = 2;
        const ORPHANS: u16 = 4;
        if self.state & ERRORS != 0 || self.errors > 0 {
            return Some(Need::Errors(self.errors));
        }
        if self.state & CLEAN == 0 || self.state & ORPHANS != 0 {
            return Some(Need::Unclean);
        }
        if self.mounts_limit > 0 && u32::from(self.mounts) >= u32::from(self.mounts_limit.unsigned_abs()) {
            return Some(Need::Due);
        }
        let due = self.checked.saturating_add(u64::from(self.check_interval));
        if self.check_interval > 0 && due <= now.as_secs() {
            return Some(Need::Due);
        }
        self.journal_used.then_some(Need::Journal)
    }
}

/// Why a file system has to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The journal holds what was not yet written to its place: the power went.
    Journal,
    /// It was not left as it should be, and the journal alone does not mend that.
    Unclean,
    /// The kernel found this many errors in it.
    Errors(u32),
    /// It asks to be checked from time to time.
    Due,
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Journal => f.write_str("was in use when the machine went down"),
            Self::Unclean => f.write_str("was not clean"),
            Self::Errors(0) => f.write_str("is marked as damaged"),
            Self::Errors(count) => write!(f, "is marked as damaged ({count} errors were seen)"),
            Self::Due => f.write_str("is due for a check"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A disk of so many MiB as `mkfs.ext4` makes it.
    pub(crate) fn made(mebibytes: u64, options: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path().join("disk");
        std::fs::File::create(&disk).and_then(|file| file.set_len(mebibytes << 20)).expect("a file");
        let made = std::process::Command::new("mkfs.ext4")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .args(["-q", "-F", "-L", "aios-data"])
            .args(options)
            .arg(&disk)
            .status();
        assert!(made.expect("mkfs.ext4 is there (scripts/deps.sh)").success());
        std::fs::read(disk).expect("reads")
    }

    pub(crate) fn superblock(disk: &[u8]) -> Superblock {
        Superblock::parse(&disk[1024..]).expect("a superblock")
    }

    /// As `mkfs.ext4` makes it, in what is read here, without checksums.
    fn fresh() -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        bytes[0x38..0x3a].copy_from_slice(&0xef53u16.to_le_bytes());
        bytes[0x04..0x08].copy_from_slice(&262_144u32.to_le_bytes());
        bytes[0x18] = 2;
        bytes[0x36..0x38].copy_from_slice(&(-1i16).to_le_bytes());
        bytes[0x3a] = 1;
        bytes[0x60] = 0xc2;
        bytes[0x78..0x81].copy_from_slice(b"aios-data");
        bytes
    }

    fn need(change: impl FnOnce(&mut Vec<u8>)) -> Option<Need> {
        let mut bytes = fresh();
        change(&mut bytes);
        Superblock::parse(&bytes).expect("a superblock").needs_check(Duration::from_secs(1_700_000_000))
    }

    #[test]
    fn what_mkfs_really_makes_is_read_as_it_is_and_a_changed_bit_is_noticed() {
        let mut disk = made(64, &["-b", "4096"]);
        let found = superblock(&disk);
        assert_eq!((found.bytes(), found.block_size, found.label.as_str()), (64 << 20, 4096, "aios-data"));
        assert_eq!(found.needs_check(Duration::from_secs(4_000_000_000)), None);
        assert!(found.checksum_seed.is_some(), "mkfs makes checksums");
        disk[1024 + 0x30] ^= 1;
        assert_eq!(Superblock::parse(&disk[1024..]), None);
    }

    #[test]
    fn each_reason_for_a_check_is_seen_and_the_worst_is_named() {
        assert_eq!(need(|_| {}), None);
        assert_eq!(need(|b| b[0x60] |= 4), Some(Need::Journal));
        assert_eq!(need(|b| b[0x3a] = 0), Some(Need::Unclean));
        assert_eq!(need(|b| b[0x3a] = 5), Some(Need::Unclean));
        assert_eq!(need(|b| b[0x3a] = 3), Some(Need::Errors(0)));
        assert_eq!(need(|b| (b[0x3a], b[0x194]) = (0, 7)), Some(Need::Errors(7)));
        assert_eq!(need(|b| (b[0x34], b[0x36], b[0x37]) = (20, 20, 0)), Some(Need::Due));
        assert_eq!(need(|b| (b[0x34], b[0x36], b[0x37]) = (19, 20, 0)), None);
        let interval = |b: &mut Vec<u8>| b[0x44..0x48].copy_from_slice(&86_400u32.to_le_bytes());
        assert_eq!(need(interval), Some(Need::Due));
        let lately = |b: &mut Vec<u8>| {
            interval(b);
            b[0x40..0x44].copy_from_slice(&1_699_990_000u32.to_le_bytes());
        };
        assert_eq!(need(lately), None);
    }

    #[test]
    fn more_than_sixteen_tebibytes_are_counted_when_the_file_system_is_wide() {
        let mut bytes = fresh();
        bytes[0x150] = 1;
        assert_eq!(Superblock::parse(&bytes).map(|s| s.blocks), Some((1 << 32) + 262_144));
        bytes[0x60] = 0x42;
        assert_eq!(Superblock::parse(&bytes).map(|s| s.blocks), Some(262_144));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            places in proptest::collection::vec((0..LENGTH, any::<u8>()), 0..200), length in 0..2 * LENGTH
        ) {
            let mut bytes = fresh();
            bytes.resize(length, 0xff);
            for (at, value) in places {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Some(found) = Superblock::parse(&bytes) {
                let _ = (found.bytes(), found.needs_check(Duration::MAX), found.to_owned());
            }
        }
    }
}
