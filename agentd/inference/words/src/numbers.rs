//! The numbers that a question says, and what they are in other units.
//!
//! A tool counts in seconds, milliseconds, hours or bytes as suits it; people say `half an hour` and `2 GB`.
//! Each number with a unit is worth its value in every unit of the kind, as far as that is whole; which one
//! is meant is for the model to choose.

use std::ops::Range;

/// Numbers that a question can say; one with more loses its last ones.
const MAX_NUMBERS: usize = 64;

const NAMES: [(&str, f64); 31] = [
    ("zero", 0.0),
    ("half", 0.5),
    ("quarter", 0.25),
    ("one", 1.0),
    ("two", 2.0),
    ("three", 3.0),
    ("four", 4.0),
    ("five", 5.0),
    ("six", 6.0),
    ("seven", 7.0),
    ("eight", 8.0),
    ("nine", 9.0),
    ("ten", 10.0),
    ("eleven", 11.0),
    ("twelve", 12.0),
    ("dozen", 12.0),
    ("thirteen", 13.0),
    ("fourteen", 14.0),
    ("fifteen", 15.0),
    ("sixteen", 16.0),
    ("seventeen", 17.0),
    ("eighteen", 18.0),
    ("nineteen", 19.0),
    ("twenty", 20.0),
    ("thirty", 30.0),
    ("forty", 40.0),
    ("fifty", 50.0),
    ("sixty", 60.0),
    ("eighty", 80.0),
    ("ninety", 90.0),
    ("hundred", 100.0),
];

/// A unit: how many milliseconds or bytes it is. Two values where usage differs (SI and IEC 80000-13).
#[derive(Debug, Clone, Copy)]
enum Unit {
    Time(f64),
    Size(f64, f64),
}

/// Milliseconds of the units in which tools count time.
const TIMES: [f64; 5] = [1.0, 1_000.0, 60_000.0, 3_600_000.0, 86_400_000.0];

/// The meanings of a unit's name; `m` is minutes or mega.
fn units(name: &str) -> Vec<Unit> {
    let size = |power: i32| Unit::Size(1000f64.powi(power), 1024f64.powi(power));
    match name {
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => vec![Unit::Time(1.0)],
        "s" | "sec" | "secs" | "second" | "seconds" => vec![Unit::Time(1e3)],
        "m" => vec![Unit::Time(6e4), size(2)],
        "min" | "mins" | "minute" | "minutes" | "minuten" => vec![Unit::Time(6e4)],
        "h" | "hr" | "hrs" | "hour" | "hours" | "hourly" | "stunde" | "stunden" => vec![Unit::Time(36e5)],
        "d" | "day" | "days" | "daily" | "tag" | "tage" => vec![Unit::Time(864e5)],
        "w" | "wk" | "week" | "weeks" | "weekly" | "fortnight" => {
            vec![Unit::Time(if name == "fortnight" { 12_096e5 } else { 6048e5 })]
        }
        "month" | "months" | "monthly" => vec![Unit::Time(30.0 * 864e5)],
        "year" | "years" => vec![Unit::Time(365.0 * 864e5)],
        "k" | "kb" | "ki" | "kib" | "kilobyte" | "kilobytes" => vec![size(1)],
        "mb" | "mi" | "mib" | "meg" | "megs" | "megabyte" | "megabytes" => vec![size(2)],
        "g" | "gb" | "gi" | "gib" | "gig" | "gigs" | "gigabyte" | "gigabytes" => vec![size(3)],
        "t" | "tb" | "ti" | "tib" | "terabyte" | "terabytes" => vec![size(4)],
        _ => Vec::new(),
    }
}

/// A number of a question.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    /// Where it stands, in bytes, without its unit.
    pub(crate) place: Range<usize>,
    value: f64,
    /// Whether it is said, and not only its unit: `hourly` says no number.
    is_said: bool,
    /// Whether a minus stands before it.
    is_signed: bool,
    units: Vec<Unit>,
}

/// The unit in which a tool counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    /// So many milliseconds each.
    Time(f64),
    /// Bytes.
    Size,
    /// Things.
    Count,
}

/// The unit of an argument, which its name ends with.
pub(crate) fn unit_of(name: &str) -> Measure {
    match name.rsplit('_').next().unwrap_or_default() {
        "ms" => Measure::Time(1.0),
        "seconds" => Measure::Time(1e3),
        "minutes" => Measure::Time(6e4),
        "hours" => Measure::Time(36e5),
        "days" => Measure::Time(864e5),
        "bytes" => Measure::Size,
        _ => Measure::Count,
    }
}

/// A number that is whole, and exact in a 64-bit float.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

impl Number {
    /// What it is in this unit, what is meant most often first.
    pub(crate) fn worth(&self, measure: Measure) -> Vec<i64> {
        let converted = self.units.iter().flat_map(|unit| match (unit, measure) {
            (Unit::Time(ms), Measure::Time(other)) => vec![self.value * ms / other],
            (Unit::Size(decimal, binary), Measure::Size) => vec![self.value * decimal, self.value * binary],
            _ => Vec::new(),
        });
        let mut worth: Vec<i64> = converted.filter_map(whole).collect();
        if self.is_said && worth.is_empty() {
            let value = if self.is_signed { -self.value } else { self.value };
            worth.extend(whole(value));
        }
        worth
    }
}

/// What a piece of a question says.
enum Said {
    Number(f64),
    Unit(Vec<Unit>),
    /// `a`, `an`, `of`: between a number and its unit.
    Between,
    Other,
}

/// The numbers of a question, in order.
pub(crate) fn found(question: &str) -> Vec<Number> {
    let mut numbers: Vec<Number> = Vec::new();
    // Whether a unit that comes now belongs to the last number.
    let mut is_open = false;
    for (place, piece) in pieces(question) {
        // A minus, and not the dash of `8000-8100` or `web-2`.
        let before = question.get(..place.start).and_then(|before| before.strip_suffix('-'));
        let is_signed = before.is_some_and(|before| !before.ends_with(char::is_alphanumeric));
        match meaning(&piece.to_lowercase()) {
            Said::Number(value) => {
                numbers.push(Number { place, value, is_said: true, is_signed, units: Vec::new() });
                is_open = true;
            }
            Said::Unit(units) => {
                match numbers.last_mut().filter(|_| is_open) {
                    Some(number) => number.units = units,
                    None => {
                        numbers.push(Number { place, value: 1.0, is_said: false, is_signed: false, units });
                    }
                }
                is_open = false;
            }
            Said::Between => {}
            Said::Other => is_open = false,
        }
    }
    numbers
}

/// The whole numbers, each once: those that stand there first, then those in other units.
pub(super) fn said(question: &str) -> Vec<i64> {
    let (mut plain, mut converted) = (Vec::new(), Vec::new());
    for Number { value, is_said, is_signed, units, .. } in found(question) {
        if is_said {
            plain.extend([value, -value].iter().take(1 + usize::from(is_signed)));
        }
        for unit in units {
            match unit {
                Unit::Time(ms) => converted.extend(TIMES.iter().map(|other| value * ms / other)),
                Unit::Size(decimal, binary) => {
                    converted.extend([value * decimal, value * binary]);
                    // Some tools count whole mebibytes.
                    converted.push(value * binary / 1_048_576.0);
                }
            }
        }
    }
    let mut found = Vec::new();
    for number in plain.into_iter().chain(converted).filter_map(whole) {
        if !found.contains(&number) {
            found.push(number);
        }
    }
    found.truncate(MAX_NUMBERS);
    found
}

/// Runs of letters, and runs of figures with a point inside, with their places: `1.5gb` is `1.5` and `gb`.
fn pieces(question: &str) -> Vec<(Range<usize>, &str)> {
    let mut places: Vec<Range<usize>> = Vec::new();
    let mut kind = None;
    let mut characters = question.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let end = at + c.len_utf8();
        let is_point = c == '.'
            && kind == Some(true)
            && places.last().is_some_and(|place| !question[place.clone()].contains('.'))
            && characters.peek().is_some_and(|(_, next)| next.is_ascii_digit());
        let now =
            if c.is_ascii_digit() || is_point { Some(true) } else { c.is_alphabetic().then_some(false) };
        match (now, places.last_mut()) {
            (Some(_), Some(last)) if now == kind => last.end = end,
            (Some(_), _) => places.push(at..end),
            (None, _) => {}
        }
        kind = now;
    }
    places.into_iter().map(|place| (place.clone(), &question[place])).collect()
}

fn meaning(piece: &str) -> Said {
    if let Ok(number) = piece.parse::<f64>()
        && piece.starts_with(|c: char| c.is_ascii_digit())
    {
        return Said::Number(number);
    }
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == piece) {
        return Said::Number(*number);
    }
    match (piece, units(piece)) {
        ("a" | "an" | "of" | "couple" | "more" | "full", _) => Said::Between,
        (_, units) if units.is_empty() => Said::Other,
        (_, units) => Said::Unit(units),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_found_in_figures_and_in_words() {
        assert_eq!(said("the top five of 20, and process 4711"), [5, 20, 4711]);
        assert_eq!(said("99999999999999999999"), [0_i64; 0]);
        assert_eq!(said("10.20.30.40/24"), [24]);
        assert_eq!(said("nice -10 for pid 7"), [10, -10, 7]);
    }

    #[test]
    fn a_number_with_a_unit_is_worth_its_value_in_others() {
        for (question, expected) in [
            ("ban it for 2 hours", 7_200),
            ("in half an hour", 1_800),
            ("a quarter of an hour", 900),
            ("timeout 45m", 2_700),
            ("older than two days", 48),
            ("once an hour", 3_600),
            ("1.5gb at most", 1_610_612_736),
            ("1.5 GB at most", 1_500_000_000),
            ("512M", 536_870_912),
            ("wait 4 s", 4_000),
            ("six weeks", 1_008),
            ("the last fortnight", 14 * 24),
        ] {
            let found = said(question);
            assert!(found.contains(&expected), "{question}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn no_question_says_more_than_it_may(question in "\\PC{0,200}") {
            let found = said(&question);
            prop_assert!(found.len() <= MAX_NUMBERS);
        }

        #[test]
        fn a_number_that_stands_there_is_found(number in 0i64..1_000_000_000, before in "[a-z ]{0,10}", after in "[ ,;][a-z ]{0,10}") {
            let question = format!("{before} {number}{after}");
            prop_assert!(said(&question).contains(&number), "{}", question);
        }
    }
}
