//! How the network is set up, and changes of that on trial.
//!
//! What tools set is one document, [`Settings`]; netd keeps it as a file. Whoever changes it says what there was before
//! ([`Change`]): so nothing is changed that somebody else has changed meanwhile, and the same change the other way round
//! takes it back.

mod vpn;

pub use vpn::{
    ENDPOINT_FORM, KEY_FORM, MAX_PEERS, MAX_VPNS, Peer, PeerState, Vpn, VpnState, check_key,
    check_secret_name,
};

use crate::{CallError, ErrorCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Seconds after which a change is taken back when nobody says how long.
pub const TRIAL_SECONDS: u16 = 60;
/// The least that a trial lasts.
pub const MIN_TRIAL_SECONDS: u16 = 10;
/// The most.
pub const MAX_TRIAL_SECONDS: u16 = 600;
/// Bytes of a largest packet; with less IPv6 does not work (RFC 8200, section 5).
pub const MIN_MTU: u32 = 1_280;
/// The most that a link may have.
pub const MAX_MTU: u32 = 65_535;
/// Addresses, name servers and ways of one thing.
pub const MAX_OF_ONE: usize = 16;
/// Routes that are set.
pub const MAX_ROUTES: usize = 256;
/// What counts among routes to the same network when nobody says it: before all routes of links.
pub const ROUTE_METRIC: u32 = 50;

/// A change that netd takes back by itself unless somebody confirms it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// What is tried, in a few words.
    pub what: String,
    /// Seconds until it is taken back.
    pub seconds_left: u16,
}

/// An address and how many of its first bits name the network: `192.0.2.10/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network, 0 to 32 or 128.
    pub length: u8,
}

impl Prefix {
    /// An address with the length of its network, if it fits.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        (length <= most).then_some(Self { address, length })
    }

    /// All of IPv4 or of IPv6.
    pub fn everything(v6: bool) -> Self {
        let address = if v6 { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0; 4]) };
        Self { address, length: 0 }
    }

    /// Whether an address lies in the network.
    pub fn contains(self, other: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let same = (bits(self.address) ^ bits(other)).leading_zeros();
        self.address.is_ipv4() == other.is_ipv4() && same >= u32::from(self.length)
    }

    /// Whether it names a network and not one address in it.
    pub fn is_network(self) -> bool {
        let host = match self.address {
            IpAddr::V4(v4) => u128::from(v4.to_bits().checked_shl(self.length.into()).unwrap_or(0)),
            IpAddr::V6(v6) => v6.to_bits().checked_shl(self.length.into()).unwrap_or(0),
        };
        host == 0
    }
}

/// What texts with an address look like, as regular expressions of JSON Schema; not all that look so are one.
macro_rules! form {
    ($instead:literal, $after:literal) => {
        concat!(
            "^(?:",
            $instead,
            r"(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)",
            $after,
            ")$"
        )
    };
}

/// An address.
pub const ADDRESS_FORM: &str = form!("", "");
/// An address with the length of a prefix.
pub const PREFIX_FORM: &str = form!("", "/[0-9]{1,3}");
/// An address with or without one.
pub const SENDERS_FORM: &str = form!("", "(?:/[0-9]{1,3})?");
/// Where a route leads to: a network, or everywhere.
pub const TARGET_FORM: &str = form!("default|", "/[0-9]{1,3}");

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(address, length)| Self::new(address.parse().ok()?, length.parse().ok()?));
        parsed.ok_or_else(|| format!("{text:?} is no address with a prefix, such as 192.0.2.10/24"))
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// How a link gets its IPv4 address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// From a server; link-local while none answers.
    #[default]
    Dhcp,
    /// From the configuration.
    Static,
    /// RFC 3927, without asking a server.
    LinkLocal,
    /// Not at all.
    None,
}

/// What is configured for one link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenLink")]
pub struct Link {
    /// Where the address is from.
    #[serde(rename = "ipv4")]
    pub method: Method,
    /// Its own IPv4 addresses, if static.
    pub addresses: Vec<Prefix>,
    /// The way to everywhere else, if static.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Domain for short names.
    pub search: Option<String>,
    /// Bytes of the largest packet, [`MIN_MTU`] to [`MAX_MTU`]; what the card has if none.
    pub mtu: Option<u32>,
}

/// A link as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLink {
    #[serde(default)]
    ipv4: Method,
    #[serde(default)]
    addresses: Vec<Prefix>,
    gateway: Option<Ipv4Addr>,
    #[serde(default)]
    dns: Vec<IpAddr>,
    search: Option<String>,
    mtu: Option<u32>,
}

impl TryFrom<WrittenLink> for Link {
    type Error = String;

    fn try_from(written: WrittenLink) -> Result<Self, String> {
        let WrittenLink { ipv4: method, addresses, gateway, dns, search, mtu } = written;
        let search = match search {
            Some(name) => Some(domain(&name).ok_or_else(|| format!("search = {name:?} is no domain name"))?),
            None => None,
        };
        let link = Self { method, addresses, gateway, dns, search, mtu };
        link.check().map(|()| link)
    }
}

impl Link {
    /// Whether it can be, in one sentence if not.
    pub fn check(&self) -> Result<(), String> {
        let Self { method, addresses, gateway, dns, search, mtu } = self;
        if *method == Method::Static && addresses.is_empty() {
            return Err("ipv4 = \"static\" needs `addresses`".into());
        }
        if *method != Method::Static && (gateway.is_some() || !addresses.is_empty()) {
            return Err("`addresses` and `gateway` need ipv4 = \"static\"".into());
        }
        if addresses.len() > MAX_OF_ONE || dns.len() > MAX_OF_ONE {
            return Err(format!("at most {MAX_OF_ONE} addresses and name servers can be given"));
        }
        for own in addresses {
            let IpAddr::V4(address) = own.address else {
                return Err(format!("{own} is no IPv4 address; those of IPv6 come from the router"));
            };
            if own.length == 0 || !is_host(address) {
                return Err(format!("{own} is not the address of a machine with its network's prefix"));
            }
        }
        if let Some(gateway) = gateway.filter(|gateway| !is_host(*gateway)) {
            return Err(format!("gateway = \"{gateway}\" is not the address of a machine"));
        }
        if let Some(name) = search.as_ref().filter(|name| domain(name).as_ref() != Some(*name)) {
            return Err(format!("search = {name:?} is no domain name"));
        }
        if let Some(mtu) = mtu.filter(|mtu| !(MIN_MTU..=MAX_MTU).contains(mtu)) {
            return Err(format!("mtu = {mtu} is not {MIN_MTU} to {MAX_MTU} bytes"));
        }
        Ok(())
    }

    /// Whether its parts fit each other. A file may say what looks wrong, a person who wrote it knows; a tool's call may not.
    pub fn check_sense(&self) -> Result<(), String> {
        self.check()?;
        let Some(gateway) = self.gateway else { return Ok(()) };
        let hosts_only = self.addresses.iter().all(|own| own.length == 32);
        if !hosts_only && !self.addresses.iter().any(|own| own.contains(gateway.into())) {
            let networks: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
            return Err(format!(
                "the gateway {gateway} does not lie in the network of {}",
                networks.join(" or ")
            ));
        }
        if self.addresses.iter().any(|own| own.address == IpAddr::V4(gateway)) {
            return Err(format!("the gateway {gateway} is the link's own address"));
        }
        Ok(())
    }
}

impl fmt::Display for Link {
    /// In a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.method {
            Method::Dhcp => f.write_str("DHCP")?,
            Method::LinkLocal => f.write_str("a link-local address")?,
            Method::None => f.write_str("no IPv4")?,
            Method::Static => {
                let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
                f.write_str(&addresses.join(" "))?;
            }
        }
        if let Some(gateway) = self.gateway {
            write!(f, ", gateway {gateway}")?;
        }
        if !self.dns.is_empty() {
            let servers: Vec<_> = self.dns.iter().map(ToString::to_string).collect();
            write!(f, ", DNS {}", servers.join(" "))?;
        }
        if let Some(search) = &self.search {
            write!(f, ", search {search}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, ", MTU {mtu}")?;
        }
        Ok(())
    }
}

fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback())
}

/// A domain that can stand in resolv.conf(5). A server could send anything, line ends included.
pub fn domain(name: &str) -> Option<String> {
    let name = name.trim_end_matches(['\0', '.']);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!name.is_empty() && name.len() <= 253 && name.chars().all(fits)).then(|| name.to_owned())
}

/// A name that a network interface may have (`dev_valid_name` in the kernel), without what people mistype.
pub fn interface_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match !name.is_empty() && name.len() < 16 && name.chars().all(fits) && !matches!(name, "." | "..") {
        true => Ok(()),
        false => {
            Err(format!("{name:?} is no name of a network interface (1 to 15 letters, digits, -, . and _)"))
        }
    }
}

/// A way that packets to a network take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The network.
    pub to: Prefix,
    /// Among routes to the same network the lowest counts, 1 or more.
    pub metric: u32,
    /// Through whom; of several, each connection takes one, by weight.
    pub hops: Vec<Hop>,
}

/// One of the routers or links that a route leads through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// The router; without one whoever is meant is on the link itself.
    pub via: Option<IpAddr>,
    /// The link; found by the router's address if none.
    pub interface: Option<String>,
    /// How much of the traffic it gets compared with the others, 1 to 256.
    pub weight: u16,
}

impl Route {
    /// What tells it from other routes.
    pub fn key(&self) -> (Prefix, u32) {
        (self.to, self.metric)
    }

    /// Whether it can be, in one sentence if not.
    pub fn check(&self) -> Result<(), String> {
        let Self { to, metric, hops } = self;
        if !to.is_network() {
            return Err(format!(
                "{to} names an address in a network; the network ends in zeros behind its prefix"
            ));
        }
        if *metric == 0 {
            return Err("a route's metric must be 1 or more".into());
        }
        if hops.is_empty() || hops.len() > MAX_OF_ONE {
            return Err(format!("a route leads through 1 to {MAX_OF_ONE} routers or links"));
        }
        for hop in hops {
            if let Some(name) = &hop.interface {
                interface_name(name)?;
            }
            if !(1..=256).contains(&hop.weight) {
                return Err(format!("a weight of {} is not 1 to 256", hop.weight));
            }
            match hop.via {
                None if hop.interface.is_none() => {
                    return Err("each way of a route needs a router, an interface or both".into());
                }
                Some(via) if via.is_ipv4() != to.address.is_ipv4() => {
                    return Err(format!("{via} cannot be the router to {to}: one is IPv4, the other IPv6"));
                }
                Some(via) if via.is_unspecified() || via.is_multicast() || via.is_loopback() => {
                    return Err(format!("{via} is not the address of a router"));
                }
                _ => {}
            }
        }
        let ways: Vec<_> = hops.iter().map(|hop| (hop.via, &hop.interface)).collect();
        if (1..ways.len()).any(|n| ways[n..].contains(&ways[n - 1])) {
            return Err("a route names the same way twice; give it a greater weight instead".into());
        }
        Ok(())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to.length {
            0 => f.write_str("default")?,
            _ => write!(f, "{}", self.to)?,
        }
        for hop in &self.hops {
            if let Some(via) = hop.via {
                write!(f, " via {via}")?;
            }
            if let Some(interface) = &hop.interface {
                write!(f, " on {interface}")?;
            }
            if self.hops.len() > 1 {
                write!(f, " (weight {})", hop.weight)?;
            }
        }
        write!(f, ", metric {}", self.metric)
    }
}

/// What tools have set; what is not in here is as the files of a person say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Links, by name.
    #[serde(default)]
    pub link: BTreeMap<String, Link>,
    /// Routes, by network and metric.
    #[serde(default)]
    pub route: Vec<Route>,
    /// Tunnels, by interface.
    #[serde(default)]
    pub vpn: BTreeMap<String, Vpn>,
}

/// One change of the [`Settings`]: what there is before and after it; nothing if it is not set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Of a link.
    Link {
        /// Its name.
        name: String,
        /// Before.
        before: Option<Link>,
        /// After.
        after: Option<Link>,
    },
    /// Of a route; the network and metric of both is the same.
    Route {
        /// Before.
        before: Option<Route>,
        /// After.
        after: Option<Route>,
    },
    /// Of a tunnel.
    Vpn {
        /// Its interface.
        name: String,
        /// Before.
        before: Option<Vpn>,
        /// After.
        after: Option<Vpn>,
    },
}

impl Change {
    /// The same change the other way round.
    pub fn reversed(self) -> Self {
        match self {
            Self::Link { name, before, after } => Self::Link { name, before: after, after: before },
            Self::Route { before, after } => Self::Route { before: after, after: before },
            Self::Vpn { name, before, after } => Self::Vpn { name, before: after, after: before },
        }
    }

    /// Whether nothing would be different.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Link { before, after, .. } => before == after,
            Self::Route { before, after } => before == after,
            Self::Vpn { before, after, .. } => before == after,
        }
    }
}

impl fmt::Display for Change {
    /// What there will be, in a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { name, after: Some(link), .. } => write!(f, "{name} with {link}"),
            Self::Link { name, after: None, .. } => write!(f, "{name} as its file says"),
            Self::Route { after: Some(route), .. } => write!(f, "the route {route}"),
            Self::Route { before: Some(route), .. } => write!(f, "no route {route}"),
            Self::Route { .. } => f.write_str("no change of routes"),
            Self::Vpn { name, after: Some(vpn), .. } => write!(f, "{name} with {vpn}"),
            Self::Vpn { name, after: None, .. } => write!(f, "no tunnel {name}"),
        }
    }
}

impl Settings {
    /// The routes that are set, and those that tunnels need and nobody has set otherwise.
    pub fn routes(&self) -> Vec<Route> {
        let mut all = self.route.clone();
        for route in self.vpn.iter().flat_map(|(name, vpn)| vpn.routes(name)) {
            if !all.iter().any(|other| other.key() == route.key()) {
                all.push(route);
            }
        }
        all
    }

    /// Whether all of it can be, in one sentence if not.
    pub fn check(&self) -> Result<(), String> {
        for (name, link) in &self.link {
            interface_name(name).and_then(|()| link.check()).map_err(|e| format!("link {name}: {e}"))?;
        }
        if self.route.len() > MAX_ROUTES {
            return Err(format!("at most {MAX_ROUTES} routes can be set"));
        }
        for route in &self.route {
            route.check().map_err(|e| format!("route to {}: {e}", route.to))?;
        }
        if self.vpn.len() > MAX_VPNS {
            return Err(format!("at most {MAX_VPNS} tunnels can be set"));
        }
        for (name, vpn) in &self.vpn {
            interface_name(name).and_then(|()| vpn.check()).map_err(|e| format!("vpn {name}: {e}"))?;
        }
        if let Some(pair) = self.route.windows(2).find(|pair| pair[0].key() >= pair[1].key()) {
            return Err(format!("route to {}: it stands there twice or out of order", pair[1].to));
        }
        Ok(())
    }

    /// The settings after a change. Refused is what somebody else has changed meanwhile, and what cannot be.
    pub fn after(&self, change: &Change) -> Result<Self, CallError> {
        let mut new = self.clone();
        let as_expected = match change {
            Change::Link { name, before, after } => {
                let old = match after.clone() {
                    Some(after) => new.link.insert(name.clone(), after),
                    None => new.link.remove(name),
                };
                old == *before
            }
            Change::Vpn { name, before, after } => {
                let old = match after.clone() {
                    Some(after) => new.vpn.insert(name.clone(), after),
                    None => new.vpn.remove(name),
                };
                old == *before
            }
            Change::Route { before, after } => {
                let Some(key) = before.as_ref().or(after.as_ref()).map(Route::key) else { return Ok(new) };
                if after.as_ref().is_some_and(|after| after.key() != key) {
                    return Err(CallError::invalid("a route keeps its network and its metric"));
                }
                let old = match new.route.binary_search_by_key(&key, Route::key) {
                    Ok(at) => Some(new.route.remove(at)),
                    Err(_) => None,
                };
                if let Some(after) = after.clone() {
                    let at = new.route.partition_point(|route| route.key() < key);
                    new.route.insert(at, after);
                }
                old == *before
            }
        };
        if !as_expected {
            let text = "the network was changed by somebody else meanwhile; look at it again";
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        new.check().map_err(CallError::invalid)?;
        Ok(new)
    }
}

/// How the network is set up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// What tools have set and counts now, with what is on trial.
    pub settings: Settings,
    /// The links that netd looks after, by name, with what counts for each: from the settings, a file, or neither.
    pub links: Vec<(String, Link)>,
    /// What is on trial.
    pub trial: Option<Trial>,
}
