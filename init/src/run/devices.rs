//! What the kernel says: its log, devices that come and go, the power button.

use super::Machine;
use super::held::Held;
use crate::poll::Token;
use crate::supervisor::Power;
use crate::{device, logs, power};
use std::io;

impl Machine {
    pub(super) fn kernel_spoke(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let mut buffer = [0; 8192];
        for _ in 0..256 {
            match io::Read::read(kernel, &mut buffer) {
                Ok(length) => {
                    let record = buffer.get(..length).unwrap_or_default();
                    if let Some((priority, text)) = logs::kernel_record(record) {
                        self.logs.push(logs::KERNEL, priority, &text);
                        if let Some(oom) = logs::oom_kill(&text) {
                            note_oom(&mut self.services, oom);
                        }
                    }
                }
                // Records were overwritten before we came; the next read goes on after them.
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => {
                    self.logs.push(logs::KERNEL, 4, "(records of the kernel were lost here)");
                }
                Err(_) => break,
            }
        }
    }

    pub(super) fn device_event(&mut self) {
        let (mut ports, mut input) = (false, false);
        let mut wanted = Vec::new();
        loop {
            let Some(uevents) = &self.uevents else { return };
            match uevents.next() {
                Ok(Some(event)) if event.action == "add" || event.action == "change" => {
                    ports |= event.subsystem == "virtio-ports";
                    input |= event.subsystem == "input";
                    wanted.extend(event.modalias);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                // Some were lost: look at everything.
                Err(_) => {
                    (ports, input) = (true, true);
                    for fault in self.modules.coldplug() {
                        self.logs.push(logs::INIT, 4, &fault);
                    }
                    break;
                }
            }
        }
        for modalias in wanted {
            for fault in self.modules.load_for(&modalias) {
                self.logs.push(logs::INIT, 4, &fault);
            }
        }
        if ports && !device::link_virtio_ports().is_empty() {
            for held in &self.services {
                held.unit.devices.iter().for_each(|device| crate::spawn::give_device(device, &held.unit));
            }
        }
        if input {
            self.find_buttons();
        }
    }

    pub(super) fn find_buttons(&mut self) {
        for path in power::buttons() {
            if self.buttons.values().any(|(known, _)| *known == path) {
                continue;
            }
            let Some(file) = power::open_button(&path) else { continue };
            let key = (0..).find(|key| !self.buttons.contains_key(key)).unwrap_or(0);
            if self.poller.readable(&file, Token::Button(key)).is_ok() {
                self.buttons.insert(key, (path, file));
            }
        }
    }

    pub(super) fn button(&mut self, key: u32) {
        let Some((_, file)) = self.buttons.get_mut(&key) else { return };
        match power::pressed(file) {
            Ok(true) => self.begin_shutdown(Power::Off, "power button"),
            Ok(false) => {}
            Err(_) => drop(self.buttons.remove(&key)),
        }
    }
}

/// The kernel killed a process for want of memory: who it was, for the report of its service's end.
fn note_oom(services: &mut [Held], oom: logs::OomKill) {
    if let Some(held) = services.iter_mut().find(|held| oom.service.as_ref() == Some(&held.unit.name)) {
        held.oom = Some(oom);
    }
}
