//! When the machine is short of memory, models give way: they come back from their files, other programs do not.
//!
//! The kernel measures for how long programs wait for memory (PSI, `Documentation/accounting/psi.rst`) and wakes whoever
//! asked for it. Each time one model is dropped, the largest first, until nobody waits any more. A service that waits only
//! because it has reached a limit of its own is none of that: then the machine still has memory.

use crate::engine::Edge;
use crate::learn::Learned;
use crate::models::Models;
use aios_abi::infer::Tier;
use aios_gguf::Free;
use rustix::event::epoll;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Some program waited for memory for 0.2 of 2 seconds: a tenth of the time, as systemd's `MemoryPressureThresholdSec`.
const TRIGGER: &[u8] = b"some 200000 2000000\0";
/// The machine is short of memory when less than this part of it is available.
const PART: u64 = 8;

/// The kernel's file of memory pressure, with a trigger set.
pub struct Watch {
    edge: Edge,
    // The trigger lives as long as this.
    _file: OwnedFd,
}

impl Watch {
    /// Set the trigger in `/proc/pressure/memory`, open for reading and writing.
    ///
    /// # Errors
    /// A kernel without PSI, and a file that was opened by somebody who may not set triggers.
    pub fn new(file: OwnedFd) -> io::Result<Self> {
        if rustix::io::write(&file, TRIGGER)? != TRIGGER.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Self::of(file)
    }

    /// Watch a file in which the trigger is set.
    fn of(file: OwnedFd) -> io::Result<Self> {
        Ok(Self { edge: Edge::new(&file, epoll::EventFlags::PRI)?, _file: file })
    }

    /// Drop one model each time that the kernel tells of a shortage; before all of them, what is being learned.
    pub async fn give_way(self, models: Arc<Models>, learned: Arc<Learned>) {
        while self.edge.changed().await.is_ok() {
            if Free::now().is_ok_and(|free| free.available >= free.total / PART) {
                continue;
            }
            if learned.give_way() {
                tracing::warn!("the machine is short of memory: learning ends");
                continue;
            }
            let (tiers, chooser) = (models.tiers(), learned.chooser());
            let all = [tiers.engine(Tier::Tactical), tiers.engine(Tier::Operational), &chooser.embed];
            if let Some(engine) = all.into_iter().find(|engine| engine.snapshot().holds_memory) {
                tracing::warn!("the machine is short of memory: the {} model is dropped", engine.what());
                engine.drop_model();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendFlags, send};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[tokio::test]
    async fn each_alarm_is_heard_once() {
        // A socket has priority data where the kernel's file has an alarm.
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let watch = Watch::of(ours.into()).expect("watched");
        let quiet = Duration::from_millis(50);
        assert!(tokio::time::timeout(quiet, watch.edge.changed()).await.is_err());
        for _ in 0..3 {
            send(&theirs, b"!", SendFlags::OOB).expect("sent");
            watch.edge.changed().await.expect("heard");
            assert!(tokio::time::timeout(quiet, watch.edge.changed()).await.is_err(), "heard twice");
        }
    }

    #[tokio::test]
    async fn the_kernel_takes_the_trigger() {
        let file = std::fs::File::options().read(true).write(true).open("/proc/pressure/memory");
        Watch::new(file.expect("a kernel with PSI").into()).expect("is set");
        assert!(Watch::new(std::fs::File::open("/proc/self/stat").expect("opens").into()).is_err());
    }
}
