//! Names of servers. The program is static, so the C library's resolver is never asked: the name servers of netd's file are.

use crate::config::is_private;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, system_conf};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How long one name server has for an answer; there are two attempts.
const PATIENCE: Duration = Duration::from_secs(2);

/// Resolves names for the HTTP client.
pub(crate) struct Names {
    /// The name servers stand in the first of these files (resolv.conf(5)) that has some.
    pub(crate) files: Vec<PathBuf>,
    /// Only addresses of one's own network count: what is said there is not encrypted.
    pub(crate) only_private: bool,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (files, only_private) = (self.files.clone(), self.only_private);
        Box::pin(async move {
            let mut found = look_up(&files, name.as_str()).await?;
            if only_private {
                found.retain(|address| is_private(*address));
                if found.is_empty() {
                    return Err(
                        "its address is outside of your network, and what is said there needs https".into()
                    );
                }
            }
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

async fn look_up(files: &[PathBuf], name: &str) -> Result<Vec<IpAddr>, String> {
    // RFC 6761, section 6.3: such names are never looked up anywhere.
    let plain = name.trim_end_matches('.').to_ascii_lowercase();
    if plain == "localhost" || plain.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let (config, mut options) = configuration(files)?;
    options.timeout = PATIENCE;
    options.attempts = 2;
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let failed = |error: &dyn std::fmt::Display| format!("its name cannot be resolved: {error}");
    let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| failed(&error))?;
    // A name with a dot is asked for as it is; the search list would only give strange answers.
    let asked = if plain.contains('.') { format!("{plain}.") } else { plain };
    match resolver.lookup_ip(asked).await {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_nx_domain() || error.is_no_records_found() => {
            Err("its name does not exist".to_owned())
        }
        Err(error) => Err(failed(&error)),
    }
}

fn configuration(files: &[PathBuf]) -> Result<(ResolverConfig, ResolverOpts), String> {
    for path in files {
        if let Ok(text) = std::fs::read(path)
            && let Ok(found) = system_conf::parse_resolv_conf(text)
            && !found.0.name_servers().is_empty()
        {
            return Ok(found);
        }
    }
    Err("no DNS server is configured: the network gave none, or it is not up yet".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_never_asked_for_and_without_name_servers_that_is_said() {
        assert_eq!(look_up(&[], "LOCALHOST.").await.expect("known").len(), 2);
        assert!(look_up(&[], "a.example").await.expect_err("nobody").contains("no DNS server"));
    }

    #[tokio::test]
    async fn without_tls_a_name_must_be_of_ones_own_network() {
        let names = Names { files: Vec::new(), only_private: true };
        let found = names.resolve("box.localhost".parse().expect("a name")).await.expect("loopback");
        assert_eq!(found.count(), 2);
    }
}
