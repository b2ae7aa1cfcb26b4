//! Service files that change while the machine runs.

use super::held::{Held, specs};
use super::{LOG_KEEPER, Machine};
use crate::supervisor::{Event, Id};
use crate::{clock, resume};
use aios_abi::service::InitReply;
use aios_unit::{Start, Unit};

impl Machine {
    /// Read the service files again. What is refused stays as it was before.
    pub(super) fn rescan(&mut self) -> InitReply {
        let loaded = super::load(self.data == "disk");
        for sentence in &loaded.refused {
            self.logs.warn(&format!("service file refused: {sentence}"));
        }
        let (mut added, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for held in self.services.iter_mut().filter(|held| !held.gone) {
            if !loaded.units.iter().any(|unit| unit.name == held.unit.name) {
                held.gone = true;
                removed.push(held.unit.name.clone());
            }
        }
        for unit in loaded.units {
            // Thousands of new services take longer than a turn of the loop may.
            resume::turn(true);
            let name = unit.name.clone();
            match self.services.iter().position(|held| !held.gone && held.unit.name == name) {
                Some(index) => {
                    if self.services.get(index).is_some_and(|held| held.unit != unit) {
                        self.change_unit(index, unit);
                        changed.push(name);
                    }
                }
                None => {
                    self.add_unit(unit);
                    added.push(name);
                }
            }
        }
        let specs = specs(&self.services, LOG_KEEPER);
        let actions = self.supervisor.replace(specs, clock::both());
        self.perform_all(actions);
        self.happened(Event::Tick);
        for id in self.supervisor.listening() {
            self.listen_for(id, true);
        }
        self.refused = loaded.refused;
        self.bulky = true;
        let text = format!(
            "service files read again: {} new, {} changed, {} removed, {} refused",
            added.len(),
            changed.len(),
            removed.len(),
            self.refused.len()
        );
        self.logs.info(&text);
        InitReply::Rescanned { added, changed, removed, refused: self.refused.clone() }
    }

    fn change_unit(&mut self, index: usize, unit: Unit) {
        let Some(held) = self.services.get_mut(index) else { return };
        // A socket that moved is opened anew with the next run; who is connected to the old one stays so.
        held.sockets.retain(|(name, _)| {
            let place = |unit: &Unit| unit.sockets.iter().find(|s| s.name == *name).cloned();
            place(&held.unit) == place(&unit)
        });
        if unit.start == Start::Socket {
            held.sockets.iter().for_each(|(_, socket)| drop(self.poller.forget(socket)));
        }
        held.unit = unit;
        held.drop_standby();
        match &held.cgroup {
            Some(cgroup) => cgroup.limit(&held.unit.resources).iter().for_each(|fault| self.logs.warn(fault)),
            None => {
                held.make_cgroup(&mut self.logs);
                self.watch_cgroup(index);
            }
        }
        self.consider_standby(Id(index));
    }

    /// A new service takes the place of one that is gone, so that places do not become more and more.
    fn add_unit(&mut self, unit: Unit) {
        let held = Held::new(unit, &mut self.logs);
        let free = (0..self.services.len()).find(|index| {
            self.services.get(*index).is_some_and(|h| h.gone) && self.supervisor.is_free(Id(*index))
        });
        let index = free.unwrap_or(self.services.len());
        match self.services.get_mut(index) {
            Some(place) => {
                let old = std::mem::replace(place, held);
                // A file that came back has the same cgroup.
                if self.services.get(index).is_some_and(|h| h.unit.name != old.unit.name)
                    && let Some(cgroup) = old.cgroup
                {
                    cgroup.remove();
                }
            }
            None => self.services.push(held),
        }
        self.watch_cgroup(index);
    }
}
