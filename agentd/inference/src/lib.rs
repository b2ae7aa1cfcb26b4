//! The inference daemon: one queue for each engine, choice of tools, arguments under a grammar.
//!
//! Engines are workers in processes of their own ([`engine`]); a crash of llama.cpp ends a worker, never
//! this daemon. What models answer is data: [`choose`] only ever names a tool that was offered, and
//! [`fill`] only ever gives arguments that fit the tool's schema and that the question contains.

#![deny(unsafe_code)]

mod ask;
pub mod certainty;
pub mod choose;
pub mod engine;
pub mod evidence;
pub mod fill;
pub mod grammar;
pub mod learn;
pub mod models;
pub mod pressure;
pub mod queue;
mod read;
pub mod serve;
pub mod tiers;
