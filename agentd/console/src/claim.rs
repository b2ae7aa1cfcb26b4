//! The claim code: whoever reads it on the machine's own screen may make the first account.

use std::fmt;

/// Crockford's base 32: no letter looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Symbols of a code; 60 bits.
const SYMBOLS: usize = 12;
/// Wrong tries after which a code is worth nothing any more.
pub const MAX_WRONG: u32 = 10;

/// A one-time code of 12 symbols.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimCode([u8; SYMBOLS]);

impl ClaimCode {
    /// The code that these random bytes make; five bits of each are used.
    pub fn from_random(random: [u8; SYMBOLS]) -> Self {
        Self(random.map(|byte| ALPHABET[usize::from(byte & 31)]))
    }

    /// Whether a person typed this code. Case, dashes and blanks do not count, O is 0, I and L are 1.
    /// The time it takes does not depend on where they differ.
    pub fn fits(&self, typed: &str) -> bool {
        // blake3::Hash compares in constant time.
        blake3::hash(&self.0) == blake3::hash(&normal(typed))
    }
}

fn normal(typed: &str) -> Vec<u8> {
    typed
        .bytes()
        .filter(|byte| !matches!(byte, b'-' | b' '))
        .map(|byte| match byte.to_ascii_uppercase() {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            other => other,
        })
        .collect()
}

impl fmt::Display for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, symbol) in self.0.iter().enumerate() {
            if index > 0 && index % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*symbol))?;
        }
        Ok(())
    }
}

/// A code is a secret; it is shown with `Display`, on purpose only.
impl fmt::Debug for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimCode(…)")
    }
}

/// The code in force and how often it was missed.
#[derive(Debug)]
pub struct Gate {
    code: ClaimCode,
    wrong: u32,
}

/// What a try came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Try {
    /// The code fits.
    Right,
    /// It does not; this many tries are left.
    Wrong {
        /// Tries left.
        left: u32,
    },
    /// It does not, and a new code is in force now, which must be shown.
    Renewed(ClaimCode),
}

impl Gate {
    /// A gate that this code opens.
    pub fn new(code: ClaimCode) -> Self {
        Self { code, wrong: 0 }
    }

    /// The code in force.
    pub fn code(&self) -> &ClaimCode {
        &self.code
    }

    /// Try a code; `next` replaces the present one when it was missed too often.
    pub fn attempt(&mut self, typed: &str, next: impl FnOnce() -> ClaimCode) -> Try {
        if self.code.fits(typed) {
            return Try::Right;
        }
        self.wrong += 1;
        if self.wrong < MAX_WRONG {
            return Try::Wrong { left: MAX_WRONG - self.wrong };
        }
        *self = Self::new(next());
        Try::Renewed(self.code.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_in_three_groups_and_is_taken_as_people_type_it() {
        let code = ClaimCode::from_random([0, 1, 2, 3, 10, 11, 12, 13, 28, 29, 30, 31]);
        assert_eq!(code.to_string(), "0123-ABCD-WXYZ");
        for typed in ["0123-ABCD-WXYZ", "0123abcdwxyz", " oi23 abcd wxyz ", "OL23-abcd-WXYZ"] {
            assert!(code.fits(typed), "{typed}");
        }
        for typed in ["", "0123-ABCD-WXY", "0123-ABCD-WXYY", "0123-ABCD-WXYZ0"] {
            assert!(!code.fits(typed), "{typed}");
        }
    }

    #[test]
    fn the_tenth_wrong_try_makes_the_code_worthless() {
        let (first, second) = (ClaimCode::from_random([1; 12]), ClaimCode::from_random([2; 12]));
        let mut gate = Gate::new(first.clone());
        for left in (1..MAX_WRONG).rev() {
            assert_eq!(gate.attempt("no", || unreachable!()), Try::Wrong { left });
        }
        assert_eq!(gate.attempt("no", || second.clone()), Try::Renewed(second.clone()));
        assert_eq!(gate.attempt(&first.to_string(), || unreachable!()), Try::Wrong { left: MAX_WRONG - 1 });
        assert_eq!(gate.attempt(&second.to_string(), || unreachable!()), Try::Right);
    }
}
