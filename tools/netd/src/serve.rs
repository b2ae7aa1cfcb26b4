//! What is answered on the daemon's socket, and to whom.

use crate::firewall::Firewall;
use crate::trial::Trials;
use crate::watch::Control;
use crate::{names, probe, trace};
use aios_abi::CallError;
use aios_abi::firewall::FirewallRequest;
use aios_abi::net::{Net, NetReply, NetRequest};
use aios_abi::server::{Context, Handler};
use aios_abi::who::uid;
use std::path::PathBuf;
use std::sync::Arc;

/// What answers.
pub(crate) struct Served {
    /// Where the name servers stand (resolv.conf(5)): the first file counts that has some.
    pub(crate) resolv_conf: Vec<PathBuf>,
    /// Changes on trial.
    pub(crate) trials: Trials,
    /// Who may reach this machine.
    pub(crate) firewall: Arc<Firewall>,
    /// The configuration.
    pub(crate) control: Control,
}

impl Handler<Net> for Served {
    async fn handle(
        self: Arc<Self>,
        context: Context<Net>,
        request: NetRequest,
    ) -> Result<NetReply, CallError> {
        // A name or a connection can carry a message away, and who changes the network can cut everybody off: only who
        // records what was asked for may ask. Started by hand, the daemons run as one user.
        let own = rustix::process::geteuid().as_raw();
        // The console tells who logs in, and nothing else.
        let tells = matches!(request, NetRequest::Firewall(FirewallRequest::Login { .. }));
        let wanted = if tells { uid::CONSOLE } else { uid::TOOLD };
        if ![uid::ROOT, wanted, own].contains(&context.peer.uid) {
            return Err(CallError::denied("netd is asked through the tools net.* and firewall.*"));
        }
        match request {
            NetRequest::Resolve { name, family } => names::look_up(&self.resolv_conf, &name, family).await,
            NetRequest::Connect { address, port, wait_ms } => probe::connect(address, port, wait_ms).await,
            NetRequest::Ping { address, count, wait_ms } => probe::ping(address, count, wait_ms).await,
            NetRequest::Trace { address, hops, wait_ms } => trace::trace(address, hops, wait_ms).await,
            NetRequest::Trial => Ok(NetReply::Trial(self.trials.running().await)),
            NetRequest::Confirm => self.trials.confirm().await.map(NetReply::TrialOver),
            NetRequest::TakeBack => self.trials.take_back().await.map(NetReply::TrialOver),
            NetRequest::Firewall(FirewallRequest::Try { change, seconds }) => {
                let attempt = Arc::clone(&self.firewall).attempt(change);
                self.trials.begin(attempt, seconds).await.map(|trial| NetReply::Trial(Some(trial)))
            }
            NetRequest::Firewall(request) => self.firewall.answer(request),
            NetRequest::Vpns => self.control.vpns().await.map(NetReply::Vpns),
            NetRequest::KeepSecret { name, secret } => {
                self.control.keep_secret(name, secret).await.map(|()| NetReply::Kept)
            }
            NetRequest::Setup => {
                let mut setup = self.control.show().await?;
                setup.trial = self.trials.running().await;
                Ok(NetReply::Setup(Box::new(setup)))
            }
            NetRequest::Try { change, seconds } => {
                let attempt = self.control.attempt(change)?;
                self.trials.begin(attempt, seconds).await.map(|trial| NetReply::Trial(Some(trial)))
            }
        }
    }
}
