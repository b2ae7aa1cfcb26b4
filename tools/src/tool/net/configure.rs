//! `net.configure`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Make, no_paths};
use crate::network::{self, Attempt, setup};
use crate::reach::{Asks, Needs};
use aios_abi::netconf::{ADDRESS_FORM, Change, Link, Method, PREFIX_FORM, Prefix};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// Configure a network interface. The change is taken back by itself unless it is confirmed in time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the interface, such as `eth0`.
    interface: String,
    /// Where its IPv4 address is from.
    method: Way,
    /// Own IPv4 addresses with the length of their network's prefix, such as `192.0.2.10/24`; with `static` alone.
    #[serde(default)]
    #[schemars(inner(regex(pattern = PREFIX_FORM)))]
    addresses: Vec<String>,
    /// Address of the router to everywhere else; with `static` alone.
    #[serde(default)]
    #[schemars(regex(pattern = ADDRESS_FORM))]
    gateway: Option<String>,
    /// Addresses of DNS servers; with `dhcp` they replace those of the DHCP server.
    #[serde(default)]
    #[schemars(inner(regex(pattern = ADDRESS_FORM)))]
    dns: Vec<String>,
    /// Domain for short names.
    #[serde(default)]
    search: Option<String>,
    /// Bytes of the largest packet; what the card has if none is given.
    #[serde(default)]
    #[schemars(range(min = 1_280, max = 65_535))]
    mtu: Option<u32>,
    /// Seconds that somebody has to confirm that the machine can still be reached.
    #[serde(default = "network::default_seconds")]
    #[schemars(range(min = 10, max = 600))]
    seconds: u16,
}

/// Where an address is from.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// From a DHCP server; link-local while none answers.
    Dhcp,
    /// From `addresses`.
    Static,
    /// An address of its own choice, for the link alone.
    LinkLocal,
    /// There is none.
    None,
    /// As the configuration file says, without what was configured here.
    AsFile,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 123,
    name: "net.configure",
    summary: "Configure a network interface: DHCP or static address, gateway, DNS servers, MTU",
    effect: Effect::Reversible,
    touches: &["the interface named: addresses, routes, packet size", "the DNS servers"],
    // It can cut everybody off, and who confirms it must be a person.
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        (
            "give eth0 the static address 192.0.2.10/24 with gateway 192.0.2.1",
            r#"{"interface":"eth0","method":"static","addresses":["192.0.2.10/24"],"gateway":"192.0.2.1"}"#,
        ),
        ("let eth0 use DHCP", r#"{"interface":"eth0","method":"dhcp"}"#),
        (
            "use 192.0.2.53 as the DNS server on eth0",
            r#"{"interface":"eth0","method":"dhcp","dns":["192.0.2.53"]}"#,
        ),
        ("set the MTU of eth1 to 9000", r#"{"interface":"eth1","method":"dhcp","mtu":9000}"#),
        ("take the IPv4 address away from eth1", r#"{"interface":"eth1","method":"none"}"#),
        (
            "forget what was configured for eth0 and go by its file",
            r#"{"interface":"eth0","method":"as_file"}"#,
        ),
    ],
    needs: Needs::NOTHING.asks(&[Asks::NetToAct]),
    code: &Make { paths: no_paths, prepare, summary: network::summary, undo: Some(network::UNDO) },
};

fn prepare(ctx: &Ctx, args: Args) -> Result<Attempt, CallError> {
    let seconds = args.seconds;
    let setup = setup(ctx)?;
    let name = args.interface.clone();
    let Some((_, counts)) = setup.links.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = setup.links.iter().map(|(name, _)| name.as_str()).collect();
        let text = format!("netd looks after no interface named {name}; there are: {}", known.join(", "));
        return Err(CallError::not_found(text));
    };
    let before = setup.settings.link.get(&name).cloned();
    let after = link(args)?;
    let then = match &after {
        Some(link) => lines(&name, link),
        None => format!("{name}: as its file says, or DHCP"),
    };
    let words = [lines(&name, counts), then];
    let change = Change::Link { name: name.clone(), before, after };
    Attempt::new(&setup, change, name, words, seconds)
}

fn link(args: Args) -> Result<Option<Link>, CallError> {
    let method = match args.method {
        Way::Dhcp => Method::Dhcp,
        Way::Static => Method::Static,
        Way::LinkLocal => Method::LinkLocal,
        Way::None => Method::None,
        Way::AsFile => {
            let more = [args.addresses.is_empty(), args.gateway.is_none(), args.dns.is_empty()];
            if more.contains(&false) || args.search.is_some() || args.mtu.is_some() {
                return Err(CallError::invalid("with `method` \"as_file\" nothing else can be given"));
            }
            return Ok(None);
        }
    };
    let invalid = |e: String| CallError::invalid(e);
    let addresses: Result<Vec<Prefix>, _> = args.addresses.iter().map(|text| text.parse()).collect();
    let dns: Result<Vec<IpAddr>, CallError> = args.dns.iter().map(|text| address(text)).collect();
    let gateway: Option<Ipv4Addr> = args.gateway.as_deref().map(address).transpose()?;
    let link = Link {
        method,
        addresses: addresses.map_err(invalid)?,
        gateway,
        dns: dns?,
        search: args.search,
        mtu: args.mtu,
    };
    link.check_sense().map_err(invalid)?;
    Ok(Some(link))
}

/// An IP address of a person's.
pub(crate) fn address<T: std::str::FromStr>(text: &str) -> Result<T, CallError> {
    text.trim().parse().map_err(|_| CallError::invalid(format!("{text:?} is no IP address that fits here")))
}

/// One line for each thing.
fn lines(name: &str, link: &Link) -> String {
    let method = match link.method {
        Method::Dhcp => "DHCP",
        Method::Static => "static",
        Method::LinkLocal => "link-local",
        Method::None => "none",
    };
    let mut text = format!("{name}: IPv4 {method}\n");
    for address in &link.addresses {
        let _ = writeln!(text, "address {address}");
    }
    if let Some(gateway) = link.gateway {
        let _ = writeln!(text, "gateway {gateway}");
    }
    for server in &link.dns {
        let _ = writeln!(text, "DNS server {server}");
    }
    if let Some(search) = &link.search {
        let _ = writeln!(text, "search {search}");
    }
    if let Some(mtu) = link.mtu {
        let _ = writeln!(text, "MTU {mtu}");
    }
    text
}
