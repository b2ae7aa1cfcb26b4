//! What netd serves: the names of others, whether they answer, and how the network is set up ([`crate::netconf`]).

use crate::call::Protocol;
use crate::firewall::{FirewallNow, FirewallRequest};
use crate::netconf::{Change, Setup, Trial, VpnState};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The protocol of `/run/aios/netd.sock`.
pub struct Net;

impl Protocol for Net {
    type Request = NetRequest;
    type Event = ();
    type Reply = NetReply;
    const SOCKET: &'static str = crate::paths::NETD_SOCKET;
    const SERVER: &'static str = "netd";
}

/// A request to the network daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetRequest {
    /// Ask the configured name servers for the addresses of a host (RFC 1035).
    Resolve {
        /// Host name. One with a dot is asked for as it is, without the search list.
        name: String,
        /// Kind of address.
        family: AddressFamily,
    },
    /// Whether somebody accepts TCP connections there; one is made and closed at once.
    Connect {
        /// Where.
        address: IpAddr,
        /// TCP port.
        port: u16,
        /// Milliseconds to wait, at most [`MAX_WAIT_MS`].
        wait_ms: u32,
    },
    /// Whether a machine answers (ICMP echo, RFC 792 and RFC 4443).
    Ping {
        /// Which one.
        address: IpAddr,
        /// How often it is asked, at most [`MAX_PINGS`].
        count: u8,
        /// Milliseconds to wait for each answer, at most [`MAX_WAIT_MS`].
        wait_ms: u32,
    },
    /// The change that is on trial.
    Trial,
    /// Let the change that is on trial last.
    Confirm,
    /// Take back the change that is on trial now.
    TakeBack,
    /// About the firewall.
    Firewall(FirewallRequest),
    /// How the network is set up.
    Setup,
    /// Change that; it is on trial for so many seconds ([`MIN_TRIAL_SECONDS`](crate::netconf::MIN_TRIAL_SECONDS) and more).
    Try {
        /// What is changed.
        change: Change,
        /// How long somebody has to confirm it.
        seconds: u16,
    },
    /// Which routers packets pass on their way to a machine (echoes with rising time to live, RFC 792 and RFC 4443).
    Trace {
        /// To which one.
        address: IpAddr,
        /// The longest way that is looked at, at most [`MAX_HOPS`].
        hops: u8,
        /// Milliseconds to wait for the last answers, at most [`MAX_WAIT_MS`].
        wait_ms: u32,
    },
    /// The tunnels as they are now.
    Vpns,
    /// Keep a secret that both ends of a tunnel know, so that settings can name it. A trial needs it before it begins.
    KeepSecret {
        /// Its name: what [`check_secret_name`](crate::netconf::check_secret_name) allows.
        name: String,
        /// 32 bytes in base64.
        secret: String,
    },
}

/// The longest that one answer of another machine is awaited.
pub const MAX_WAIT_MS: u32 = 10_000;
/// How often a machine is asked for an echo at most.
pub const MAX_PINGS: u8 = 100;

/// Routers on a way at most.
pub const MAX_HOPS: u8 = 64;

/// One place on the way to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathHop {
    /// Who answered.
    pub address: IpAddr,
    /// Microseconds until the answer.
    pub micros: u64,
    /// What it said.
    pub said: HopSaid,
}

/// What a place on the way says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HopSaid {
    /// The packet passed it.
    Passed,
    /// It is the machine itself.
    Reached,
    /// From here nothing leads on.
    Unreachable,
}

/// Kind of address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressFamily {
    /// Both.
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

/// The answer of the network daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetReply {
    /// At least one; in the order in which the server gave them.
    Addresses(Vec<IpAddr>),
    /// To [`NetRequest::Connect`].
    Port {
        /// What came of it.
        state: PortState,
        /// Microseconds until that was known.
        micros: u64,
    },
    /// To [`NetRequest::Ping`]: microseconds until each answer; none where none came in time.
    Echoes(Vec<Option<u64>>),
    /// What is on trial: the answer to a change that netd takes back unless it is confirmed, and to [`NetRequest::Trial`].
    Trial(Option<Trial>),
    /// The trial of this, in a few words, is over as it was asked.
    TrialOver(String),
    /// To [`FirewallRequest::List`].
    Firewall(Box<FirewallNow>),
    /// It is so now.
    Done,
    /// To [`NetRequest::Setup`].
    Setup(Box<Setup>),
    /// To [`NetRequest::Trace`]: one after the other; none where nobody answered. The last one is the machine, or who said
    /// that it cannot be reached, unless nobody did.
    Path(Vec<Option<PathHop>>),
    /// To [`NetRequest::Vpns`].
    Vpns(Vec<VpnState>),
    /// To [`NetRequest::KeepSecret`].
    Kept,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// Somebody accepts connections.
    Open,
    /// The machine is there, but nobody listens.
    Refused,
    /// Nothing came back: the machine is off, or something in between throws packets away.
    Silent,
    /// There is no way to that address.
    Unreachable,
}
