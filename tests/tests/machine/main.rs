//! The booted image, as its owner and its enemies meet it. Every test boots a machine of its own.
//! One file a subject; what they share is the crate `aios_tests`.

mod console;
mod data;
mod disk;
mod engines;
mod extensions;
mod faults;
mod kexec;
mod network;
mod policy;
mod power;
mod recovery;
mod sandbox;
mod services;

/// A JSON string without its quotes; anything else as JSON.
pub(crate) fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
