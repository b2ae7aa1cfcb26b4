//! The ABI of aiOS: what one process may say to another, and how it is put on the wire.
//!
//! Daemons never link each other. They meet over `SOCK_SEQPACKET` sockets in `/run/aios`, and each
//! packet holds one [`frame`]: a version byte followed by one postcard value. The same envelope
//! ([`call`]) carries every protocol, one module each:
//!
//! | module | served by | socket |
//! |---|---|---|
//! | [`service`] | init | `/run/aios/init.sock` |
//! | [`tool`] | toold | `/run/aios/toold.sock` |
//! | [`accounts`] | console | `/run/aios/console.sock` |
//! | [`net`] | netd | `/run/aios/netd.sock` |
//! | [`infer`] | inferd | `/run/aios/inferd.sock` |
//! | [`agent`] | agentd | `/run/aios/agentd.sock` |
//! | [`engine`] | the engine workers | a byte stream: a socket or a virtio port |
//!
//! [`firewall`] and [`netconf`] are what [`net`] says of the firewall and of how the network is set up. [`schema`] holds what interfaces derive from a tool's declaration. [`audit`] is the format of the audit chain and the proof of its integrity; it has no I/O, so
//! that `aiosctl` verifies a log offline with the code that wrote it.

#![deny(unsafe_code)]

pub mod accounts;
pub mod agent;
pub mod audit;
pub mod call;
pub mod engine;
pub mod error;
pub mod firewall;
pub mod frame;
pub mod infer;
pub mod net;
pub mod netconf;
pub mod paths;
pub mod run;
pub mod schema;
pub mod service;
pub mod tool;
pub mod units;
pub mod who;

#[cfg(feature = "tokio")]
pub mod client;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "tokio")]
pub mod server;
#[cfg(feature = "tokio")]
mod socket;

#[allow(unsafe_code)]
pub mod sys;

pub use error::{CallError, ErrorCode};
