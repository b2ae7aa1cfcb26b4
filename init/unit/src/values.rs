//! The values of service files that need more than TOML's types: sizes, durations, capabilities, users.

use super::Account;
use rustix::thread::CapabilitySet;
use std::path::Path;
use std::time::Duration;

/// `256M` in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let cure = || format!("\"{text}\" is not a size; write a number and K, M or G, as in \"256M\"");
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'K')) => (&text[..at], 1 << 10),
        Some((at, 'M')) => (&text[..at], 1 << 20),
        Some((at, 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1u64),
    };
    let number: u64 = digits.parse().map_err(|_| cure())?;
    number.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or_else(cure)
}

/// `90s`, `500ms` or `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let cure = || format!("\"{text}\" is not a duration; write a number and ms, s or m, as in \"90s\"");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(cure)?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| cure())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    // A day is longer than anything that a person would wait for.
    milliseconds.filter(|ms| (1..=86_400_000).contains(ms)).map(Duration::from_millis).ok_or_else(cure)
}

/// `50%` of a processor as 50.
pub(super) fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
    number.filter(|n| (1..=100_000).contains(n)).ok_or_else(|| {
        format!("\"{text}\" is not a share of a processor; write percent, as in \"50%\" or \"200%\" for two")
    })
}

/// Names of the signals from 1 on (signal(7), x86 and most others).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGKILL` and its kind; a number without a name is written as `signal 40`.
pub fn signal_name(number: i32) -> String {
    let name = usize::try_from(number - 1).ok().and_then(|index| SIGNALS.get(index));
    name.map_or_else(|| format!("signal {number}"), |name| format!("SIG{name}"))
}

/// `SIGHUP` as its number.
pub(super) fn signal(text: &str) -> Result<i32, String> {
    let known = text.strip_prefix("SIG").and_then(|name| SIGNALS.iter().position(|known| *known == name));
    known.and_then(|index| i32::try_from(index + 1).ok()).ok_or_else(|| {
        format!("\"{text}\" is not a signal; write its name as in signal(7), as in \"SIGTERM\"")
    })
}

/// `0666` as permission bits.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("mode = \"{text}\" is not a file mode; write octal digits, as in \"0660\""))
}

/// `CAP_KILL` as the kernel knows it (capabilities(7)). The error is one sentence.
pub fn capability(text: &str) -> Result<CapabilitySet, String> {
    let known = text.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
    known.filter(|set| set.bits().count_ones() == 1).ok_or_else(|| {
        format!(
            "\"{text}\" is not a capability; write its name as in capabilities(7), as in \"CAP_NET_ADMIN\""
        )
    })
}

/// The users and groups of an image.
#[derive(Debug, Default, Clone)]
pub struct Users {
    accounts: Vec<Account>,
    /// Every name is one of a user.
    anyone: bool,
}

impl Users {
    /// Whom an unknown machine may have: every name is taken for one of a user, whose numbers mean nothing.
    pub fn anyone() -> Self {
        let root = Account { name: "root".into(), uid: 0, gid: 0, groups: Vec::new() };
        Self { accounts: vec![root], anyone: true }
    }

    /// Read `etc/passwd` and `etc/group` below this directory. A file that cannot be read has no entries:
    /// every service file that names a user is then refused with a sentence that says so.
    pub fn read(root: &Path) -> Self {
        let text = |name| std::fs::read_to_string(root.join(name)).unwrap_or_default();
        Self::parse(&text("etc/passwd"), &text("etc/group"))
    }

    /// passwd(5) and group(5); lines that do not fit their format are skipped.
    pub fn parse(passwd: &str, group: &str) -> Self {
        let mut accounts: Vec<Account> = passwd
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                let uid = fields.nth(1)?.parse().ok()?;
                let gid = fields.next()?.parse().ok()?;
                Some(Account { name, uid, gid, groups: Vec::new() })
            })
            .collect();
        for line in group.lines() {
            let mut fields = line.split(':');
            let (Some(gid), Some(members)) = (fields.nth(2).and_then(|g| g.parse().ok()), fields.next())
            else {
                continue;
            };
            for member in members.split(',') {
                if let Some(account) = accounts.iter_mut().find(|a| a.name == member) {
                    account.groups.push(gid);
                }
            }
        }
        Self { accounts, anyone: false }
    }

    pub(super) fn find(&self, name: &str) -> Result<Account, String> {
        // nobody's numbers (Linux's overflow user).
        let other = || Account { name: name.into(), uid: 65_534, gid: 65_534, groups: Vec::new() };
        let known = self.accounts.iter().find(|a| a.name == name).cloned();
        known.or_else(|| self.anyone.then(other)).ok_or_else(|| {
            let known: Vec<&str> = self.accounts.iter().map(|a| a.name.as_str()).collect();
            format!("there is no user \"{name}\" in /etc/passwd; known are: {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_durations_modes_and_capabilities_are_read() {
        assert_eq!(size("256M"), Ok(256 << 20));
        assert_eq!(size("512"), Ok(512));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(mode("0666"), Ok(0o666));
        assert_eq!(capability("CAP_NET_ADMIN"), Ok(CapabilitySet::NET_ADMIN));
    }

    #[test]
    fn signals_and_shares_are_read() {
        assert_eq!((signal("SIGHUP"), signal("SIGSYS")), (Ok(1), Ok(31)));
        assert!(signal("HUP").is_err() && signal("SIG").is_err());
        assert_eq!((signal_name(9), signal_name(40)), ("SIGKILL".into(), "signal 40".into()));
        assert_eq!(percent("150%"), Ok(150));
        assert!(percent("50").is_err() && percent("0%").is_err());
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_an_example() {
        for text in ["", "M", "0", "12Q", "-1", "99999999999999999999", "18446744073709551615G", "é"] {
            assert!(size(text).is_err_and(|e| e.contains("256M")), "{text}");
        }
        for text in ["", "5", "s", "5h", "0s", "999999999999m"] {
            assert!(duration(text).is_err_and(|e| e.contains("90s")), "{text}");
        }
        assert!(mode("999").is_err() && mode("7777").is_err());
        assert!(
            capability("NET_ADMIN").is_err() && capability("CAP_").is_err() && capability("CAP_X").is_err()
        );
    }

    #[test]
    fn users_come_with_their_groups() {
        let users = Users::parse("root:x:0:0::/:\nweb:x:5:6::/:\nbroken\n", "dev:x:9:web,root\nbad\n");
        assert_eq!(users.find("web"), Ok(Account { name: "web".into(), uid: 5, gid: 6, groups: vec![9] }));
        assert!(users.find("nobody").is_err_and(|e| e.contains("root, web")));
    }
}
