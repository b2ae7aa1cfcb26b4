//! What a request goes through: reserved, sent, read, settled.

use crate::budget::{Refusal, Ticket};
use crate::client::{Client, Failure};
use crate::config::Found;
use crate::dialect::Request;
use crate::ledger::{Ledger, NotReserved};
use crate::money::Micro;
use crate::reader::Reader;
use crate::serve::Asker;
use crate::watch;
use aios_abi::engine::{Budget, Cost, Generate, ModelInfo, WorkerState};
use aios_abi::{CallError, ErrorCode};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, Semaphore, watch as latest};

/// Requests that are asked at once.
pub(crate) const SLOTS: u32 = 4;

/// A server, or one sentence that says why there is none.
type Setup = Result<Arc<Client>, String>;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The settings.
    pub config: PathBuf,
    /// The folder of the budget's book.
    pub state: PathBuf,
    /// Files that name the name servers.
    pub name_servers: Vec<PathBuf>,
}

/// The worker, whoever speaks with it.
#[derive(Debug)]
pub struct Worker {
    places: Places,
    setup: latest::Sender<Setup>,
    /// Counts what has changed of the budget.
    spent: latest::Sender<u64>,
    ledger: Mutex<Option<Arc<Ledger>>>,
    slots: Semaphore,
}

impl Worker {
    /// Off, until [`follow`](Self::follow) has read the settings.
    pub fn new(places: Places) -> Self {
        Self {
            places,
            setup: latest::Sender::new(Err("the strategic tier has not read its settings yet".to_owned())),
            spent: latest::Sender::new(0),
            ledger: Mutex::new(None),
            slots: Semaphore::new(SLOTS as usize),
        }
    }

    /// Keep to the settings, for ever.
    pub async fn follow(&self) -> std::io::Result<()> {
        watch::follow(&self.places.config, |found| {
            let setup = self.set_up(found);
            let is_new = match (&setup, &*self.setup.borrow()) {
                (Err(new), Err(old)) => new != old,
                _ => true,
            };
            match &setup {
                Err(why) if is_new => tracing::info!("{why}"),
                Err(_) => {}
                Ok(client) => self.tell(client),
            }
            if is_new {
                drop(self.setup.send_replace(setup));
            }
        })
        .await
    }

    fn set_up(&self, found: Result<Found, String>) -> Setup {
        let client = Client::new(found?, &self.places.name_servers);
        let client = client.map_err(|why| format!("the strategic tier is off: {why}"))?;
        // Without a book nothing is sent, and it is better to say so before somebody asks.
        self.ledger()?;
        Ok(Arc::new(client))
    }

    fn tell(&self, client: &Client) {
        let settings = &client.settings;
        if let Ok(ledger) = self.ledger() {
            let (month, spent, requests) = ledger.summary();
            tracing::info!(
                "the strategic tier is on: {} at {}; in {month} {requests} requests have cost {spent} of {} {}",
                settings.model,
                client.host(),
                settings.limits.per_month,
                settings.currency
            );
        }
    }

    /// The book, opened when it is needed first.
    fn ledger(&self) -> Result<Arc<Ledger>, String> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ledger) = &*ledger {
            return Ok(ledger.clone());
        }
        let opened =
            Ledger::open(&self.places.state).map_err(|why| format!("the strategic tier is off: {why}"))?;
        Ok(ledger.insert(Arc::new(opened)).clone())
    }

    /// How it is.
    pub(crate) fn state(&self) -> WorkerState {
        let setup = self.setup.borrow().clone();
        let both = setup.and_then(|client| Ok((client, self.ledger()?)));
        match both {
            Err(why) if !self.places.config.exists() => WorkerState::Off(why),
            Err(why) => WorkerState::Failed(why),
            Ok((client, ledger)) => {
                let settings = &client.settings;
                WorkerState::Ready(ModelInfo {
                    name: settings.model.clone(),
                    // Nobody tells.
                    parameters: 0,
                    context: settings.context,
                    dimensions: 0,
                    threads: 0,
                    slots: SLOTS,
                    adapter: None,
                    reads: Vec::new(),
                    budget: Some(Budget {
                        currency: settings.currency.clone(),
                        per_month_micro: settings.limits.per_month.0,
                        spent_micro: ledger.spent().0,
                    }),
                    offload: None,
                })
            }
        }
    }

    /// Tells when [`state`](Self::state) may be another one.
    pub(crate) fn changes(&self) -> (latest::Receiver<Setup>, latest::Receiver<u64>) {
        (self.setup.subscribe(), self.spent.subscribe())
    }

    /// Have a text written; pieces of it go to who asked. When this returns, what it cost is in the book.
    ///
    /// # Errors
    /// One sentence; nothing was sent unless it says so.
    pub(crate) async fn generate(
        &self,
        generate: &Generate,
        cancel: &Notify,
        asker: &Asker,
    ) -> Result<Cost, CallError> {
        let _slot = tokio::select! {
            biased;
            () = cancel.notified() => return Err(cancelled()),
            slot = self.slots.acquire() => slot.map_err(|e| CallError::unavailable(e.to_string()))?,
        };
        let mut setup = self.setup.subscribe();
        let client = setup.borrow_and_update().clone().map_err(CallError::unavailable)?;
        let settings = &client.settings;
        let request = Request::new(settings, generate)?;
        let ledger = self.ledger().map_err(CallError::unavailable)?;
        let worst = request.worst(settings);
        let ticket = reserve(&ledger, &client, worst).await?;

        let mut reader = Reader::new(settings.kind, request.is_json, request.max_tokens);
        let is_sent = AtomicBool::new(false);
        let asking = async {
            is_sent.store(true, Ordering::Relaxed);
            client.ask(request.body, &mut reader, asker).await
        };
        let late = || {
            let seconds = settings.timeout.as_secs();
            let message = format!("{} was not done within {seconds} s (timeout_s)", client.host());
            CallError::new(ErrorCode::Timeout, message)
        };
        let given_up = |error| Err(Failure { error, may_cost: is_sent.load(Ordering::Relaxed) });
        // Who gives up drops the connection, and with it the server stops.
        let asked = tokio::select! {
            biased;
            () = cancel.notified() => given_up(cancelled()),
            () = switched_off(&mut setup) => given_up(CallError::unavailable("the strategic tier was switched off")),
            asked = tokio::time::timeout(settings.timeout, asking) => asked.unwrap_or_else(|_| given_up(late())),
        };

        let usage = reader.usage();
        let (actual, is_known) = match (&asked, usage) {
            (_, Some(usage)) => (settings.prices.of(&usage), true),
            (Err(Failure { may_cost: false, .. }), None) => (Micro::ZERO, true),
            _ => (worst, false),
        };
        let currency = &settings.currency;
        settle(&ledger, ticket, actual).await;
        self.spent.send_modify(|count| *count += 1);
        if actual > worst {
            tracing::warn!(
                "{} claims more than the request could cost: {actual} {currency} instead of {worst} at most; it is counted in full",
                client.host()
            );
        }
        match asked {
            Ok(is_cut) => {
                if !is_known {
                    tracing::warn!(
                        "{} did not say what its answer cost: all that was reserved counts, {worst} {currency}",
                        client.host()
                    );
                }
                let usage = usage.unwrap_or_default();
                let count = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
                Ok(Cost {
                    prompt: count(usage.prompt),
                    reused: count(usage.cached.min(usage.prompt)),
                    generated: count(usage.generated),
                    is_cut,
                    price_micro: actual.0,
                    ..Cost::default()
                })
            }
            Err(Failure { error: CallError { code, message }, .. }) => {
                let counted = match (is_known, actual) {
                    (true, Micro::ZERO) => String::new(),
                    (true, _) => format!("; it has cost {actual} {currency}"),
                    (false, _) => format!(
                        "; what it has cost is not known, so all that was reserved for it counts: {worst} {currency}"
                    ),
                };
                Err(CallError::new(code, format!("{message}{counted}")))
            }
        }
    }
}

/// The end of a request that was cancelled.
pub(crate) fn cancelled() -> CallError {
    CallError::new(ErrorCode::Cancelled, "cancelled by the caller")
}

/// The person has taken the settings away, or made them such that they do not count.
async fn switched_off(setup: &mut latest::Receiver<Setup>) {
    while setup.changed().await.is_ok() {
        if setup.borrow().is_err() {
            return;
        }
    }
    std::future::pending().await
}

/// On the disk when this returns. A disk may hang, so others go on meanwhile.
async fn reserve(ledger: &Arc<Ledger>, client: &Client, worst: Micro) -> Result<Ticket, CallError> {
    let (book, limits) = (ledger.clone(), client.settings.limits);
    let reserved = tokio::task::spawn_blocking(move || book.reserve(limits, worst)).await;
    let reserved = reserved.unwrap_or_else(|e| Err(NotReserved::Broken(e.to_string())));
    let currency = &client.settings.currency;
    reserved.map_err(|why| match why {
        NotReserved::Broken(why) => CallError::unavailable(format!("{why}; nothing was sent")),
        NotReserved::Refused(Refusal::Request { worst, limit }) => CallError::denied(format!(
            "the request could cost {worst} {currency}, and one may cost {limit} (per_request); nothing was sent. \
             Ask for less, or for a shorter answer"
        )),
        NotReserved::Refused(Refusal::Month { worst, spent, reserved, limit, month }) => {
            CallError::denied(format!(
                "the request could cost {worst} {currency}, and of {limit} for {month} (per_month; the newest month that \
                 the clock has shown) {} are left: {spent} are spent, {reserved} reserved for requests under way; \
                 nothing was sent",
                limit.less(spent).less(reserved)
            ))
        }
    })
}

async fn settle(ledger: &Arc<Ledger>, ticket: Ticket, actual: Micro) {
    let book = ledger.clone();
    let settled = tokio::task::spawn_blocking(move || book.settle(&ticket, actual)).await;
    if let Err(why) = settled.unwrap_or_else(|e| Err(e.to_string())) {
        tracing::error!("{why}; what was reserved for the last request goes on to count");
    }
}
