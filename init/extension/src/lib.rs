//! Signed extension images: one file that brings a program with all that it needs.
//!
//! ```text
//! image     an erofs file system, which the kernel mounts from this very file: it begins at the first byte
//! manifest  TOML: name, version, users, services (`Manifest`)
//! seal      200 bytes: lengths and BLAKE3 hashes of both, the signer's public key, its signature over the rest (`Seal`)
//! ```
//!
//! The seal comes last so that the file is mounted as it is. Whoever uses a file reads the seal first, asks [`Keys`]
//! whether its signer is trusted, and then reads everything once through the same descriptor ([`check`]). PID 1 does that
//! before each start of a service, in the new process: so what is here allocates nothing but where it says so.

#![forbid(unsafe_code)]

mod check;
mod detached;
mod keys;
mod manifest;
mod seal;
mod version;

pub use check::{Flaw, check, read_manifest, read_seal};
pub use detached::{detached, detached_line};
pub use keys::{KEY_FILES, Keys, MAX_KEYS_TEXT, parse_key, private_line, public_line, read_private};
pub use manifest::{IMAGE, Manifest, USERS, may_have, name_is_plain};
pub use seal::{MAX_MANIFEST, SEAL, Seal};
pub use version::compare;

/// How the name of a file ends that is one.
pub const SUFFIX: &str = "aiosx";
/// Where those lie that are installed. Only the tools of packages change anything here.
pub const DIRECTORY: &str = "/data/extensions";
