//! Recovery mode: who may use it, and what he may do. The program `aios-rescue` is the machine's side,
//! `aiosctl recovery` the owner's.

#![forbid(unsafe_code)]

pub mod challenge;
pub mod key;
pub mod order;
pub mod session;
pub mod words;
