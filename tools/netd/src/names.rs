//! What is asked of other machines for those daemons of this one that have no network: their names, by DNS, and
//! whether they answer ([`probe`]).

use crate::probe;
use aios_abi::net::{AddressFamily, Net, NetReply, NetRequest};
use aios_abi::server::{Context, Handler};
use aios_abi::who::uid;
use aios_abi::{CallError, ErrorCode};
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, system_conf};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long one name server has for an answer; there are two attempts.
const PATIENCE: Duration = Duration::from_secs(2);

/// What answers on the daemon's socket.
pub(crate) struct Names {
    /// Where the name servers stand (resolv.conf(5)): the first file counts that has some.
    pub(crate) files: Vec<PathBuf>,
}

impl Handler<Net> for Names {
    async fn handle(
        self: Arc<Self>,
        context: Context<Net>,
        request: NetRequest,
    ) -> Result<NetReply, CallError> {
        // A name or a connection can carry a message away: only who records what was asked for may ask. Started by hand, the
        // daemons run as one user.
        let own = rustix::process::geteuid().as_raw();
        if ![uid::ROOT, uid::TOOLD, own].contains(&context.peer.uid) {
            return Err(CallError::denied(
                "other machines are asked through the tools net.resolve, net.check_port and net.ping",
            ));
        }
        match request {
            NetRequest::Resolve { name, family } => look_up(&self.files, &name, family).await,
            NetRequest::Connect { address, port, wait_ms } => probe::connect(address, port, wait_ms).await,
            NetRequest::Ping { address, count, wait_ms } => probe::ping(address, count, wait_ms).await,
        }
    }
}

async fn look_up(files: &[PathBuf], name: &str, family: AddressFamily) -> Result<NetReply, CallError> {
    let (config, mut options) = configuration(files)?;
    options.timeout = PATIENCE;
    options.attempts = 2;
    options.cache_size = 0;
    options.ip_strategy = match family {
        AddressFamily::Any => LookupIpStrategy::Ipv4AndIpv6,
        AddressFamily::Ipv4 => LookupIpStrategy::Ipv4Only,
        AddressFamily::Ipv6 => LookupIpStrategy::Ipv6Only,
    };
    let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| meaning(name, &error))?;
    // A name with a dot is asked for as it is; the search list would only give strange answers.
    let asked = if name.contains('.') { format!("{name}.") } else { name.to_owned() };
    match resolver.lookup_ip(asked).await {
        Ok(found) => Ok(NetReply::Addresses(found.iter().collect())),
        Err(error) => Err(meaning(name, &error)),
    }
}

fn configuration(files: &[PathBuf]) -> Result<(ResolverConfig, ResolverOpts), CallError> {
    for path in files {
        if let Ok(text) = std::fs::read(path)
            && let Ok(found) = system_conf::parse_resolv_conf(text)
            && !found.0.name_servers().is_empty()
        {
            return Ok(found);
        }
    }
    Err(CallError::unavailable(
        "no DNS server is configured: the network gave none, or it is not up yet (net.interfaces tells)",
    ))
}

fn meaning(name: &str, error: &NetError) -> CallError {
    match error {
        e if e.is_nx_domain() => CallError::not_found(format!("the name {name} does not exist")),
        e if e.is_no_records_found() => CallError::not_found(format!("the name {name} has no address")),
        NetError::Timeout => CallError::new(
            ErrorCode::Timeout,
            format!("no DNS server answered in time when asked for {name}"),
        ),
        NetError::NoConnections => {
            CallError::unavailable(format!("no DNS server could be reached to resolve {name}"))
        }
        other => CallError::failed(format!("{name} cannot be resolved: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_such_name_and_no_answer_are_told_apart() {
        assert_eq!(meaning("x", &NetError::Timeout).code, ErrorCode::Timeout);
        assert_eq!(meaning("x", &NetError::NoConnections).code, ErrorCode::Unavailable);
    }
}
