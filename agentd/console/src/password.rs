//! Names and passwords: what is accepted, and how a password is kept (argon2id, RFC 9106).

use aios_abi::CallError;
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

/// The cost that OWASP's password storage cheat sheet names for argon2id: memory in KiB, passes, lanes.
const COST: Cost = Cost { memory_kib: 19_456, passes: 2, lanes: 1 };
/// Characters that a password has at least.
const SHORTEST: usize = 10;
/// Bytes that a password has at most.
const LONGEST: usize = 1024;

/// What one hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// A password as it is kept: with the cost in force when it was set, so that the cost can be raised.
/// The default fits nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kept {
    cost: Cost,
    salt: String,
    hash: String,
}

impl Kept {
    /// Hash a password. This takes tens of milliseconds and 19 MiB: not for an event loop.
    pub fn new(password: &str, salt: [u8; 16]) -> Result<Self, CallError> {
        let hash = derive(COST, &salt, password)?;
        Ok(Self { cost: COST, salt: aios_abi::audit::hex(&salt), hash: aios_abi::audit::hex(&hash) })
    }

    /// Whether this is the password. Takes as long as [`Kept::new`].
    pub fn fits(&self, password: &str) -> bool {
        let (Some(salt), Some(hash)) =
            (aios_abi::audit::unhex::<16>(&self.salt), aios_abi::audit::unhex::<32>(&self.hash))
        else {
            return false;
        };
        // blake3::Hash compares in constant time.
        derive(self.cost, &salt, password)
            .is_ok_and(|derived| blake3::Hash::from_bytes(derived) == blake3::Hash::from_bytes(hash))
    }
}

/// As much work as checking a password, for a name that does not exist: how long a refusal takes must
/// not tell which names do.
pub fn pretend(password: &str) {
    let _ = derive(COST, &[0; 16], password);
}

fn derive(cost: Cost, salt: &[u8], password: &str) -> Result<[u8; 32], CallError> {
    let failed = |e: argon2::Error| CallError::failed(format!("the password cannot be hashed: {e}"));
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(failed)?;
    let mut hash = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .map_err(failed)?;
    Ok(hash)
}

/// Whether a name can be given to an account.
pub fn check_name(name: &str) -> Result<(), CallError> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if first && rest && name.len() <= 32 {
        return Ok(());
    }
    Err(CallError::invalid(
        "the name must begin with a letter and have at most 32 lower-case letters, digits and dashes",
    ))
}

/// Whether a password can be set.
pub fn check_password(password: &str) -> Result<(), CallError> {
    if password.chars().count() < SHORTEST {
        return Err(CallError::invalid(format!("the password must have at least {SHORTEST} characters")));
    }
    if password.len() > LONGEST {
        return Err(CallError::invalid(format!("the password must have at most {LONGEST} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_fits_and_the_kept_form_survives_json() {
        let kept = Kept::new("correct horse battery", [7; 16]).expect("hashes");
        let text = serde_json::to_string(&kept).expect("encodes");
        assert!(!text.contains("horse"));
        let kept: Kept = serde_json::from_str(&text).expect("decodes");
        assert!(kept.fits("correct horse battery"));
        assert!(!kept.fits("correct horse batterz"));
        assert!(!Kept { salt: "zz".into(), ..kept }.fits("correct horse battery"));
    }

    #[test]
    fn names_are_short_lower_case_words() {
        for good in ["a", "ada", "ada-2", &"a".repeat(32)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "Ada", "2a", "-a", "a b", "ä", "a/b", &"a".repeat(33)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_counts_characters_not_bytes() {
        assert!(check_password("ääääääääää").is_ok());
        assert!(check_password("äääääää").is_err());
        assert!(check_password(&"x".repeat(2000)).is_err());
    }
}
