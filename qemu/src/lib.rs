//! Starts the appliance in QEMU: for `make run`, for every whole-machine test and for the benchmarks.
//!
//! KVM is used only after a tiny guest has run under it ([`accel`]); otherwise the machine is
//! emulated, and then the engine workers run beside QEMU ([`engine`]), because vector arithmetic is
//! too slow inside. The guest's network reaches nothing but the one port that is forwarded to it.

#![deny(unsafe_code)]

pub mod accel;
pub mod disk;
pub mod engine;
pub mod machine;
pub mod qmp;
pub mod serial;
#[allow(unsafe_code)]
mod sys;

pub use machine::{Claim, Machine, MachineConfig, Ready};
