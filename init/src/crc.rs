//! The one checksum that init computes: that of ext4, and of its own state page.

/// Castagnoli's polynomial, bits in reverse, without a final inversion: as the kernel has it.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    const fn table() -> [u32; 256] {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut value = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[byte] = value;
            byte += 1;
        }
        table
    }
    const TABLE: [u32; 256] = table();
    bytes.iter().fold(seed, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        // The check value of CRC-32C, whose definition inverts at the end (RFC 3720, B.4).
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }
}
