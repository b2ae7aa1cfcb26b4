//! What netd serves: the names of others, and whether they answer.

use crate::call::Protocol;
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
}

/// The longest that one answer of another machine is awaited.
pub const MAX_WAIT_MS: u32 = 10_000;
/// How often a machine is asked for an echo at most.
pub const MAX_PINGS: u8 = 10;

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
