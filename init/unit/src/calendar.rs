//! Moments of the calendar in the notation of crontab(5): `minute hour day month weekday`, in UTC.

use std::str::FromStr;

/// A set of minutes of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    minutes: u64,
    hours: u32,
    days: u32,
    months: u16,
    weekdays: u8,
    /// Neither day nor weekday is `*`: then either is enough, as crontab(5) has it.
    either: bool,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// The rarest moment, the 29th of February on a given weekday, comes within 40 years.
const DAYS_AHEAD: u64 = 40 * 366;
const DAY: u64 = 86_400;

impl FromStr for Calendar {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cure = |why: &str| {
            format!(
                "\"{text}\" is not a time: {why}; write minute hour day month weekday, as in \"30 3 * * mon-fri\" (UTC)"
            )
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(cure("it has not five fields"));
        };
        let set = |field: &str, least: u64, most: u64, names: &[&str]| {
            bits(field, least, most, names).map_err(|why| cure(&why))
        };
        // Sunday is 0 and 7.
        let weekdays = set(weekday, 0, 7, &WEEKDAYS)?;
        let this = Self {
            minutes: set(minute, 0, 59, &[])?,
            hours: set(hour, 0, 23, &[])? as u32,
            days: set(day, 1, 31, &[])? as u32,
            months: set(month, 1, 12, &MONTHS)? as u16,
            weekdays: (weekdays | weekdays >> 7 & 1) as u8 & 0x7f,
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        match this.next_after(0) {
            Some(_) => Ok(this),
            None => Err(cure("there is no such day")),
        }
    }
}

/// `*`, `5`, `1-5`, `mon-fri`, `*/15`, `10-50/20` and lists of these.
fn bits(field: &str, least: u64, most: u64, names: &[&str]) -> Result<u64, String> {
    let number = |word: &str| -> Result<u64, String> {
        let named = names.iter().position(|name| word.eq_ignore_ascii_case(name));
        // Months count from one, weekdays from zero.
        let value = match named {
            Some(index) => Some(index as u64 + least),
            None => word.parse().ok(),
        };
        value
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| format!("\"{word}\" is not between {least} and {most}"))
    };
    let mut set = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse().ok().filter(|n: &usize| (1..=60).contains(n));
                (range, step.ok_or_else(|| format!("\"{part}\" has no step from 1 to 60"))?)
            }
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None if step > 1 => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(format!("\"{range}\" runs backwards"));
        }
        set |= (from..=to).step_by(step).fold(0, |set, n| set | 1 << n);
    }
    Ok(set)
}

impl Calendar {
    /// The first of its moments that is later than `time`; both in seconds since 1970, UTC.
    pub fn next_after(&self, time: u64) -> Option<u64> {
        // The next whole minute.
        let from = (time / 60 + 1) * 60;
        let (first, of_day) = (from / DAY, from % DAY);
        (first..first + DAYS_AHEAD).find_map(|day| {
            if !self.has_day(day) {
                return None;
            }
            let start = if day == first { of_day / 60 } else { 0 };
            let minute = (start..DAY / 60)
                .find(|m| self.hours >> (m / 60) & 1 == 1 && self.minutes >> (m % 60) & 1 == 1)?;
            Some(day * DAY + minute * 60)
        })
    }

    fn has_day(&self, days: u64) -> bool {
        let (month, day) = month_and_day(days);
        // The first of January 1970 was a Thursday.
        let weekday = (days + 4) % 7;
        let (in_days, in_week) = (self.days >> day & 1 == 1, self.weekdays >> weekday & 1 == 1);
        let fits = if self.either { in_days || in_week } else { in_days && in_week };
        fits && self.months >> month & 1 == 1
    }
}

/// Month (1 to 12) and day (1 to 31) of a number of days since 1970, after Howard Hinnant,
/// "chrono-compatible low-level date algorithms".
fn month_and_day(days: u64) -> (u64, u64) {
    let of_era = (days + 719_468) % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (if shifted < 10 { shifted + 3 } else { shifted - 9 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T10:48:12Z, a Saturday.
    const NOW: u64 = 1_795_258_092;

    fn next(text: &str) -> u64 {
        text.parse::<Calendar>().expect("is valid").next_after(NOW).expect("comes") - NOW / DAY * DAY
    }

    #[test]
    fn moments_are_found_as_crontab_has_them() {
        assert_eq!(next("* * * * *"), 10 * 3600 + 49 * 60);
        assert_eq!(next("*/15 * * * *"), 11 * 3600);
        assert_eq!(next("30 3 * * *"), DAY + 3 * 3600 + 1800);
        assert_eq!(next("0 0 * * mon"), 2 * DAY);
        assert_eq!(next("0 0 * * 7"), DAY);
        assert_eq!(next("0 0 1 * *"), 10 * DAY);
        assert_eq!(next("0 12 24 dec *"), 33 * DAY + 12 * 3600);
        // Either of both is enough when both are given.
        assert_eq!(next("0 0 1 * sun"), DAY);
        assert_eq!(next("5,10-12 10-11/1 * * *"), 11 * 3600 + 300);
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "x * * * *",
            "0 0 30 feb *",
        ] {
            let why = text.parse::<Calendar>().expect_err(text);
            assert!(why.contains("30 3 * * mon-fri"), "{why}");
        }
        let leap: Calendar = "0 0 29 2 *".parse().expect("exists");
        assert_eq!(leap.next_after(NOW), Some(1_835_395_200), "2028-02-29");
    }

    proptest::proptest! {
        #[test]
        fn the_next_moment_is_always_later(text in "[0-9*/, -]{0,20}|([0-9*]{1,2} ){4}[0-9*]", time in 0..4_000_000_000u64) {
            if let Ok(calendar) = text.parse::<Calendar>() {
                let next = calendar.next_after(time).expect("was found at the check");
                proptest::prop_assert!(next > time && next % 60 == 0);
            }
        }
    }
}
