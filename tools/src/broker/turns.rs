//! Who may go on: turns of callers, and targets that are held while they are changed.

use crate::caller::Caller;
use crate::undo;
use aios_abi::{CallError, ErrorCode};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Calls that run at once; the next ones wait.
const MAX_RUNNING: u32 = 32;
/// Of these, so many of one caller: nobody takes the turns of all others with calls that last.
const MAX_OF_ONE: usize = 16;
/// How long a call waits for its turn before it is answered `Busy`.
const MAX_WAIT: Duration = Duration::from_secs(5);

pub(super) struct Turns {
    all: Semaphore,
    /// Those of each caller, a person or a daemon.
    own: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Of the caller's own and of all.
pub(super) struct Turn<'a> {
    _own: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'a>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { all: Semaphore::new(MAX_RUNNING as usize), own: Mutex::default() }
    }

    pub(super) async fn take(&self, caller: &Caller) -> Result<Turn<'_>, CallError> {
        let busy = |text: String| CallError::new(ErrorCode::Busy, text);
        let stopped = |_| CallError::unavailable("toold is being stopped; try again in a moment");
        let who = caller.person.as_ref().map_or(&caller.by, |person| &person.name);
        let own = {
            let mut all = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(who.clone()).or_insert_with(|| Arc::new(Semaphore::new(MAX_OF_ONE))).clone()
        };
        let own = tokio::time::timeout(MAX_WAIT, own.acquire_owned())
            .await
            .map_err(|_| busy(format!("{MAX_OF_ONE} calls of {who} are running; wait for one of them")))?;
        let turn = tokio::time::timeout(MAX_WAIT, self.all.acquire())
            .await
            .map_err(|_| busy(format!("{MAX_RUNNING} calls are running; try again in a moment")))?;
        Ok(Turn { _own: own.map_err(stopped)?, _of_all: turn.map_err(stopped)? })
    }

    /// Wait at most this long for all turns to come back, and give none any more: whoever waits for one is told so.
    pub(super) async fn close(&self, patience: Duration) {
        match tokio::time::timeout(patience, self.all.acquire_many(MAX_RUNNING)).await {
            Ok(_) => self.all.close(),
            Err(_) => tracing::warn!(
                "calls are still under way; changes among them will be recorded as interrupted"
            ),
        }
    }
}

/// What is being changed now: two changes to the same target do not run at once.
#[derive(Clone, Default)]
pub(super) struct Holds(Arc<Mutex<HashSet<String>>>);

/// A target that is held until this is dropped.
pub(super) struct Hold {
    holds: Holds,
    key: String,
}

impl Holds {
    pub(super) fn hold(&self, target: impl Display) -> Result<Hold, CallError> {
        let key = target.to_string();
        if !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return Err(CallError::new(
                ErrorCode::Conflict,
                format!("{key} is being changed by another call; try again when that is done"),
            ));
        }
        Ok(Hold { holds: self.clone(), key })
    }

    /// All targets of these changes, or none.
    pub(super) fn hold_all(&self, parts: &[undo::Part]) -> Result<Vec<Hold>, CallError> {
        let mut keys: Vec<String> = parts.iter().map(|(_, saved)| saved.target.to_string()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().map(|key| self.hold(key)).collect()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
