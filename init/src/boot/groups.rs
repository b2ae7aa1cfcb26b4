//! Whether the group descriptors of an ext4 file system can be believed.
//!
//! e2fsck believes them too easily: where one is damaged, its automatic repair throws the journal away
//! and gives the damage a correct checksum, and all files can be lost. So init looks first, and hands
//! e2fsck the copy in the second block group when the first ones are wrong.
//!
//! Source: the kernel's Documentation/filesystems/ext4/group_descr.rst and checksums.rst.

use super::ext4::Superblock;
use crate::crc::crc32c;

/// The copy of superblock and descriptors that lies in the second group.
pub(crate) const COPY: u64 = 1;
/// More than what a file system of 64 TiB has; a longer table is not looked at.
const LONGEST: u64 = 32 << 20;

/// Where the descriptors lie that follow the superblock in this group, in bytes, and how long they are.
/// `None` when there are none to look at.
pub(crate) fn place(superblock: &Superblock, group: u64) -> Option<(u64, usize)> {
    let first = superblock.first_block.checked_add(group.checked_mul(superblock.group_blocks)?)?;
    let mut length = count(superblock)?.checked_mul(u64::from(superblock.descriptor_size))?;
    if let Some(blocks) = superblock.table_blocks {
        // The rest of them is spread over the disk.
        length = length.min(u64::from(blocks).checked_mul(superblock.block_size)?);
    }
    let offset = first.checked_add(1)?.checked_mul(superblock.block_size)?;
    let known = (1..=LONGEST).contains(&length) && offset.checked_add(length)? <= superblock.bytes();
    known.then_some((offset, usize::try_from(length).ok()?))
}

/// How many groups there are.
fn count(superblock: &Superblock) -> Option<u64> {
    let blocks = superblock.blocks.checked_sub(superblock.first_block)?;
    (superblock.group_blocks > 0).then(|| blocks.div_ceil(superblock.group_blocks))
}

/// Whether each descriptor in this table points into the file system and has the checksum that it should.
pub(crate) fn sound(superblock: &Superblock, table: &[u8]) -> bool {
    let size = usize::from(superblock.descriptor_size);
    if size < 32 {
        return false;
    }
    (0u32..).zip(table.chunks_exact(size)).all(|(number, descriptor)| {
        let checksum = superblock.checksum_seed.is_none_or(|seed| {
            let stored = descriptor.get(0x1e..0x20).and_then(|bytes| bytes.try_into().ok());
            stored.map(u16::from_le_bytes) == Some(checksum(seed, number, descriptor))
        });
        checksum && [0x0, 0x4, 0x8].into_iter().all(|at| points_inside(superblock, descriptor, at))
    })
}

fn points_inside(superblock: &Superblock, descriptor: &[u8], at: usize) -> bool {
    let word = |at: usize| {
        let bytes = descriptor.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u64::from(bytes.map_or(0, u32::from_le_bytes))
    };
    let high = if descriptor.len() < 64 { 0 } else { word(at + 0x20) };
    let block = high << 32 | word(at);
    superblock.first_block < block && block < superblock.blocks
}

/// Of a descriptor, as if its own checksum were zero.
fn checksum(seed: u32, number: u32, descriptor: &[u8]) -> u16 {
    let (before, after) = descriptor.split_at(descriptor.len().min(0x1e));
    let parts: [&[u8]; 4] = [&number.to_le_bytes(), before, &[0, 0], after.get(2..).unwrap_or_default()];
    let sum = parts.into_iter().fold(seed, crc32c);
    (sum & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::ext4::tests::{made, superblock};
    use proptest::prelude::*;

    #[test]
    fn what_mkfs_makes_is_sound_and_one_changed_bit_is_noticed() {
        for options in [
            &["-b", "4096", "-g", "4096"][..],
            &["-b", "1024"],
            &["-b", "1024", "-O", "^64bit,^metadata_csum"],
        ] {
            let disk = made(40, options);
            let found = superblock(&disk);
            for group in [0, COPY] {
                let (offset, length) = place(&found, group).expect("a table");
                let offset = usize::try_from(offset).expect("small");
                let table = &disk[offset..offset + length];
                assert!(sound(&found, table), "{options:?} {group}");
                assert!(!sound(&found, &vec![0; length]) && !sound(&found, &vec![0xff; length]));
                if found.checksum_seed.is_some() {
                    let mut changed = table.to_vec();
                    changed[8] ^= 2;
                    assert!(!sound(&found, &changed), "{options:?} {group}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_descriptors_and_no_superblock_make_it_panic(
            start in proptest::collection::vec(any::<u8>(), 1024),
            table in proptest::collection::vec(any::<u8>(), 0..400),
            group in any::<u64>(),
        ) {
            let mut bytes = start;
            bytes[0x38..0x3a].copy_from_slice(&0xef53u16.to_le_bytes());
            bytes[0x18..0x1c].copy_from_slice(&2u32.to_le_bytes());
            // Without the feature that would ask for a checksum of the superblock.
            bytes[0x65] &= !4;
            if let Some(found) = Superblock::parse(&bytes) {
                let _ = (place(&found, group), sound(&found, &table));
            }
        }
    }
}
