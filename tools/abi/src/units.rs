//! Quantities as people read them.

/// A number of bytes as a value below 1024 and its unit, in powers of 1024 (IEC 80000-13); beyond the
/// largest unit the value grows. How many digits are shown is up to who shows it.
pub fn scale(bytes: u64) -> (f64, &'static str) {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    for unit in UNITS {
        if value < 1024.0 {
            return (value, unit);
        }
        value /= 1024.0;
    }
    (value, "TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_begins_where_the_one_before_ends() {
        assert_eq!(scale(0), (0.0, "B"));
        assert_eq!(scale(1023), (1023.0, "B"));
        assert_eq!(scale(1024), (1.0, "KiB"));
        assert_eq!(scale(3 << 19), (1.5, "MiB"));
        assert_eq!(scale(1 << 40), (1.0, "TiB"));
        assert_eq!(scale(u64::MAX), (16_777_216.0, "TiB"));
    }
}
