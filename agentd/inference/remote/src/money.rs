//! Money, in millionths of the currency that a person chose. Nothing here rounds to our advantage.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Digits after the point that are kept.
const DIGITS: usize = 6;
/// Prices are for so many tokens.
const PRICED: u128 = 1_000_000;

/// An amount in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micro(pub u64);

impl Micro {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Read a decimal number such as `12.50`; what is less than a millionth is refused, as is a sign.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > DIGITS {
            return None;
        }
        let part: u64 = format!("{part:0<DIGITS$}").parse().ok()?;
        whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part).map(Self)
    }

    /// Both together; what is more than can be counted is as much as can be counted.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Micro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:06}", self.0 % 1_000_000);
        // As people write money; more digits only where there is something in them.
        let part = part.trim_end_matches('0');
        write!(f, "{}.{part:0<2}", self.0 / 1_000_000)
    }
}

/// What a million tokens cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prices {
    /// Of what is sent.
    pub input: Micro,
    /// Of what is sent and was known to the server from a request before.
    pub cached: Micro,
    /// Of what comes back.
    pub output: Micro,
}

/// What a server says that it read and wrote, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Read, the cached ones among them.
    pub prompt: u64,
    /// Of these, known from a request before.
    pub cached: u64,
    /// Of those that were not known, the ones that were put into the server's memory for twice the price. This worker never
    /// asks for that; what is claimed is counted.
    pub stored: u64,
    /// Written.
    pub generated: u64,
}

impl Prices {
    /// The price of this, rounded up.
    pub fn of(&self, usage: &Usage) -> Micro {
        let cached = usage.cached.min(usage.prompt);
        let fresh = u128::from(usage.prompt - cached) + u128::from(usage.stored);
        let cost = |tokens: u128, price: Micro| tokens.saturating_mul(u128::from(price.0));
        let sum = cost(fresh, self.input)
            .saturating_add(cost(cached.into(), self.cached))
            .saturating_add(cost(usage.generated.into(), self.output));
        Micro(u64::try_from(sum.div_ceil(PRICED)).unwrap_or(u64::MAX))
    }

    /// The most that so many tokens can cost, whatever is known of them.
    pub fn most(&self, prompt: u64, generated: u64) -> Micro {
        let dearest = Self { input: self.input.max(self.cached), ..*self };
        dearest.of(&Usage { prompt, generated, ..Usage::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_and_written_as_people_do() {
        for (text, micro, shown) in [
            ("20", 20_000_000, "20.00"),
            ("20.00", 20_000_000, "20.00"),
            ("0.5", 500_000, "0.50"),
            ("0.000001", 1, "0.000001"),
            ("1.234500", 1_234_500, "1.2345"),
            ("0", 0, "0.00"),
        ] {
            assert_eq!(Micro::parse(text), Some(Micro(micro)), "{text}");
            assert_eq!(Micro(micro).to_string(), shown);
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1,5", "1e3", "0.0000001", "1 ", "99999999999999999999"]
        {
            assert_eq!(Micro::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_price_is_rounded_up_and_what_is_known_is_cheaper() {
        let prices = Prices { input: Micro(2_500_000), cached: Micro(250_000), output: Micro(10_000_000) };
        let usage = |prompt, cached, generated| Usage { prompt, cached, generated, stored: 0 };
        assert_eq!(prices.of(&usage(1, 0, 0)), Micro(3));
        assert_eq!(prices.of(&usage(1000, 0, 100)), Micro(3_500));
        assert_eq!(prices.of(&usage(1000, 1000, 0)), Micro(250));
        // A server that claims to have known more than it read.
        assert_eq!(prices.of(&usage(10, 1000, 0)), Micro(3));
        assert_eq!(prices.of(&Usage { stored: 1000, ..usage(1000, 0, 0) }), Micro(5_000));
        assert_eq!(prices.of(&usage(u64::MAX, 0, u64::MAX)), Micro(u64::MAX));
    }

    proptest! {
        #[test]
        fn an_amount_that_was_written_is_read_again(micro: u64) {
            prop_assert_eq!(Micro::parse(&Micro(micro).to_string()), Some(Micro(micro)));
        }

        #[test]
        fn nothing_within_its_tokens_costs_more_than_the_most(
            input: u32, cached: u32, output: u32, prompt: u32, known: u32, generated: u32,
        ) {
            let prices = Prices { input: Micro(input.into()), cached: Micro(cached.into()), output: Micro(output.into()) };
            let usage = Usage { prompt: prompt.into(), cached: known.into(), stored: 0, generated: generated.into() };
            prop_assert!(prices.of(&usage) <= prices.most(prompt.into(), generated.into()));
        }
    }
}
