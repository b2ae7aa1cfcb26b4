//! What a tool gets to work with. A tool has no globals: whatever it needs of the house is in here,
//! so that the same code can run in a worker process of its own.

use crate::audit::Log;
use crate::caller::Caller;
use crate::policy::Policy;
use aios_abi::client::Client;
use aios_abi::net::Net;
use aios_abi::service::Init;
use aios_abi::tool::Progress;
use aios_abi::{CallError, ErrorCode};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// The surroundings of one call.
pub struct Ctx {
    /// Who asks.
    pub caller: Caller,
    /// What may be touched.
    pub policy: Arc<Policy>,
    /// PID 1.
    pub init: Client<Init>,
    /// The network daemon, which asks other machines.
    pub net: Client<Net>,
    /// The audit chain, to be read.
    pub audit: Log,
    /// Until when it must be done.
    pub deadline: Instant,
    /// Set when nobody waits for the result any more.
    pub cancelled: Arc<AtomicBool>,
    /// Drives what waits for sockets; tools themselves run on a thread that may block.
    pub runtime: Handle,
    /// The way to the caller for what happens in between.
    pub progress: Option<mpsc::Sender<Progress>>,
}

impl Ctx {
    /// Wait for something that comes over a socket, until the deadline at the latest.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, CallError> {
        let until = self.deadline.into();
        self.runtime
            .block_on(async { tokio::time::timeout_at(until, work).await })
            .map_err(|_| CallError::new(ErrorCode::Timeout, "no answer within the tool's time limit"))
    }

    /// Milliseconds until the deadline.
    pub fn left_ms(&self) -> u32 {
        let left = self.deadline.saturating_duration_since(Instant::now()).as_millis();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Whether to go on: loops over much ask this now and then.
    pub fn check(&self) -> Result<(), CallError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(CallError::new(ErrorCode::Cancelled, "cancelled by the caller"));
        }
        if Instant::now() >= self.deadline {
            return Err(CallError::new(ErrorCode::Timeout, "not done within the tool's time limit"));
        }
        Ok(())
    }

    /// Tell the caller how far it is. A caller that does not read misses some of it.
    pub fn progress(&self, text: impl Into<String>, percent: Option<u8>) {
        if let Some(sender) = &self.progress {
            let _ = sender.try_send(Progress { text: text.into(), percent });
        }
    }
}
