//! Who may sign: lines of text, one key each.

use ed25519_dalek::SigningKey;
use std::io::Read;
use std::path::Path;

const PUBLIC: &str = "aios-extension-pub";
const PRIVATE: &str = "aios-extension-key";

/// Where the trusted keys are: those of the image, and those that an administrator added.
pub const KEY_FILES: [&str; 2] = ["/etc/aios/extension-keys", "/data/config/extension-keys"];
/// Bytes of a file of keys that are read.
pub const MAX_KEYS_TEXT: usize = 16 << 10;
/// Keys that are remembered.
const MAX_KEYS: usize = 64;

/// The public keys of those whose signature counts. Filling it allocates nothing.
#[derive(Debug, Clone)]
pub struct Keys {
    list: [[u8; 32]; MAX_KEYS],
    count: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self { list: [[0; 32]; MAX_KEYS], count: 0 }
    }
}

impl Keys {
    /// The keys of these files; one that is not there has none.
    pub fn read(files: &[&Path]) -> Self {
        let mut keys = Self::default();
        for file in files {
            let mut text = [0; MAX_KEYS_TEXT];
            let Ok(file) = std::fs::File::open(file) else { continue };
            let mut length = 0;
            let mut limited = file.take(MAX_KEYS_TEXT as u64);
            while let Ok(read @ 1..) = limited.read(text.get_mut(length..).unwrap_or_default()) {
                length += read;
            }
            keys.add(text.get(..length).unwrap_or_default());
        }
        keys
    }

    /// Take in the keys of a text; lines that are none are skipped.
    pub fn add(&mut self, text: &[u8]) {
        for key in text.split(|byte| *byte == b'\n').filter_map(parse_key) {
            if let Some(place) = self.list.get_mut(self.count) {
                *place = key;
                self.count += 1;
            }
        }
    }

    /// Whether this one is among them.
    pub fn hold(&self, key: &[u8; 32]) -> bool {
        self.list.iter().take(self.count).any(|known| known == key)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// The key of a line: `aios-extension-pub`, 64 hexadecimal digits, and what people want to say of it.
pub fn parse_key(line: &[u8]) -> Option<[u8; 32]> {
    key_of(line, PUBLIC)
}

fn key_of(line: &[u8], kind: &str) -> Option<[u8; 32]> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    if words.next()? != kind.as_bytes() {
        return None;
    }
    let digits: &[u8; 64] = words.next()?.try_into().ok()?;
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *pair else { return None };
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(key)
}

fn line(kind: &str, bytes: &[u8; 32]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kind} {digits}\n")
}

/// A public half as it stands in its file.
pub fn public_line(key: &SigningKey) -> String {
    line(PUBLIC, key.verifying_key().as_bytes())
}

/// A private half as it stands in its file.
pub fn private_line(key: &SigningKey) -> String {
    line(PRIVATE, key.as_bytes())
}

/// Read a private half. The error is a sentence with place and cure.
pub fn read_private(path: &Path) -> Result<SigningKey, String> {
    let at = path.display();
    let mut text = Vec::new();
    let file =
        std::fs::File::open(path).map_err(|e| format!("{at}: {e}; `aios-image key FILE` makes a key"))?;
    file.take(1024).read_to_end(&mut text).map_err(|e| format!("{at}: {e}"))?;
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let key = key_of(first, PRIVATE);
    key.map(|bytes| SigningKey::from_bytes(&bytes)).ok_or_else(|| {
        format!("{at}:1: this is not \"{PRIVATE}\" and a key; `aios-image key FILE` makes both halves")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_of_keys_is_read_and_what_is_none_is_skipped() {
        let (one, two) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let mut keys = Keys::default();
        let text = format!(
            "# ours\n{} of the builder\nnonsense\n{}{}",
            public_line(&one).trim(),
            public_line(&two),
            private_line(&two)
        );
        keys.add(text.as_bytes());
        assert_eq!(keys.count(), 2);
        assert!(keys.hold(one.verifying_key().as_bytes()) && keys.hold(two.verifying_key().as_bytes()));
        assert!(!keys.hold(&[0; 32]) && !keys.hold(two.as_bytes()));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys");
        std::fs::write(&file, text).expect("written");
        assert_eq!(Keys::read(&[&file, Path::new("/no/such")]).count(), 2);
        std::fs::write(&file, private_line(&one)).expect("written");
        assert_eq!(read_private(&file).expect("read").as_bytes(), one.as_bytes());
        std::fs::write(&file, public_line(&one)).expect("written");
        assert!(read_private(&file).is_err_and(|why| why.contains("keys:1:")));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut keys = Keys::default();
            keys.add(&text);
            prop_assert!(keys.count() <= MAX_KEYS);
        }
    }
}
