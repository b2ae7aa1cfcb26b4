//! Which of two versions is the newer one.

use std::cmp::Ordering;

/// Compare versions as the distribution does (deb-version(7)): numbers by value, other characters by order, letters before
/// signs, and `~` before everything, even the end.
pub fn compare(one: &str, other: &str) -> Ordering {
    let epoch = |text: &str| match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => {
            (epoch.to_owned(), rest.to_owned())
        }
        _ => (String::new(), text.to_owned()),
    };
    let ((one_epoch, one), (other_epoch, other)) = (epoch(one), epoch(other));
    let split = |text: &str| match text.rsplit_once('-') {
        Some((upstream, revision)) => (upstream.to_owned(), revision.to_owned()),
        None => (text.to_owned(), String::new()),
    };
    let ((one, one_revision), (other, other_revision)) = (split(&one), split(&other));
    number(one_epoch.as_bytes(), other_epoch.as_bytes())
        .then_with(|| part(one.as_bytes(), other.as_bytes()))
        .then_with(|| part(one_revision.as_bytes(), other_revision.as_bytes()))
}

fn part(mut one: &[u8], mut other: &[u8]) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (words, numbers) = (cut(one, |b| !b.is_ascii_digit()), cut(other, |b| !b.is_ascii_digit()));
        let order = word(words.0, numbers.0);
        if order.is_ne() {
            return order;
        }
        let (left, right) = (cut(words.1, u8::is_ascii_digit), cut(numbers.1, u8::is_ascii_digit));
        let order = number(left.0, right.0);
        if order.is_ne() {
            return order;
        }
        (one, other) = (left.1, right.1);
    }
    Ordering::Equal
}

fn cut(text: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !belongs(byte)).unwrap_or(text.len()))
}

fn word(one: &[u8], other: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let length = one.len().max(other.len());
    let differ = (0..length).map(|at| weight(one.get(at)).cmp(&weight(other.get(at))));
    differ.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Digits of any length by value.
fn number(one: &[u8], other: &[u8]) -> Ordering {
    let value = |text: &[u8]| -> Vec<u8> { text.iter().copied().skip_while(|b| *b == b'0').collect() };
    let (one, other) = (value(one), value(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(&other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_ordered_as_the_distribution_orders_them() {
        let ascending = [
            "0.9",
            "1.0~rc1",
            "1.0",
            "1.0-1",
            "1.0-1+deb12u1",
            "1.0-1+deb12u10",
            "1.0a",
            "1.0.1",
            "1.2",
            "1.10",
            "1:0.1",
        ];
        for (at, low) in ascending.iter().enumerate() {
            assert_eq!(compare(low, low), Ordering::Equal);
            for high in &ascending[at + 1..] {
                assert_eq!(
                    (compare(low, high), compare(high, low)),
                    (Ordering::Less, Ordering::Greater),
                    "{low} {high}"
                );
            }
        }
        assert_eq!(compare("1.02", "1.2"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn the_order_is_the_same_from_both_sides(one in "[0-9a-c.~+:-]{0,12}", other in "[0-9a-c.~+:-]{0,12}") {
            prop_assert_eq!(compare(&one, &other), compare(&other, &one).reverse());
        }
    }
}
