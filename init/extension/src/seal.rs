//! The last bytes of a file: what the signature is over, and the signature.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Bytes of a seal.
pub const SEAL: usize = 200;
/// A manifest in bytes; more is none.
pub const MAX_MANIFEST: u32 = 64 << 10;
/// A file system image in bytes; more is none. Its length is a multiple of [`BLOCK`].
const MAX_IMAGE: u64 = 4 << 30;
/// erofs has blocks of this size.
const BLOCK: u64 = 4096;
/// What it begins with: the format and its version. A signature over anything else in this house begins otherwise.
const MAGIC: [u8; 24] = *b"aiOS extension image 1\0\n";
/// Where the signature begins.
const SIGNED: usize = SEAL - 64;

/// What a file says of itself at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Bytes of the file system, with which the file begins.
    pub image_bytes: u64,
    /// BLAKE3 of these.
    pub image_hash: [u8; 32],
    /// Bytes of the manifest behind it.
    pub manifest_bytes: u32,
    /// BLAKE3 of these.
    pub manifest_hash: [u8; 32],
    /// Who signed.
    pub key: [u8; 32],
    /// Its signature over all that is before.
    pub signature: [u8; 64],
}

impl Seal {
    /// Sign.
    pub fn sign(image_bytes: u64, image_hash: [u8; 32], manifest: &[u8], key: &SigningKey) -> Self {
        let mut seal = Self {
            image_bytes,
            image_hash,
            manifest_bytes: u32::try_from(manifest.len()).unwrap_or(u32::MAX),
            manifest_hash: *blake3::hash(manifest).as_bytes(),
            key: key.verifying_key().to_bytes(),
            signature: [0; 64],
        };
        seal.signature = key.sign(&seal.to_bytes()[..SIGNED]).to_bytes();
        seal
    }

    /// As it stands in the file.
    pub fn to_bytes(&self) -> [u8; SEAL] {
        let mut bytes = [0; SEAL];
        let mut rest = &mut bytes[..];
        let mut put = |part: &[u8]| {
            let (place, behind) = std::mem::take(&mut rest).split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        };
        put(&MAGIC);
        put(&self.image_bytes.to_le_bytes());
        put(&self.manifest_bytes.to_le_bytes());
        // Room for what a later version has to say.
        put(&[0; 4]);
        put(&self.image_hash);
        put(&self.manifest_hash);
        put(&self.key);
        put(&self.signature);
        bytes
    }

    /// Read it. None when these bytes are no seal, or one with lengths that no file has.
    pub fn parse(bytes: &[u8; SEAL]) -> Option<Self> {
        let mut rest = &bytes[..];
        fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
            let (part, behind) = rest.split_first_chunk::<N>()?;
            *rest = behind;
            Some(*part)
        }
        if take(&mut rest)? != MAGIC {
            return None;
        }
        let image_bytes = u64::from_le_bytes(take(&mut rest)?);
        let manifest_bytes = u32::from_le_bytes(take(&mut rest)?);
        if take(&mut rest)? != [0; 4] {
            return None;
        }
        let seal = Self {
            image_bytes,
            manifest_bytes,
            image_hash: take(&mut rest)?,
            manifest_hash: take(&mut rest)?,
            key: take(&mut rest)?,
            signature: take(&mut rest)?,
        };
        let sound = (BLOCK..=MAX_IMAGE).contains(&image_bytes)
            && image_bytes.is_multiple_of(BLOCK)
            && (1..=MAX_MANIFEST).contains(&manifest_bytes);
        sound.then_some(seal)
    }

    /// Whether its own key signed it. Whether that key is trusted is another question.
    pub fn is_signed(&self) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.key) else { return false };
        key.verify_strict(&self.to_bytes()[..SIGNED], &Signature::from_bytes(&self.signature)).is_ok()
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.image_bytes + u64::from(self.manifest_bytes) + SEAL as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed() -> Seal {
        Seal::sign(8192, [7; 32], b"name = \"x\"", &SigningKey::from_bytes(&[3; 32]))
    }

    #[test]
    fn what_is_written_is_read_again_and_is_signed() {
        let seal = sealed();
        assert_eq!(Seal::parse(&seal.to_bytes()), Some(seal.clone()));
        assert!(seal.is_signed());
    }

    proptest! {
        #[test]
        fn no_single_bit_can_be_changed(at in 0..SEAL, bit in 0u8..8) {
            let mut bytes = sealed().to_bytes();
            bytes[at] ^= 1 << bit;
            prop_assert!(Seal::parse(&bytes).is_none_or(|seal| !seal.is_signed()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(tail in any::<[u8; 32]>(), at in 0..SEAL - 32, whole in any::<bool>()) {
            let mut bytes = if whole { sealed().to_bytes() } else { [0; SEAL] };
            bytes[at..at + 32].copy_from_slice(&tail);
            if let Some(seal) = Seal::parse(&bytes) {
                prop_assert_eq!(seal.to_bytes(), bytes);
                prop_assert!(seal.file_bytes() < 5 << 30);
            }
        }
    }
}
