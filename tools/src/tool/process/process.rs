//! What the process tools share.

use std::collections::HashMap;

/// User names by id, from `/etc/passwd`: a static program must not ask libc for them.
pub(crate) fn users() -> HashMap<u32, String> {
    parse_passwd(&std::fs::read_to_string("/etc/passwd").unwrap_or_default())
}

fn parse_passwd(text: &str) -> HashMap<u32, String> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some((uid, name.to_owned()))
        })
        .collect()
}

/// Bytes for people: `1.5 GiB`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    match aios_abi::units::scale(bytes) {
        (_, "B") => format!("{bytes} B"),
        (value, unit) => format!("{value:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_from_passwd_and_broken_lines_are_passed_over() {
        let users =
            parse_passwd("root:x:0:0:root:/:/sbin/nologin\nbroken\naios-agentd:x:102:102:::\nx:y:z:\n");
        assert_eq!(users.len(), 2);
        assert_eq!(users.get(&102).map(String::as_str), Some("aios-agentd"));
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        assert_eq!(human_bytes(512), "512 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(u64::MAX), "16777216.0 TiB");
    }
}
