//! `net.resolve`

use super::shared::unexpected;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::{Asks, Needs};
use aios_abi::net::{AddressFamily, NetReply, NetRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name that DNS has (RFC 1035).
const MAX_NAME: usize = 253;

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

/// Kind of address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

impl Family {
    fn asked(self) -> AddressFamily {
        match self {
            Self::Any => AddressFamily::Any,
            Self::Ipv4 => AddressFamily::Ipv4,
            Self::Ipv6 => AddressFamily::Ipv6,
        }
    }

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
    needs: Needs::NOTHING.read(&["/etc/hosts", "/run/aios-netd"]).asks(&[Asks::Net]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Addresses, CallError> {
    let (name, addresses, source) = look_up(ctx, &args.name, args.family)?;
    Ok(Addresses { name, addresses: addresses.iter().map(ToString::to_string).collect(), source })
}

/// The name as it was asked for, its addresses, at least one, and who said so.
pub(crate) fn look_up(
    ctx: &Ctx,
    name: &str,
    family: Family,
) -> Result<(String, Vec<IpAddr>, &'static str), CallError> {
    let name = name.trim().trim_end_matches('.').to_lowercase();
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(CallError::invalid(format!("`name` must be a host name of 1 to {MAX_NAME} characters")));
    }
    let (mut addresses, source) = match without_asking(&name) {
        Some(known) => known,
        None => (ask(ctx, &name, family.asked())?, "dns"),
    };
    addresses.retain(|address| family.fits(address));
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(CallError::not_found(format!("{name} has no address of that kind")));
    }
    Ok((name, addresses, source))
}

/// Addresses as they are, and `localhost`, which never goes to a server (RFC 6761, section 6.3).
fn without_asking(name: &str) -> Option<(Vec<IpAddr>, &'static str)> {
    if let Ok(address) = name.trim_matches(['[', ']']).parse() {
        return Some((vec![address], "literal"));
    }
    let local = name == "localhost" || name.ends_with(".localhost");
    local.then(|| (vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], "localhost"))
}

fn ask(ctx: &Ctx, name: &str, family: AddressFamily) -> Result<Vec<IpAddr>, CallError> {
    match ctx.net(NetRequest::Resolve { name: name.to_owned(), family })? {
        NetReply::Addresses(found) => Ok(found),
        _ => Err(unexpected()),
    }
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
}
