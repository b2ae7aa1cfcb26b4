//! Engine worker of the strategic tier: a model somewhere else, for money.
//!
//! It speaks [`aios_abi::engine`] with inferd, which has no network, and HTTPS with one server. It is off until a person writes
//! `/data/config/strategic.toml`; nothing leaves the machine before that. What a request can cost at worst is reserved on the disk
//! before it is sent, so a month never costs more than that person allows, whatever crashes.
//!
//! | Module | What |
//! |---|---|
//! | [`money`], [`budget`] | amounts, prices, what may still be spent: pure |
//! | [`dialect`], [`sse`], [`reader`] | what is sent, and what comes back: pure |
//! | [`config`], [`key`] | what a person has set |
//! | [`serve`] | the conversation with inferd, and what a request goes through |

#![forbid(unsafe_code)]

pub mod budget;
mod client;
pub mod config;
pub mod dialect;
pub mod key;
mod ledger;
pub mod money;
mod names;
pub mod reader;
pub mod serve;
pub mod sse;
mod watch;
mod work;
