//! The appliance's signing key: made at the first start, readable by root alone.

use aios_abi::CallError;
use ed25519_dalek::SigningKey;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The key in this file, 32 bytes; a new one when there is no file.
pub(super) fn load_or_create(path: &Path) -> Result<SigningKey, CallError> {
    let at = |e: std::io::Error| CallError::failed(format!("{}: {e}", path.display()));
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(mut file) => {
            let mode = file.metadata().map_err(at)?.mode() & 0o777;
            if mode & 0o077 != 0 {
                tracing::warn!("{} had mode {mode:04o}; set to 0600", path.display());
                rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o600))
                    .map_err(|e| at(e.into()))?;
            }
            let mut bytes = Vec::new();
            (&mut file).take(33).read_to_end(&mut bytes).map_err(at)?;
            let bytes: [u8; 32] = bytes.try_into().map_err(|_| {
                CallError::failed(format!(
                    "{} is not a key of 32 bytes; move it away to start with a new one",
                    path.display()
                ))
            })?;
            Ok(SigningKey::from_bytes(&bytes))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => create(path).map_err(at),
        Err(e) => Err(at(e)),
    }
}

/// Written under another name first: a power cut must not leave half a key.
fn create(path: &Path) -> std::io::Result<SigningKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
    let draft = path.with_extension("key.new");
    match std::fs::remove_file(&draft) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(SigningKey::from_bytes(&seed))
}
