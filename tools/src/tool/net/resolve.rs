//! `net.resolve`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, system_conf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Where the name servers stand: resolv.conf(5), and what the network daemon got by DHCP.
const CONFIGURATION: [&str; 2] = ["/etc/resolv.conf", "/run/aios-netd/resolv.conf"];
/// The longest name that DNS has (RFC 1035).
const MAX_NAME: usize = 253;
/// How long one name server has for an answer; there are two attempts.
const PATIENCE: Duration = Duration::from_secs(2);

/// Look up the addresses of a host name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Host name, such as `example.org`; an address is answered as it is.
    name: String,
    /// Kind of address.
    #[serde(default)]
    family: Family,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

impl Family {
    fn fits(self, address: &IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

/// What the name stands for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Addresses {
    /// The name that was asked for.
    name: String,
    /// Its addresses, sorted.
    addresses: Vec<String>,
    /// Who said so: `literal`, `localhost` or `dns`.
    source: &'static str,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 33,
    name: "net.resolve",
    summary: "Look up the IP address of a host name with DNS",
    effect: Effect::Read,
    touches: &["the configured DNS servers"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("what is the address of gateway.lan?", r#"{"name":"gateway.lan"}"#),
        ("resolve example.org", r#"{"name":"example.org"}"#),
        ("which IP does the host debian.org have?", r#"{"name":"debian.org"}"#),
        ("dns lookup for localhost", r#"{"name":"localhost"}"#),
        ("find the IPv6 address of kernel.org", r#"{"name":"kernel.org","family":"ipv6"}"#),
        ("does DNS work for www.rust-lang.org?", r#"{"name":"www.rust-lang.org"}"#),
    ],
    code: &Look { run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Addresses, CallError> {
    let name = args.name.trim().trim_end_matches('.').to_lowercase();
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(CallError::invalid(format!("`name` must be a host name of 1 to {MAX_NAME} characters")));
    }
    let (mut addresses, source) = match without_asking(&name) {
        Some(known) => known,
        None => (ask(ctx, &name, args.family)?, "dns"),
    };
    addresses.retain(|address| args.family.fits(address));
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(CallError::not_found(format!("{name} has no address of that kind")));
    }
    Ok(Addresses { name, addresses: addresses.iter().map(ToString::to_string).collect(), source })
}

/// Addresses as they are, and `localhost`, which never goes to a server (RFC 6761, section 6.3).
fn without_asking(name: &str) -> Option<(Vec<IpAddr>, &'static str)> {
    if let Ok(address) = name.trim_matches(['[', ']']).parse() {
        return Some((vec![address], "literal"));
    }
    let local = name == "localhost" || name.ends_with(".localhost");
    local.then(|| (vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], "localhost"))
}

fn ask(ctx: &Ctx, name: &str, family: Family) -> Result<Vec<IpAddr>, CallError> {
    let (config, mut options) = configuration()?;
    options.timeout = PATIENCE;
    options.attempts = 2;
    options.cache_size = 0;
    options.ip_strategy = match family {
        Family::Any => LookupIpStrategy::Ipv4AndIpv6,
        Family::Ipv4 => LookupIpStrategy::Ipv4Only,
        Family::Ipv6 => LookupIpStrategy::Ipv6Only,
    };
    let answer = ctx.wait(async {
        let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()?;
        // A name with a dot is asked for as it is; the search list would only give strange answers.
        let asked = if name.contains('.') { format!("{name}.") } else { name.to_owned() };
        resolver.lookup_ip(asked).await
    });
    match answer {
        Ok(Ok(found)) => Ok(found.iter().collect()),
        Ok(Err(error)) => Err(meaning(name, &error)),
        Err(_) => Err(silent(name)),
    }
}

fn configuration() -> Result<(ResolverConfig, ResolverOpts), CallError> {
    for path in CONFIGURATION {
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
        NetError::Timeout => silent(name),
        NetError::NoConnections => {
            CallError::unavailable(format!("no DNS server could be reached to resolve {name}"))
        }
        other => CallError::failed(format!("{name} cannot be resolved: {other}")),
    }
}

fn silent(name: &str) -> CallError {
    CallError::new(ErrorCode::Timeout, format!("no DNS server answered in time when asked for {name}"))
}

fn summary(found: &Addresses) -> String {
    format!("{} is {}", found.name, found.addresses.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_need_no_server() {
        let known = |name| without_asking(name).map(|(addresses, source)| (addresses.len(), source));
        assert_eq!(known("192.0.2.1"), Some((1, "literal")));
        assert_eq!(known("[2001:db8::1]"), Some((1, "literal")));
        assert_eq!(known("localhost"), Some((2, "localhost")));
        assert_eq!(known("app.localhost"), Some((2, "localhost")));
        assert_eq!(known("example.org"), None);
    }

    #[test]
    fn no_such_name_and_no_answer_are_told_apart() {
        assert_eq!(meaning("x", &NetError::Timeout).code, ErrorCode::Timeout);
        assert_eq!(meaning("x", &NetError::NoConnections).code, ErrorCode::Unavailable);
    }
}
