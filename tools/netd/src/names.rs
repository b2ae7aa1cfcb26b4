//! The names of other machines, by DNS, for those daemons of this one that have no network.

use aios_abi::net::{AddressFamily, NetReply};
use aios_abi::{CallError, ErrorCode};
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, system_conf};
use std::path::PathBuf;
use std::time::Duration;

/// How long one name server has for an answer; there are two attempts.
const PATIENCE: Duration = Duration::from_secs(2);

/// The addresses of a host. The name servers stand in the first of these files (resolv.conf(5)) that has some.
pub(crate) async fn look_up(
    files: &[PathBuf],
    name: &str,
    family: AddressFamily,
) -> Result<NetReply, CallError> {
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
