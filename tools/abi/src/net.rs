//! What netd serves: the names of others.

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
}
