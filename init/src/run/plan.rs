//! Going down or to sleep at a later moment, as somebody asked for. The plan is in the state page: an error of init's own does not
//! make it forget.

use super::Machine;
use crate::clock::{self, milliseconds};
use crate::power;
use crate::supervisor::Power;
use aios_abi::service::{MAX_DELAY_SECONDS, PlannedPower, PowerChange};
use aios_abi::who::Peer;
use aios_abi::{CallError, ErrorCode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Characters of a reason.
const MAX_WHY: usize = 200;
/// What has been answered must have left the machine before it sleeps, and nothing tells when it has.
const ANSWERS: Duration = Duration::from_secs(2);

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
        let delay = Duration::from_secs(delay_seconds.into());
        let delay = match power {
            PowerChange::Suspend { .. } => delay.max(ANSWERS),
            PowerChange::Off | PowerChange::Reboot => delay,
        };
        Ok(Self { at: now + delay, power, why })
    }

    fn told(&self, now: Duration) -> PlannedPower {
        PlannedPower {
            power: self.power,
            in_ms: milliseconds(self.at.saturating_sub(now)),
            why: self.why.clone(),
        }
    }

    fn words(&self) -> &'static str {
        match self.power {
            PowerChange::Off => "switched off",
            PowerChange::Reboot => "restarted",
            PowerChange::Suspend { .. } => "sent to sleep",
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
        // To go down at once is sooner than any plan, and leaves none; a sleep would only put itself in its place.
        if let Some(other) = self.plan.as_ref().filter(|_| plan.at > now) {
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
        let Some(plan) = self.plan.take_if(|plan| plan.at <= now) else { return };
        let why = format!("as planned: {}", plan.why);
        match plan.power {
            PowerChange::Off => self.begin_shutdown(Power::Off, &why),
            PowerChange::Reboot => self.begin_shutdown(Power::Reboot, &why),
            PowerChange::Suspend { wake_after_seconds } => self.sleep(wake_after_seconds, &why),
        }
    }

    /// Everything stands still in here until the machine wakes.
    fn sleep(&mut self, wake_after_seconds: u32, why: &str) {
        let until = match wake_after_seconds {
            0 => String::new(),
            seconds => format!(" for {seconds} s"),
        };
        self.logs.info(&format!("going to sleep{until} ({why})"));
        // Whatever comes, it is not to be done again.
        self.remember_common();
        let began = clock::with_sleep();
        let slept = power::suspend(wake_after_seconds, &mut self.watchdog);
        self.remember_common();
        match slept {
            Ok(()) => {
                let seconds = clock::with_sleep().saturating_sub(began).as_secs();
                self.logs.info(&format!("awake after {seconds} s"));
            }
            Err(why) => self.logs.warn(&format!("the machine does not sleep: {why}")),
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
        assert_eq!((plan.why.as_str(), plan.power), ("newdisk", PowerChange::Off));
        assert!(Plan::new(PowerChange::Reboot, MAX_DELAY_SECONDS + 1, "", now).is_err());
        let long = Plan::new(PowerChange::Reboot, 0, &"x".repeat(10_000), now).expect("fits");
        assert_eq!(long.why.len(), MAX_WHY);
    }
}
