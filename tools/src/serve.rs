//! The broker behind its socket.

use crate::broker::{Broker, Way};
use crate::caller::Caller;
use aios_abi::call::Meta;
use aios_abi::server::{Context, Handler};
use aios_abi::tool::{ToolReply, ToolRequest, Tools};
use aios_abi::{CallError, who::Peer};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Progress messages that may wait for a caller who reads slowly.
const PROGRESS: usize = 64;
/// Strangers turned away of whom log and audit chain tell, in each [`WINDOW`].
const STRANGERS: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// Decides who a peer is; [`caller::identify`](crate::caller::identify) on the appliance.
pub type Identify = dyn Fn(&Peer, &Meta) -> Result<Caller, CallError> + Send + Sync;

/// Answers the requests of the tool protocol.
pub struct Server {
    broker: Arc<Broker>,
    identify: Box<Identify>,
    strangers: Mutex<Strangers>,
}

impl Server {
    /// Put a broker behind a socket.
    pub fn new(broker: Arc<Broker>, identify: Box<Identify>) -> Self {
        let strangers = Strangers { since: Instant::now(), count: 0 };
        Self { broker, identify, strangers: Mutex::new(strangers) }
    }

    async fn turn_away(&self, peer: Peer, request: &ToolRequest, error: &CallError) {
        let recorded = self.strangers.lock().unwrap_or_else(PoisonError::into_inner).record(Instant::now());
        if recorded {
            tracing::warn!("turned away process {} of user {}: {error}", peer.pid, peer.uid);
            self.broker.turned_away(format!("uid {}", peer.uid), request, error).await;
        }
    }
}

impl Handler<Tools> for Server {
    fn knows(&self, peer: &Peer) -> bool {
        (self.identify)(peer, &Meta::default()).is_ok()
    }

    fn at_once(
        &self,
        peer: &Peer,
        meta: &Meta,
        request: &ToolRequest,
    ) -> Option<Result<ToolReply, CallError>> {
        let caller = (self.identify)(peer, meta).ok()?;
        self.broker.at_once(caller, meta, request)
    }

    async fn handle(
        self: Arc<Self>,
        context: Context<Tools>,
        request: ToolRequest,
    ) -> Result<ToolReply, CallError> {
        let caller = match (self.identify)(&context.peer, &context.meta) {
            Ok(caller) => caller,
            Err(error) => {
                self.turn_away(context.peer, &request, &error).await;
                return Err(error);
            }
        };
        let (sender, mut progress) = mpsc::channel(PROGRESS);
        // Set when this future is dropped: the caller cancelled, has gone, or its deadline passed.
        let gone = Gone(Arc::default());
        let way = Way::new(caller, context.meta.clone()).watched(sender, gone.0.clone());
        // In a task of its own: a change that was begun is finished, and every call gets its record.
        let mut work = tokio::spawn(self.broker.clone().answer(way, request));
        loop {
            tokio::select! {
                biased;
                Some(event) = progress.recv() => context.send(event).await?,
                result = &mut work => {
                    return result.unwrap_or_else(|fault| {
                        tracing::error!("a request ended in a fault: {fault}");
                        Err(CallError::failed("the broker stopped at a fault of its own; its log has the place"))
                    });
                }
            }
        }
    }
}

struct Gone(Arc<Notify>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Bounds what strangers can add to log and audit chain.
struct Strangers {
    since: Instant,
    count: u32,
}

impl Strangers {
    fn record(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
        self.count <= STRANGERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_fill_the_audit_chain() {
        let start = Instant::now();
        let mut strangers = Strangers { since: start, count: 0 };
        assert_eq!((0..1000).filter(|_| strangers.record(start)).count(), STRANGERS as usize);
        assert!(strangers.record(start + WINDOW));
    }
}
