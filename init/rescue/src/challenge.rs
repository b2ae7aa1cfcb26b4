//! What the owner signs: this machine, this boot, nothing else.

use crate::words;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

const START: &str = "aios-recovery";
/// Keeps a signature for a recovery from being one for anything else.
const CONTEXT: &str = "aiOS recovery mode, version 1\n";

/// One question, which one signature answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The machine's id.
    pub machine: String,
    nonce: [u8; 16],
}

impl Challenge {
    /// For this machine; fresh, so that an older signature is worth nothing.
    pub fn new(machine: &str) -> Result<Self, getrandom::Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let good = |c: &char| c.is_ascii_hexdigit();
        Ok(Self { machine: machine.chars().filter(good).take(32).collect(), nonce })
    }

    /// Read what the machine shows.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let (start, machine, nonce) = (parts.next()?, parts.next()?, parts.next()?);
        let machine_fits = machine.len() <= 32 && machine.bytes().all(|b| b.is_ascii_hexdigit());
        if start != START || !machine_fits || parts.next().is_some() {
            return None;
        }
        Some(Self { machine: machine.to_owned(), nonce: words::decode(nonce)? })
    }

    /// The answer, as it is typed.
    pub fn sign(&self, key: &SigningKey) -> String {
        words::encode(&key.sign(self.message().as_bytes()).to_bytes())
    }

    /// Whether this answer was made with this key.
    pub fn verify(&self, key: &VerifyingKey, answer: &str) -> bool {
        let signature = words::decode::<64>(answer).map(|bytes| Signature::from_bytes(&bytes));
        signature.is_some_and(|s| key.verify_strict(self.message().as_bytes(), &s).is_ok())
    }

    fn message(&self) -> String {
        format!("{CONTEXT}{self}")
    }
}

impl std::fmt::Display for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{START}.{}.{}", self.machine, words::encode(&self.nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MACHINE: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn only_the_right_key_answers_and_only_this_boots_question() {
        let (owner, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let asked = Challenge::new(MACHINE).expect("random");
        let read = Challenge::parse(&format!(" {asked}\n")).expect("what it shows can be read");
        assert_eq!(read, asked);
        let answer = read.sign(&owner);
        assert!(asked.verify(&owner.verifying_key(), &answer));
        assert!(!asked.verify(&other.verifying_key(), &answer));
        let next = Challenge::new(MACHINE).expect("random");
        assert!(!next.verify(&owner.verifying_key(), &answer), "an old signature opened a new boot");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_none_is_an_answer(text in "\\PC*") {
            let _ = Challenge::parse(&text);
            let key = SigningKey::from_bytes(&[1; 32]).verifying_key();
            prop_assert!(!Challenge::new(MACHINE).expect("random").verify(&key, &text));
        }
    }
}
