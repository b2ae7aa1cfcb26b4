//! One packet, one frame: a version byte, then one postcard value.
//!
//! Postcard is not self-describing, so the version byte is what keeps an old client from misreading
//! a new server: it changes whenever a type in this crate changes its layout (a snapshot test of the
//! encoded bytes notices that).

use crate::error::CallError;
use serde::{Serialize, de::DeserializeOwned};

/// Version of the layout of every frame in this crate.
pub const VERSION: u8 = 1;

/// The largest packet in bytes. A reply that is longer travels as a sealed memfd.
pub const MAX_PACKET: usize = 60 * 1024;

/// Room in bytes that is enough for most packets.
const USUAL: usize = 512;

/// The largest reply in bytes that a client accepts in a memfd.
pub const MAX_LARGE: usize = 64 * 1024 * 1024;

/// Encode one value as a packet.
///
/// Errors: [`ErrorCode::Invalid`](crate::ErrorCode::Invalid) when a value cannot be encoded. The
/// length is not checked: the caller decides what to do with a long one.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CallError> {
    let mut packet = Vec::with_capacity(USUAL);
    packet.push(VERSION);
    postcard::to_extend(value, packet)
        .map_err(|e| CallError::invalid(format!("the message cannot be encoded: {e}")))
}

/// Decode one packet. Bytes after the value are an error, as is another version.
pub fn decode<T: DeserializeOwned>(packet: &[u8]) -> Result<T, CallError> {
    let (&version, body) = packet.split_first().ok_or_else(|| CallError::invalid("the packet is empty"))?;
    if version != VERSION {
        return Err(CallError::invalid(format!(
            "the packet has version {version}, this program speaks version {VERSION}; use programs of one release"
        )));
    }
    let (value, rest) = postcard::take_from_bytes(body)
        .map_err(|e| CallError::invalid(format!("the packet is not a valid message: {e}")))?;
    if !rest.is_empty() {
        return Err(CallError::invalid(format!("the packet has {} bytes after its message", rest.len())));
    }
    Ok(value)
}
