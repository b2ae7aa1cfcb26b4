//! The key of an account: it is sent to one server and shown nowhere.

use reqwest::header::HeaderValue;
use std::fmt;

/// The longest key, in bytes; services have some of a few hundred.
const LONGEST: usize = 4096;

/// A key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key in the text of a file; white space around it is none of it.
    ///
    /// # Errors
    /// What is wrong with it, without a piece of it.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty");
        }
        if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds more than one key on one line");
        }
        Ok(Self(text.to_owned()))
    }

    /// The value of a header, with this before the key, and marked as one that nobody shows.
    pub(crate) fn header(&self, before: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{before}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether a text could tell something of the key.
    pub(crate) fn is_told_by(&self, text: &str) -> bool {
        text.contains(&self.0) || (text.len() >= 4 && self.0.contains(text))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_word_and_is_not_shown() {
        let key = Key::read(" sk-abc_123 \n").expect("a key");
        assert_eq!(key.header("Bearer ").expect("a header").as_bytes(), b"Bearer sk-abc_123");
        for shown in [format!("{key:?}"), format!("{:?}", key.header("Bearer "))] {
            assert!(!shown.contains("abc"), "{shown}");
        }
        assert!(
            key.is_told_by("bad key sk-abc_123") && key.is_told_by("abc_") && !key.is_told_by("rate_limit")
        );
        for text in ["", " \n", "two words", "two\nlines", "schlüssel", &"x".repeat(LONGEST + 1)] {
            let why = Key::read(text).expect_err("no key");
            assert!(!why.contains("two"), "{why}");
        }
    }
}
