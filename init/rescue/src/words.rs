//! Bytes as text that a person can type: Crockford's base 32, where case, `O` for zero, and `I` or `L` for
//! one do not matter, and hyphens and spaces may stand anywhere.

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// These bytes, five bits a character.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut held, mut bits) = (0u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(held >> bits));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(digit(held << (5 - bits)));
    }
    text
}

fn digit(value: u32) -> char {
    DIGITS.get((value & 31) as usize).map_or('0', |digit| char::from(*digit))
}

/// Exactly `N` bytes, or nothing.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = Vec::with_capacity(N);
    let (mut held, mut bits) = (0u32, 0);
    for c in text.chars().filter(|c| !matches!(c, '-' | ' ')) {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        };
        let value = DIGITS.iter().position(|digit| char::from(*digit) == c)?;
        held = held << 5 | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            if bytes.len() == N {
                return None;
            }
            bytes.push((held >> bits) as u8);
        }
        held &= (1 << bits) - 1;
    }
    // A whole digit too many, or bits that no byte holds, are somebody's mistake.
    if bits >= 5 || held != 0 { None } else { bytes.try_into().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_mistake_is_understood_and_what_is_too_long_or_too_short_is_not() {
        let text = encode(&[0, 1, 254, 255, 32]);
        assert_eq!(text.len(), 8);
        assert_eq!(decode(&text), Some([0, 1, 254, 255, 32]));
        assert_eq!(decode::<1>("ol"), decode::<1>("0-1"));
        assert_eq!(decode::<5>("00000000O"), None);
        assert_eq!(decode::<5>("0000000"), None);
        assert_eq!(decode::<1>("0U"), None);
        assert_eq!(decode::<1>("01"), None, "bits that belong to no byte");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in any::<[u8; 32]>(), other in "\\PC*") {
            prop_assert_eq!(decode(&encode(&bytes).to_lowercase()), Some(bytes));
            let _ = decode::<32>(&other);
        }
    }
}
