//! The rules and bans that there are, and which changes of them are sound. Pure: times are milliseconds since 1970.

use aios_abi::firewall::{
    Action, Ban, CONSOLE_PORT, FirewallChange, MAX_BANS, MAX_RULES, Ports, Prefix, Rule, Transport,
};
use aios_abi::{CallError, ErrorCode};
use std::collections::BTreeMap;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// The number that the next rule gets.
    pub(crate) next: u32,
    /// Rules by number.
    pub(crate) rules: BTreeMap<u32, Rule>,
    /// Bans, which never overlap.
    pub(crate) bans: BTreeMap<Prefix, Ban>,
}

impl State {
    /// Nothing is denied to anybody: a fresh machine.
    pub(crate) fn open() -> Self {
        Self { next: 1, rules: BTreeMap::new(), bans: BTreeMap::new() }
    }

    /// What counts when nobody knows what was denied: the console, and nothing else.
    pub(crate) fn closed() -> Self {
        let console = Ports { transport: Transport::Tcp, first: CONSOLE_PORT, last: CONSOLE_PORT };
        let rule = |action, ports| Rule { action, from: None, ports, interface: None };
        let rules = [(1, rule(Action::Allow, Some(console))), (2, rule(Action::Deny, None))];
        Self { next: 3, rules: rules.into(), bans: BTreeMap::new() }
    }

    /// Rules in the order in which they count.
    pub(crate) fn in_order(&self) -> Vec<(u32, &Rule)> {
        let mut rules: Vec<_> = self.rules.iter().map(|(id, rule)| (*id, rule)).collect();
        rules.sort_by_key(|(id, rule)| rule.rank(*id));
        rules
    }

    /// Forget the bans whose time is over.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        self.bans.retain(|_, ban| ban.until_ms > now_ms);
    }

    /// The state after a change; none if it is so already.
    pub(crate) fn changed(&self, change: &FirewallChange, now_ms: u64) -> Result<Option<Self>, CallError> {
        let mut new = self.clone();
        if !new.apply(change, now_ms)? {
            return Ok(None);
        }
        if self.somebody_reaches_the_console() && !new.somebody_reaches_the_console() {
            return Err(CallError::denied(format!(
                "nobody could reach the console (TCP port {CONSOLE_PORT}) any more; allow it to somebody first with \
                 firewall.allow"
            )));
        }
        Ok(Some(new))
    }

    /// Make a change, even if nobody reaches the console then. False if it was so already.
    pub(crate) fn apply(&mut self, change: &FirewallChange, now_ms: u64) -> Result<bool, CallError> {
        self.expire(now_ms);
        match change {
            FirewallChange::Rule { id, before, after } => {
                let present = self.rules.get(id);
                if present == after.as_ref() {
                    return Ok(false);
                }
                if present != before.as_ref() {
                    let is =
                        present.map_or_else(|| "is not there".into(), |rule| format!("says now: {rule}"));
                    return Err(conflict(format!("rule {id} was changed meanwhile; it {is}")));
                }
                match after {
                    Some(rule) => self.put(*id, rule)?,
                    None => drop(self.rules.remove(id)),
                }
            }
            FirewallChange::Ban { of, before, after } => {
                let living = |ban: &Option<Ban>| ban.clone().filter(|ban| ban.until_ms > now_ms);
                let (before, after) = (living(before), living(after));
                let present = self.bans.get(of);
                if present == after.as_ref() {
                    return Ok(false);
                }
                if present != before.as_ref() {
                    let is = if present.is_some() { "was changed" } else { "has ended" };
                    return Err(conflict(format!("the ban of {of} {is} meanwhile")));
                }
                match after {
                    Some(ban) => self.ban(*of, ban, now_ms)?,
                    None => drop(self.bans.remove(of)),
                }
            }
        }
        Ok(true)
    }

    fn put(&mut self, id: u32, rule: &Rule) -> Result<(), CallError> {
        rule.check().map_err(CallError::invalid)?;
        if let Some((other, found)) = self.rules.iter().find(|(_, found)| found.same_packets(rule)) {
            let text = match found.action == rule.action {
                true => format!("rule {other} says that already: {found}"),
                false => {
                    format!("rule {other} says the opposite: {found}; remove it first with firewall.remove")
                }
            };
            return Err(conflict(text));
        }
        if self.rules.len() >= MAX_RULES {
            return Err(CallError::invalid(format!("there are {MAX_RULES} rules, the most there can be")));
        }
        // A rule comes back under its number, and a new one takes the next. Others would never run out.
        if id == 0 || id > self.next || id == u32::MAX {
            return Err(conflict(format!("the next rule has the number {}", self.next)));
        }
        self.next = self.next.max(id + 1);
        self.rules.insert(id, rule.clone());
        Ok(())
    }

    fn ban(&mut self, of: Prefix, ban: Ban, now_ms: u64) -> Result<(), CallError> {
        ban.check(&of).map_err(CallError::invalid)?;
        if let Some(other) = self.bans.keys().find(|other| other.overlaps(&of) && **other != of) {
            let text =
                format!("{other} is banned already, which {of} overlaps; end that first with firewall.unban");
            return Err(conflict(text));
        }
        if self.bans.len() >= MAX_BANS && !self.bans.contains_key(&of) {
            return Err(CallError::invalid(format!("there are {MAX_BANS} bans, the most there can be")));
        }
        // A clock that was set back does not make it longer.
        let until_ms = ban.until_ms.min(now_ms.saturating_add(u64::from(ban.seconds) * 1_000));
        self.bans.insert(of, Ban { until_ms, ..ban });
        Ok(())
    }

    /// Whether there is a sender whose packets to the console pass. It errs on the side of yes: somebody who denies the world in
    /// two halves is not stopped.
    fn somebody_reaches_the_console(&self) -> bool {
        let (mut v4, mut v6) = (true, true);
        for (_, rule) in self.in_order() {
            match (rule.about_console(), rule.action, rule.from, &rule.interface) {
                (false, ..) => {}
                (true, Action::Allow, Some(from), _) if if from.is_ipv4() { v4 } else { v6 } => return true,
                (true, Action::Allow, Some(_), _) => {}
                (true, Action::Allow, None, _) => return v4 || v6,
                (true, Action::Deny, None, None) => return false,
                (true, Action::Deny, Some(from), None) if from.length() == 0 => match from.is_ipv4() {
                    true => v4 = false,
                    false => v6 = false,
                },
                (true, Action::Deny, ..) => {}
            }
        }
        v4 || v6
    }
}

fn conflict(text: String) -> CallError {
    CallError::new(ErrorCode::Conflict, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: Action, from: Option<&str>, port: Option<u16>) -> Rule {
        let ports = port.map(|port| Ports { transport: Transport::Tcp, first: port, last: port });
        Rule { action, from: from.map(|from| from.parse().expect("a prefix")), ports, interface: None }
    }

    fn add(state: &State, rule: Rule) -> Result<State, CallError> {
        let change = FirewallChange::Rule { id: state.next, before: None, after: Some(rule) };
        state.changed(&change, 0).map(|new| new.expect("it is new"))
    }

    fn ban(of: &str, until_ms: u64) -> FirewallChange {
        let ban = Ban { until_ms, seconds: 60, reason: "a test".into() };
        FirewallChange::Ban { of: of.parse().expect("a prefix"), before: None, after: Some(ban) }
    }

    #[test]
    fn nobody_locks_the_console_away_from_everybody() {
        use Action::{Allow, Deny};
        let open = State::open();
        assert_eq!(add(&open, rule(Deny, None, None)).expect_err("locks out").code, ErrorCode::Denied);
        add(&open, rule(Deny, None, Some(443))).expect_err("locks out");
        let v4 = add(&open, rule(Deny, Some("0.0.0.0/0"), None)).expect("IPv6 is left");
        add(&v4, rule(Deny, Some("::/0"), None)).expect_err("nothing is left");
        add(&open, rule(Deny, Some("192.0.2.0/24"), None)).expect("others are left");
        let allowed = add(&open, rule(Allow, Some("192.0.2.0/24"), Some(443))).expect("allows");
        let closed = add(&allowed, rule(Deny, None, None)).expect("somebody is left");
        let take = FirewallChange::Rule { id: 1, before: closed.rules.get(&1).cloned(), after: None };
        let error = closed.changed(&take, 0).expect_err("it was the last who could");
        assert!(error.message.contains("TCP port 443"), "{error}");
        assert!(State::closed().somebody_reaches_the_console());
    }

    #[test]
    fn a_rule_is_there_once_and_comes_back_only_as_it_was() {
        let state = add(&State::open(), rule(Action::Deny, None, Some(22))).expect("adds");
        let twice = add(&state, rule(Action::Deny, None, Some(22))).expect_err("is there");
        let opposite = add(&state, rule(Action::Allow, None, Some(22))).expect_err("the opposite");
        assert!(twice.message.contains("already") && opposite.message.contains("opposite"));
        let present = state.rules.get(&1).cloned();
        let take = FirewallChange::Rule { id: 1, before: present.clone(), after: None };
        let without = state.changed(&take, 0).expect("removes").expect("changes");
        assert_eq!(without.changed(&take, 0), Ok(None), "it is so already");
        let back = without.changed(&take.clone().reversed(), 0).expect("comes back").expect("changes");
        assert_eq!(back, state);
        let other = FirewallChange::Rule { id: 1, before: Some(rule(Action::Deny, None, None)), after: None };
        assert_eq!(state.changed(&other, 0).expect_err("another rule").code, ErrorCode::Conflict);
        let far =
            FirewallChange::Rule { id: 9, before: None, after: Some(rule(Action::Deny, None, Some(1))) };
        assert_eq!(state.changed(&far, 0).expect_err("not the next").code, ErrorCode::Conflict);
    }

    #[test]
    fn bans_do_not_overlap_and_one_that_is_over_is_none() {
        let state = State::open().changed(&ban("10.0.0.0/8", 1_000), 0).expect("bans").expect("changes");
        assert_eq!(
            state.changed(&ban("10.1.2.3", 1_000), 0).expect_err("overlaps").code,
            ErrorCode::Conflict
        );
        let later =
            state.changed(&ban("10.1.2.3", 9_000), 1_000).expect("the first is over").expect("changes");
        assert_eq!(later.bans.len(), 1);
        let undone = state.changed(&ban("10.0.0.0/8", 1_000).reversed(), 2_000).expect("is over by itself");
        assert_eq!(undone, None);
        let again = FirewallChange::Ban {
            of: "10.0.0.0/8".parse().expect("a prefix"),
            before: None,
            after: Some(Ban { until_ms: 5_000, seconds: 5, reason: String::new() }),
        };
        assert_eq!(state.changed(&again, 0).expect_err("is banned otherwise").code, ErrorCode::Conflict);
    }
}
