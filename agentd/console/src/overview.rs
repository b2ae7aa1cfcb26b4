//! The overview: what the machine is doing, put together from the kernel and the daemons. Daemons that
//! do not answer take nothing away from the rest.

use crate::machine::{self, Cpu, Disk, Memory, Meter};
use crate::state::{Daemons, lock, unexpected, unix_ms};
use aios_abi::CallError;
use aios_abi::agent::{AgentReply, AgentRequest, AgentStatus};
use aios_abi::call::Meta;
use aios_abi::infer::{InferReply, InferRequest, InferStatus};
use aios_abi::service::{InitReply, InitRequest, MachineStatus, ServiceStatus};
use serde::Serialize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// How long a daemon may take.
const PATIENCE_MS: u32 = 2_000;
/// How often a stream shows a new overview.
const PACE: Duration = Duration::from_secs(2);

/// Everything on one page.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Identity and boot times.
    pub machine: MachineStatus,
    /// Processor load.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// File systems.
    pub disks: Vec<Disk>,
    /// Services.
    pub services: Vec<ServiceStatus>,
    /// Service files that were refused, and whatever else kept this overview from being whole.
    pub refused: Vec<String>,
    /// Engines and models, or why that is not known.
    pub inference: Result<InferStatus, String>,
    /// The agent, or why that is not known.
    pub agent: Result<AgentStatus, String>,
}

/// Makes overviews: one for all who look, and none while nobody does.
pub struct Sampler {
    inner: Arc<Inner>,
}

struct Inner {
    daemons: Daemons,
    meter: Mutex<Meter>,
    sender: watch::Sender<Option<Arc<Overview>>>,
    running: Mutex<bool>,
}

impl Sampler {
    /// A sampler that does nothing yet.
    pub fn new(daemons: Daemons) -> Self {
        let sender = watch::Sender::new(None);
        let (meter, running) = (Mutex::new(Meter::default()), Mutex::new(false));
        Self { inner: Arc::new(Inner { daemons, meter, sender, running }) }
    }

    /// One overview now.
    pub async fn now(&self) -> Overview {
        self.inner.sample().await
    }

    /// Follow the overviews. The first change comes at once or with the next sample.
    pub fn follow(&self) -> watch::Receiver<Option<Arc<Overview>>> {
        let mut running = lock(&self.inner.running);
        let receiver = self.inner.sender.subscribe();
        if !*running {
            *running = true;
            tokio::spawn(run(self.inner.clone()));
        }
        receiver
    }
}

/// Sample until nobody follows. Whether somebody does is decided under the lock that
/// [`Sampler::follow`] subscribes under, so that no follower is left without samples.
async fn run(inner: Arc<Inner>) {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        {
            let mut running = lock(&inner.running);
            if inner.sender.receiver_count() == 0 {
                *running = false;
                return;
            }
        }
        let overview = inner.sample().await;
        let _ = inner.sender.send(Some(Arc::new(overview)));
    }
}

impl Inner {
    async fn sample(&self) -> Overview {
        let (list, machine, inference, agent) =
            tokio::join!(self.list(), self.machine(), self.inference(), self.agent());
        let mut trouble = Vec::new();
        let (services, refused) = list.unwrap_or_else(|error| {
            trouble.push(format!("services are not known: {error}"));
            Default::default()
        });
        trouble.extend(refused);
        let machine = machine.unwrap_or_else(|_| machine::identity());
        Overview {
            time_ms: unix_ms(),
            machine,
            cpu: lock(&self.meter).read(),
            memory: machine::memory(),
            disks: machine::disks(),
            services,
            refused: trouble,
            inference: inference.map_err(|error| error.message),
            agent: agent.map_err(|error| error.message),
        }
    }

    async fn list(&self) -> Result<(Vec<ServiceStatus>, Vec<String>), CallError> {
        match self.daemons.init.call(meta(), InitRequest::List).await? {
            InitReply::List { services, refused } => Ok((services, refused)),
            _ => Err(unexpected("init")),
        }
    }

    async fn machine(&self) -> Result<MachineStatus, CallError> {
        match self.daemons.init.call(meta(), InitRequest::Machine).await? {
            InitReply::Machine(machine) => Ok(machine),
            _ => Err(unexpected("init")),
        }
    }

    async fn inference(&self) -> Result<InferStatus, CallError> {
        match self.daemons.inferd.call(meta(), InferRequest::Status).await? {
            InferReply::Status(status) => Ok(status),
            _ => Err(unexpected("inferd")),
        }
    }

    async fn agent(&self) -> Result<AgentStatus, CallError> {
        match self.daemons.agentd.call(meta(), AgentRequest::Status).await? {
            AgentReply::Status(status) => Ok(status),
            _ => Err(unexpected("agentd")),
        }
    }
}

fn meta() -> Meta {
    Meta::why("console: overview").deadline_ms(PATIENCE_MS)
}
