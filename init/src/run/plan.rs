//! Going down at a later moment, as somebody asked for. The plan is in the state page: an error of init's own does not
//! make it forget.

use super::Machine;
use crate::clock::{self, milliseconds};
use crate::supervisor::Power;
use aios_abi::service::{MAX_DELAY_SECONDS, PlannedPower, PowerChange};
use aios_abi::who::Peer;
use aios_abi::{CallError, ErrorCode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Characters of a reason.
const MAX_WHY: usize = 200;

/// What is to be done, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Since the kernel's start.
    pub(super) at: Duration,
    power: PowerChange,
    why: String,
}

impl Plan {
    fn new(power: PowerChange, delay_seconds: u32, why: &str, now: Duration) -> Result<Self, CallError> {
        if delay_seconds > MAX_DELAY_SECONDS {
            return Err(CallError::invalid(format!(
                "a delay is at most {MAX_DELAY_SECONDS} seconds, a week"
            )));
        }
        let why = why.chars().filter(|c| !c.is_control()).take(MAX_WHY).collect();
        Ok(Self { at: now + Duration::from_secs(delay_seconds.into()), power, why })
    }

    fn told(&self, now: Duration) -> PlannedPower {
        PlannedPower {
            power: self.power,
            in_ms: milliseconds(self.at.saturating_sub(now)),
            why: self.why.clone(),
        }
    }

    fn power(&self) -> Power {
        match self.power {
            PowerChange::Off => Power::Off,
            PowerChange::Reboot => Power::Reboot,
        }
    }

    fn words(&self) -> &'static str {
        match self.power {
            PowerChange::Off => "switched off",
            PowerChange::Reboot => "restarted",
        }
    }
}

impl Machine {
    /// Plan it; what is to be done at once comes with the next turn of the loop, after the answer.
    pub(super) fn plan(
        &mut self,
        peer: Peer,
        power: PowerChange,
        delay_seconds: u32,
        why: &str,
    ) -> Result<PlannedPower, CallError> {
        let now = clock::now();
        let plan = Plan::new(power, delay_seconds, why, now)?;
        // At once is sooner than any plan.
        if let Some(other) = self.plan.as_ref().filter(|_| delay_seconds > 0) {
            let seconds = other.at.saturating_sub(now).as_secs();
            let text = format!(
                "the machine is to be {} in {seconds} s already ({}); call that off first",
                other.words(),
                other.why
            );
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        let (words, pid) = (plan.words(), peer.pid);
        self.logs.info(&format!(
            "the machine will be {words} in {delay_seconds} s, asked for by process {pid}: {why}"
        ));
        let told = plan.told(now);
        self.plan = Some(plan);
        self.remember_common();
        Ok(told)
    }

    /// What is to come.
    pub(super) fn planned(&self) -> Option<PlannedPower> {
        self.plan.as_ref().map(|plan| plan.told(clock::now()))
    }

    /// Call it off; what was called off.
    pub(super) fn call_off(&mut self, peer: Peer) -> Option<PlannedPower> {
        let plan = self.plan.take()?;
        self.logs.info(&format!(
            "the machine will not be {}: called off by process {}",
            plan.words(),
            peer.pid
        ));
        self.remember_common();
        Some(plan.told(clock::now()))
    }

    /// Do it when its time has come.
    pub(super) fn carry_out(&mut self) {
        let now = clock::now();
        if let Some(plan) = self.plan.take_if(|plan| plan.at <= now) {
            self.begin_shutdown(plan.power(), &format!("as planned: {}", plan.why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_bounded_and_says_how_long_it_is_until_then() {
        let now = Duration::from_secs(100);
        let plan = Plan::new(PowerChange::Off, 60, "new\ndisk", now).expect("fits");
        assert_eq!(plan.told(now + Duration::from_secs(45)).in_ms, 15_000);
        assert_eq!(plan.told(now + Duration::from_secs(99)).in_ms, 0);
        assert_eq!((plan.why.as_str(), plan.power()), ("newdisk", Power::Off));
        assert!(Plan::new(PowerChange::Reboot, MAX_DELAY_SECONDS + 1, "", now).is_err());
        let long = Plan::new(PowerChange::Reboot, 0, &"x".repeat(10_000), now).expect("fits");
        assert_eq!(long.why.len(), MAX_WHY);
    }
}
