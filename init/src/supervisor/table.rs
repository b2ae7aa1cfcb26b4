//! All services, and what of them has to be known at every step without looking at each.

use super::service::{Phase, Service};
use std::collections::BTreeSet;
use std::time::Duration;

/// The services by number. Whoever changes one goes through [`Table::get_mut`]; [`Table::settle`] then brings
/// up to date what is known of all of them together.
#[derive(Debug, Default)]
pub(super) struct Table {
    list: Vec<Service>,
    known: Vec<Known>,
    /// To be looked at by [`Table::settle`].
    touched: Vec<usize>,
    /// Not told to the shell yet.
    changed: Vec<usize>,
    deadlines: BTreeSet<(Duration, usize)>,
    counts: Counts,
}

/// What is known of one service.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    touched: bool,
    changed: bool,
    deadline: Option<Duration>,
    waiting: bool,
    halting: bool,
    active: bool,
}

/// How many services are in a state in which something may have to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Have no run and are to have one.
    pub(super) waiting: usize,
    /// Have a run that is to end and was not asked to yet.
    pub(super) halting: usize,
    /// Have a run.
    pub(super) active: usize,
}

impl Table {
    pub(super) fn push(&mut self, service: Service) {
        self.list.push(service);
        self.known.push(Known::default());
        self.touch(self.list.len() - 1);
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Service> {
        self.list.get(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Service> + Clone {
        self.list.iter()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Service> {
        if index < self.list.len() {
            self.touch(index);
        }
        self.list.get_mut(index)
    }

    fn touch(&mut self, index: usize) {
        let Some(known) = self.known.get_mut(index) else { return };
        if !std::mem::replace(&mut known.touched, true) {
            self.touched.push(index);
        }
        if !std::mem::replace(&mut known.changed, true) {
            self.changed.push(index);
        }
    }

    /// Bring up to date what is known of the services that were changed.
    pub(super) fn settle(&mut self) {
        for index in std::mem::take(&mut self.touched) {
            let (Some(s), Some(known)) = (self.list.get(index), self.known.get_mut(index)) else { continue };
            let ends = matches!(s.phase, Phase::Starting { .. } | Phase::Running);
            let now = Known {
                touched: false,
                changed: known.changed,
                deadline: s.deadline(),
                waiting: s.waits(),
                halting: s.halt && ends,
                active: s.phase.active(),
            };
            let before = std::mem::replace(known, now);
            for (count, was, is) in [
                (&mut self.counts.waiting, before.waiting, now.waiting),
                (&mut self.counts.halting, before.halting, now.halting),
                (&mut self.counts.active, before.active, now.active),
            ] {
                *count = *count + usize::from(is) - usize::from(was);
            }
            if before.deadline != now.deadline {
                before.deadline.map(|at| self.deadlines.remove(&(at, index)));
                now.deadline.map(|at| self.deadlines.insert((at, index)));
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The earliest deadline of all.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Services whose deadline has passed.
    pub(super) fn overdue(&self, now: Duration) -> Vec<usize> {
        self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, index)| *index).collect()
    }

    /// Services that changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<usize> {
        let changed = std::mem::take(&mut self.changed);
        for index in &changed {
            if let Some(known) = self.known.get_mut(*index) {
                known.changed = false;
            }
        }
        changed
    }
}

impl FromIterator<Service> for Table {
    fn from_iter<I: IntoIterator<Item = Service>>(services: I) -> Self {
        let mut table = Self::default();
        services.into_iter().for_each(|service| table.push(service));
        table.settle();
        table
    }
}
