//! When services run that are not always up.

use super::Supervisor;
use super::service::Phase;
use super::types::{Action, Id, Now, Start, Timer};
use std::time::Duration;

impl Supervisor {
    /// The run of a service that is not always up is over: wait for its timer or for somebody who knocks.
    pub(super) fn rest(&mut self, id: Id, now: Now, out: &mut Vec<Action>) {
        let Some(s) = self.services.get_mut(id.0).filter(|s| s.wanted) else { return };
        if s.spec.start == Start::Socket {
            s.resting = true;
            s.done = false;
            out.push(Action::Listen(id, true));
        } else if let Some(timer) = s.spec.timer.clone() {
            s.resting = true;
            let every = timer.every.map(|pause| now.boot + pause);
            self.schedule(id.0, &timer, every, now);
        }
    }

    /// At boot.
    pub(super) fn schedule_first(&mut self, index: usize, now: Now) {
        let Some(s) = self.services.get_mut(index) else { return };
        let Some(timer) = s.spec.timer.clone() else { return };
        let missed = timer.at.filter(|_| timer.catch_up).zip(s.spec.last_run).is_some_and(|(at, last)| {
            at.next_after(last.as_secs()).is_some_and(|moment| moment <= now.wall.as_secs())
        });
        let first = match timer.after_boot {
            _ if missed => Some(now.boot),
            Some(after) => Some(after.max(now.boot)),
            None => timer.every.map(|_| now.boot),
        };
        self.schedule(index, &timer, first, now);
    }

    /// The earlier one of this moment and the next of its calendar.
    fn schedule(&mut self, index: usize, timer: &Timer, moment: Option<Duration>, now: Now) {
        let calendar = timer.at.and_then(|at| moment_of(at.next_after(now.wall.as_secs())?, now));
        let jitter = timer.jitter.mul_f64(self.random.fraction());
        if let Some(s) = self.services.get_mut(index) {
            s.due = [moment, calendar].into_iter().flatten().min().map(|at| at + jitter);
        }
    }

    /// The clock was set: what waits for a moment of the calendar has to wait anew.
    pub(super) fn reschedule(&mut self, now: Now) {
        for index in 0..self.services.len() {
            let Some(s) = self.services.get(index) else { continue };
            let Some(timer) = s.spec.timer.clone().filter(|t| t.at.is_some() && s.resting && s.wanted) else {
                continue;
            };
            let every = timer.every.map(|pause| (s.since + pause).max(now.boot));
            let first = timer
                .after_boot
                .filter(|after| s.phase == Phase::Idle && s.run.is_none() && *after > now.boot);
            self.schedule(index, &timer, first.or(every), now);
        }
    }
}

/// A moment of the calendar as the time since boot.
fn moment_of(seconds: u64, now: Now) -> Option<Duration> {
    let ahead = Duration::from_secs(seconds).checked_sub(now.wall)?;
    Some(now.boot + ahead)
}
