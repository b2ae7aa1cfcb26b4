//! Host names. The program is static, so names are never resolved through libc: `/etc/hosts` and the
//! servers of `/etc/resolv.conf` are asked, and nobody else.

use hickory_resolver::{Resolver, TokioResolver};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Resolves names for the HTTP client.
pub(crate) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str().to_owned();
            if is_this_machine(&name) {
                let both: [SocketAddr; 2] =
                    [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
                return Ok(Box::new(both.into_iter()) as Addrs);
            }
            let resolver: TokioResolver = Resolver::builder_tokio()?.build()?;
            let found = resolver.lookup_ip(name.as_str()).await.map_err(|error| {
                match error.is_no_records_found() {
                    true => format!("no address is known for the name {name}"),
                    false => format!("the name {name} cannot be looked up: {error}"),
                }
            })?;
            let found: Vec<SocketAddr> = found.iter().map(|address| (address, 0).into()).collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// RFC 6761, section 6.3: such names are never looked up anywhere.
fn is_this_machine(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_and_what_is_under_it_never_leave_the_machine() {
        for name in ["localhost", "LOCALHOST.", "box.localhost"] {
            assert!(is_this_machine(name), "{name}");
        }
        assert!(!is_this_machine("localhost.example"));
    }
}
