//! A signature in a file of its own, beside a file of any kind and size: of its SHA-256, so that it is read once and never
//! held in memory.
//!
//! One line of text: `aios-extension-sig`, the signer's public key and the signature, in hexadecimal digits.

use crate::Keys;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

const WORD: &str = "aios-extension-sig";
/// So that a signature of something else is none of this.
const DOMAIN: &[u8] = b"aiOS detached signature of SHA-256\n";

fn message(sha256: &[u8; 32]) -> Vec<u8> {
    [DOMAIN, sha256].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let value = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let all: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(value).collect();
    all.filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))?.try_into().ok()
}

/// The line that signs a file with this SHA-256.
pub fn detached_line(key: &SigningKey, sha256: &[u8; 32]) -> String {
    let signature = key.sign(&message(sha256));
    format!("{WORD} {} {}\n", hex(key.verifying_key().as_bytes()), hex(&signature.to_bytes()))
}

/// Whether the text signs a file with this SHA-256, and who is trusted did: the signer's public key.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the signature's file.
pub fn detached(text: &str, sha256: &[u8; 32], keys: &Keys) -> Result<[u8; 32], String> {
    let mut words = text.split_ascii_whitespace();
    let (word, key, signature) = (words.next(), words.next(), words.next());
    let found = key.and_then(bytes::<32>).zip(signature.and_then(bytes::<64>));
    let Some((key, signature)) = found.filter(|_| word == Some(WORD) && words.next().is_none()) else {
        return Err(format!("is no signature: it is not one line of \"{WORD}\", a key and a signature"));
    };
    if !keys.hold(&key) {
        return Err(format!(
            "is not by anyone whom this machine trusts; if you trust its maker, add the key to {}",
            crate::KEY_FILES[1]
        ));
    }
    VerifyingKey::from_bytes(&key)
        .and_then(|signer| signer.verify_strict(&message(sha256), &Signature::from_bytes(&signature)))
        .map(|()| key)
        .map_err(|_| "does not fit the file: one of them was altered or damaged; fetch both again".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_is_trusted_signs_this_file_and_no_other() {
        let (ours, theirs) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let mut keys = Keys::default();
        keys.add(crate::public_line(&ours).as_bytes());
        let line = detached_line(&ours, &[7; 32]);
        assert_eq!(detached(&line, &[7; 32], &keys), Ok(*ours.verifying_key().as_bytes()));
        let said = |text: &str, hash| detached(text, &[hash; 32], &keys).expect_err("is refused");
        assert!(said(&line, 8).contains("does not fit the file"));
        assert!(said(&detached_line(&theirs, &[7; 32]), 7).contains("anyone whom this machine trusts"));
        assert!(said(&line.replace(WORD, "x"), 7).contains("is no signature"));
        assert!(said(&format!("{line} more"), 7).contains("is no signature"));
        // Their signature under our name.
        let ours_hex = hex(ours.verifying_key().as_bytes());
        let forged =
            detached_line(&theirs, &[7; 32]).replace(&hex(theirs.verifying_key().as_bytes()), &ours_hex);
        assert!(said(&forged, 7).contains("does not fit the file"));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in ".{0,300}", more in "[0-9a-f ]{0,300}") {
            let keys = Keys::default();
            prop_assert!(detached(&text, &[0; 32], &keys).is_err());
            let line = format!("{WORD} {more}");
            prop_assert!(detached(&line, &[0; 32], &keys).is_err());
        }
    }
}
