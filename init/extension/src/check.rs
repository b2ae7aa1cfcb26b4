//! Whether a file is what its signer made.

use crate::{Keys, MAX_MANIFEST, Manifest, SEAL, Seal};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Why a file is not used.
#[derive(Debug)]
pub enum Flaw {
    /// It cannot be read.
    Unreadable(io::Error),
    /// Its end is no seal, or its length is another one: it was cut, or is something else.
    NoSeal,
    /// Nobody who is trusted signed it.
    Untrusted,
    /// It was signed, and is not what was signed.
    Altered,
    /// What it says of itself cannot be followed.
    Manifest(String),
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(e) => write!(f, "cannot be read: {e}"),
            Self::NoSeal => write!(f, "is no extension image, or only a part of one; fetch it again"),
            Self::Untrusted => write!(
                f,
                "is not signed by anyone whom this machine trusts; if you trust its maker, add the key to {}",
                crate::KEY_FILES[1]
            ),
            Self::Altered => {
                write!(f, "is not what its maker signed: it was altered or damaged; fetch it again")
            }
            Self::Manifest(why) => write!(f, "has a manifest that cannot be followed: {why}"),
        }
    }
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// The seal of a file that somebody trusted signed. The rest of the file is not looked at. Allocates nothing.
pub fn read_seal(file: &File, keys: &Keys) -> Result<Seal, Flaw> {
    let length = file.metadata()?.len();
    let mut bytes = [0; SEAL];
    let at = length.checked_sub(SEAL as u64).ok_or(Flaw::NoSeal)?;
    file.read_exact_at(&mut bytes, at)?;
    let seal = Seal::parse(&bytes).filter(|seal| seal.file_bytes() == length).ok_or(Flaw::NoSeal)?;
    // Who is not trusted need not be computed with.
    match keys.hold(&seal.key) {
        false => Err(Flaw::Untrusted),
        true if !seal.is_signed() => Err(Flaw::Altered),
        true => Ok(seal),
    }
}

/// The manifest that this seal is over.
pub fn read_manifest(file: &File, seal: &Seal) -> Result<Manifest, Flaw> {
    let mut text = vec![0; seal.manifest_bytes.min(MAX_MANIFEST) as usize];
    file.read_exact_at(&mut text, seal.image_bytes)?;
    if *blake3::hash(&text).as_bytes() != seal.manifest_hash {
        return Err(Flaw::Altered);
    }
    let text = std::str::from_utf8(&text).map_err(|_| Flaw::Manifest("it is not UTF-8".into()))?;
    Manifest::parse(text).map_err(Flaw::Manifest)
}

/// Read the whole file system image, and see that it is what was signed. `each` is given what was read and may stop it.
/// Allocates nothing.
pub fn check(file: &File, seal: &Seal, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), Flaw> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = [0; 64 << 10];
    let mut at = 0;
    while at < seal.image_bytes {
        let wanted = usize::try_from(seal.image_bytes - at).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(part, at).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Flaw::NoSeal,
            _ => Flaw::Unreadable(e),
        })?;
        hasher.update(part);
        each(part)?;
        at += wanted as u64;
    }
    match *hasher.finalize().as_bytes() == seal.image_hash {
        true => Ok(()),
        false => Err(Flaw::Altered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public_line;
    use ed25519_dalek::SigningKey;

    const MANIFEST: &str =
        "name = \"hello\"\nversion = \"1\"\ndescription = \"d\"\narchitecture = \"x86_64\"\n";

    fn file(bytes: &[u8]) -> File {
        use std::io::Write;
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    fn whole(key: &SigningKey) -> Vec<u8> {
        let image = vec![5; 12_288];
        let seal = Seal::sign(image.len() as u64, *blake3::hash(&image).as_bytes(), MANIFEST.as_bytes(), key);
        [image.as_slice(), MANIFEST.as_bytes(), &seal.to_bytes()].concat()
    }

    fn judge(bytes: &[u8], keys: &Keys) -> Result<String, Flaw> {
        let file = file(bytes);
        let seal = read_seal(&file, keys)?;
        let manifest = read_manifest(&file, &seal)?;
        check(&file, &seal, |_| Ok(())).map(|()| manifest.name)
    }

    #[test]
    fn a_whole_file_is_taken_and_every_other_one_is_refused_for_its_own_reason() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let mut keys = Keys::default();
        keys.add(public_line(&key).as_bytes());
        let good = whole(&key);
        assert_eq!(judge(&good, &keys).expect("is good"), "hello");
        assert!(matches!(judge(&good, &Keys::default()), Err(Flaw::Untrusted)));
        assert!(matches!(judge(&whole(&SigningKey::from_bytes(&[2; 32])), &keys), Err(Flaw::Untrusted)));
        for length in [0, 1, SEAL, good.len() - 1, 12_288, good.len() / 2] {
            assert!(matches!(judge(&good[..length], &keys), Err(Flaw::NoSeal)), "{length}");
        }
        let longer = [good.as_slice(), &[0]].concat();
        assert!(matches!(judge(&longer, &keys), Err(Flaw::NoSeal)));
        // Cut in the middle, with the seal of the whole.
        let inner = [&good[4096..]].concat();
        assert!(matches!(judge(&inner, &keys), Err(Flaw::NoSeal)));
        for at in (0..good.len() - SEAL).step_by(97).chain([good.len() - 1, good.len() - SEAL + 60]) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(matches!(judge(&bad, &keys), Err(Flaw::Altered)), "{at}");
        }
    }
}
