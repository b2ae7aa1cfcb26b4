//! Slows guessing of passwords down: after a few failures a name has to wait, longer each time.

use std::collections::HashMap;

/// Failures that cost nothing.
const FREE: u32 = 5;
/// The first wait.
const FIRST_MS: u64 = 30_000;
/// The longest wait.
const LONGEST_MS: u64 = 60 * 60_000;
/// A name is forgotten this long after its last failure.
const FORGET_MS: u64 = 24 * 60 * 60_000;
/// Names remembered at once. Beyond that only those of real accounts are.
const MAX_NAMES: usize = 1024;

/// Failed logins by name. Times are milliseconds of a clock that does not jump.
#[derive(Debug, Default)]
pub struct Lockout {
    names: HashMap<String, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_ms: u64,
    until_ms: u64,
    account: bool,
}

impl Lockout {
    /// Milliseconds that this name still has to wait, if it has to.
    pub fn wait_ms(&self, name: &str, now_ms: u64) -> Option<u64> {
        let until = self.names.get(name)?.until_ms;
        until.checked_sub(now_ms).filter(|left| *left > 0)
    }

    /// A login of this name failed. Names without an account wait as well, so that waiting does not tell
    /// which names there are; `account` says whether this is one of an account.
    pub fn failed(&mut self, name: &str, account: bool, now_ms: u64) {
        self.names.retain(|_, failures| now_ms.saturating_sub(failures.last_ms) < FORGET_MS);
        if self.names.len() >= MAX_NAMES && !self.names.contains_key(name) {
            if !account {
                return;
            }
            self.names.retain(|_, failures| failures.account);
        }
        let fresh = Failures { count: 0, last_ms: now_ms, until_ms: 0, account };
        let failures = self.names.entry(name.to_owned()).or_insert(fresh);
        failures.count = failures.count.saturating_add(1);
        failures.last_ms = now_ms;
        if failures.count >= FREE {
            let doublings = (failures.count - FREE).min(16);
            failures.until_ms = now_ms + (FIRST_MS << doublings).min(LONGEST_MS);
        }
    }

    /// A login of this name succeeded.
    pub fn succeeded(&mut self, name: &str) {
        self.names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_cost_half_a_minute_and_each_further_one_twice_as_much() {
        let mut lockout = Lockout::default();
        for _ in 0..4 {
            lockout.failed("ada", true, 0);
            assert_eq!(lockout.wait_ms("ada", 0), None);
        }
        lockout.failed("ada", true, 0);
        assert_eq!(lockout.wait_ms("ada", 0), Some(30_000));
        assert_eq!(lockout.wait_ms("ada", 29_999), Some(1));
        assert_eq!(lockout.wait_ms("ada", 30_000), None);
        lockout.failed("ada", true, 30_000);
        assert_eq!(lockout.wait_ms("ada", 30_000), Some(60_000));
        for _ in 0..100 {
            lockout.failed("ada", true, 40_000);
        }
        assert_eq!(lockout.wait_ms("ada", 40_000), Some(LONGEST_MS));
    }

    #[test]
    fn other_names_are_not_held_up_and_success_or_a_day_clears_the_count() {
        let mut lockout = Lockout::default();
        (0..5).for_each(|_| lockout.failed("ada", true, 0));
        assert_eq!(lockout.wait_ms("bob", 0), None);
        lockout.succeeded("ada");
        assert_eq!(lockout.wait_ms("ada", 0), None);
        (0..5).for_each(|_| lockout.failed("ada", true, 0));
        lockout.failed("ada", true, FORGET_MS);
        assert_eq!(lockout.wait_ms("ada", FORGET_MS), None);
    }

    #[test]
    fn a_flood_of_invented_names_neither_fills_the_memory_nor_frees_an_account() {
        let mut lockout = Lockout::default();
        (0..5).for_each(|_| lockout.failed("ada", true, 0));
        (0..3 * MAX_NAMES).for_each(|n| lockout.failed(&format!("n{n}"), false, 0));
        assert!(lockout.names.len() <= MAX_NAMES);
        (0..5).for_each(|_| lockout.failed("bob", true, 0));
        assert!(lockout.wait_ms("ada", 0).is_some() && lockout.wait_ms("bob", 0).is_some());
    }
}
