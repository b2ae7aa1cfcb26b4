//! Starts the appliance in QEMU: for `make run`, for every whole-machine test and for the benchmarks.
//!
//! KVM is used only after a tiny guest has run under it ([`accel`]); otherwise the machine is
//! emulated, and then the engine workers run beside QEMU ([`engine`]), because vector arithmetic is
//! too slow inside. The guest's network reaches nothing but the one port that is forwarded to it.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use aios_qemu::{Machine, MachineConfig};
//! use std::{path::Path, time::Duration};
//!
//! let mut machine = Machine::start(MachineConfig::new(Path::new("."), "target/run/example"))?;
//! let ready = machine.wait_ready(Duration::from_secs(120))?;
//! println!("{} {}", machine.console_url(), ready.fingerprint);
//! machine.power_off(Duration::from_secs(30))?;
//! # Ok(()) }
//! ```

#![deny(unsafe_code)]

pub mod accel;
mod children;
mod command;
pub mod config;
pub mod disk;
pub mod engine;
pub mod machine;
pub mod qmp;
pub mod ready;
pub mod serial;
#[allow(unsafe_code)]
mod sys;

pub use accel::Accel;
pub use config::MachineConfig;
pub use engine::Kind;
pub use machine::Machine;
pub use ready::{Claim, Ready};
pub use sys::detached;
