//! The tool broker: everything that looks at this machine or changes it goes through here.
//!
//! A call's way: decode → who asks ([`caller`]) → may they ([`policy`]) → what exactly would be changed
//! (the tool's own `prepare`) → may that be changed → save what [`undo`] needs → record the beginning
//! ([`audit`]) → make the change and verify it → record the end → answer. Looks are one step and one
//! record. The tools themselves are one file each, under [`tool`].

#![forbid(unsafe_code)]

pub mod attributes;
pub mod audit;
pub mod baseline;
pub mod broker;
pub mod caller;
mod chat;
pub mod ctx;
pub mod declaration;
mod dump;
pub mod file;
mod foreign;
pub mod judge;
mod lessons;
mod models;
mod network;
pub mod nginx;
pub mod policy;
pub mod reach;
#[cfg(test)]
mod recipe;
pub mod redact;
pub mod reference;
mod repository;
mod running;
pub mod schedule;
pub mod serve;
mod shelf;
pub mod snapshot;
mod ssh_keys;
pub mod statement;
mod stored;
mod switch;
pub mod tool;
pub mod undo;
mod walk;
pub mod worker;
pub mod x509;

pub use foreign::FOREIGN;
