//! DHCPv4, client side: what is said ([`wire`]) apart from when it is said ([`client`]).

pub(crate) mod client;
pub(crate) mod wire;

use std::net::Ipv4Addr;

/// What a server answered, checked and in our own types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An address may be had.
    Offer(Lease),
    /// The address is ours.
    Ack(Lease),
    /// The address is not ours.
    Nak,
}

/// An address for a while, and what comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// Length of the network's prefix.
    pub(crate) prefix: u8,
    /// Who gave it.
    pub(crate) server: Ipv4Addr,
    /// Routes to other networks: destination, prefix, gateway.
    pub(crate) routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Name servers.
    pub(crate) dns: Vec<Ipv4Addr>,
    /// Domain for short names.
    pub(crate) domain: Option<String>,
    /// Seconds after which it is renewed (T1), asked of any server (T2), and over.
    pub(crate) seconds: [u32; 3],
}

/// A message to a server; RFC 2131, table 5 says which fields each has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// Who has an address for me?
    Discover,
    /// I take this offer.
    Select {
        /// The address.
        address: Ipv4Addr,
        /// Whose offer it was.
        server: Ipv4Addr,
    },
    /// Is this address still mine (after the cable was out)?
    Reboot {
        /// The address.
        address: Ipv4Addr,
    },
    /// May I keep my address?
    Extend {
        /// The address, which is in use.
        address: Ipv4Addr,
    },
    /// Somebody else has the address that you gave me.
    Decline {
        /// The address.
        address: Ipv4Addr,
        /// Who gave it.
        server: Ipv4Addr,
    },
}
