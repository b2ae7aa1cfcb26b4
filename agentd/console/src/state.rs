//! What all requests share.

use crate::cert;
use crate::claim::{ClaimCode, Gate};
use crate::lockout::Lockout;
use crate::overview::Sampler;
use crate::store::{Store, random};
use crate::uploads::Uploads;
use aios_abi::CallError;
use aios_abi::agent::Agent;
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::firewall::FirewallRequest;
use aios_abi::infer::Infer;
use aios_abi::net::{Net, NetRequest};
use aios_abi::service::Init;
use aios_abi::tool::{ToolInfo, ToolReply, ToolRequest, Tools};
use aios_abi::who::Person;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, watch};

/// Event streams at once.
pub const MAX_STREAMS: usize = 64;
/// Password hashes at once; each takes 19 MiB.
const MAX_HASHES: usize = 2;
/// Logins that may wait for their hash.
pub const MAX_LOGINS: usize = 16;

/// The daemons that the console asks.
#[derive(Clone)]
pub struct Daemons {
    /// PID 1.
    pub init: Client<Init>,
    /// The tool broker.
    pub toold: Client<Tools>,
    /// The agent.
    pub agentd: Client<Agent>,
    /// The inference daemon.
    pub inferd: Client<Infer>,
    /// The network daemon, which hears who logs in.
    pub netd: Client<Net>,
}

impl Daemons {
    /// The daemons whose sockets are in this directory. Nothing is opened before it is needed.
    pub fn at(run: &Path) -> Self {
        Self {
            init: Client::at(run.join("init.sock")),
            toold: Client::at(run.join("toold.sock")),
            agentd: Client::at(run.join("agentd.sock")),
            inferd: Client::at(run.join("inferd.sock")),
            netd: Client::at(run.join("netd.sock")),
        }
    }
}

/// Writes lines where only somebody in front of the machine reads them.
pub type Screen = Box<dyn Fn(String) + Send + Sync>;

/// The shared state.
pub struct App {
    /// Accounts, sessions, tokens.
    pub store: Arc<Store>,
    /// The daemons.
    pub daemons: Daemons,
    /// The certificate.
    pub identity: Arc<cert::Holder>,
    /// Version of the image.
    pub version: String,
    /// Makes overviews.
    pub sampler: Sampler,
    /// What people send to the machine.
    pub uploads: Uploads,
    /// Room for event streams.
    pub streams: Arc<Semaphore>,
    /// Room for logins that wait.
    pub logins: Semaphore,
    /// Room for password hashes.
    pub hashes: Arc<Semaphore>,
    /// Changes when a session or token ended, so that open streams look whether it was theirs.
    pub revoked: watch::Sender<()>,
    gate: Mutex<Option<Gate>>,
    lockout: Mutex<Lockout>,
    tools: Mutex<Option<Arc<Vec<ToolInfo>>>>,
    screen: Screen,
    started: Instant,
}

/// Handed to every handler.
pub type Shared = Arc<App>;

/// The critical sections in this crate cannot panic half-way; what a poisoned lock guards is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    /// Ready to serve. While the machine is unclaimed a claim code is made.
    pub fn new(
        store: Store,
        daemons: Daemons,
        identity: Arc<cert::Holder>,
        screen: Screen,
    ) -> Result<Shared, CallError> {
        let gate = if store.claimed()? { None } else { Some(Gate::new(new_code()?)) };
        Ok(Arc::new(Self {
            store: Arc::new(store),
            sampler: Sampler::new(daemons.clone()),
            uploads: Uploads::at(aios_abi::paths::UPLOADS),
            daemons,
            identity,
            version: crate::machine::version(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            logins: Semaphore::new(MAX_LOGINS),
            hashes: Arc::new(Semaphore::new(MAX_HASHES)),
            revoked: watch::Sender::new(()),
            gate: Mutex::new(gate),
            lockout: Mutex::new(Lockout::default()),
            tools: Mutex::new(None),
            screen,
            started: Instant::now(),
        }))
    }

    /// Write a line to the machine's own screen.
    pub fn show(&self, line: String) {
        (self.screen)(line);
    }

    /// The line that says whether the machine is claimed, with the code if it is not.
    pub fn claim_line(&self) -> String {
        match lock(&self.gate).as_ref() {
            Some(gate) => format!("aios: claim code {}", gate.code()),
            None => "aios: claimed".into(),
        }
    }

    /// The gate of an unclaimed machine; none when it is claimed.
    pub fn gate(&self) -> MutexGuard<'_, Option<Gate>> {
        lock(&self.gate)
    }

    /// Failed logins.
    pub fn lockout(&self) -> MutexGuard<'_, Lockout> {
        lock(&self.lockout)
    }

    /// Milliseconds since the start, of a clock that does not jump.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Tell the firewall that somebody at this address logged in or tried to: it bans those who guess. The login does not wait
    /// for that.
    pub fn tell_of_login(&self, address: IpAddr, good: bool) {
        let netd = self.daemons.netd.clone();
        tokio::spawn(async move {
            let meta = Meta::why("console: a login").deadline_ms(5_000);
            let request = NetRequest::Firewall(FirewallRequest::Login { address, good });
            if let Err(error) = netd.call(meta, request).await {
                tracing::warn!("the firewall was not told of a login from {address}: {error}");
            }
        });
    }

    /// Run work on the store that writes, away from the event loop.
    pub async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(&store))
            .await
            .map_err(|_| CallError::failed("work on the account file broke off; try once more"))?
    }

    /// Hash a password away from the event loop, few at once: each takes 19 MiB.
    pub async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let broke = || CallError::failed("checking the password broke off; try once more");
        let place = Arc::clone(&self.hashes).acquire_owned().await.map_err(|_| broke())?;
        // The place goes along: when the client leaves, the hash still runs to its end.
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        task.await.map_err(|_| broke())
    }

    /// All tools, asked for anew.
    pub async fn tools(&self, person: &Person) -> Result<Arc<Vec<ToolInfo>>, CallError> {
        let meta = Meta::why("console: list of tools").deadline_ms(10_000);
        let meta = meta.on_behalf_of(Some(person.clone()));
        let ToolReply::List(tools) = self.daemons.toold.call(meta, ToolRequest::List).await? else {
            return Err(unexpected("toold"));
        };
        let tools = Arc::new(tools);
        *lock(&self.tools) = Some(tools.clone());
        Ok(tools)
    }

    /// A tool by name: from the last list, or from a new one when it is not there.
    pub async fn tool(&self, person: &Person, name: &str) -> Result<ToolInfo, CallError> {
        let find = |tools: &[ToolInfo]| tools.iter().find(|tool| tool.name == name).cloned();
        let known = lock(&self.tools).as_ref().and_then(|tools| find(tools));
        if let Some(tool) = known {
            return Ok(tool);
        }
        find(&self.tools(person).await?).ok_or_else(|| {
            CallError::not_found(format!("there is no tool {name:?}; `aiosctl tools list` shows all"))
        })
    }
}

/// A reply that does not belong to its request: the two programs are of different versions.
pub fn unexpected(daemon: &str) -> CallError {
    CallError::failed(format!("{daemon} answered something else than was asked; are both of one image?"))
}

/// A fresh claim code.
pub fn new_code() -> Result<ClaimCode, CallError> {
    random().map(ClaimCode::from_random)
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
