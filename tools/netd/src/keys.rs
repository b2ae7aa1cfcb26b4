//! Secrets of tunnels: a file each, which nobody but this daemon reads.

use aios_abi::netconf::{check_key, check_secret_name};
use aios_abi::{CallError, ErrorCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Secrets that are kept. They stay when a tunnel is removed, because an undo makes it again as it was.
const MAX: usize = 512;

/// Where they are.
#[derive(Debug)]
pub(crate) struct Keys(Option<PathBuf>);

impl Keys {
    /// Beside the file of settings.
    pub(crate) fn beside(settings: Option<&Path>) -> Self {
        Self(settings.and_then(Path::parent).map(|folder| folder.join("keys")))
    }

    fn folder(&self) -> Result<&Path, CallError> {
        self.0.as_deref().ok_or_else(|| CallError::unavailable("netd has no place to keep secrets"))
    }

    /// The private key of a tunnel, in base64; made if there is none. An interface keeps its key for ever.
    pub(crate) fn own(&self, interface: &str) -> Result<String, CallError> {
        let path = self.folder()?.join(format!("own-{interface}"));
        if let Some(key) = read(&path)? {
            return Ok(key);
        }
        let mut key = [0; 32];
        // Not before the kernel has gathered entropy; and it must not stop everything else until then.
        let got = getrandom(&mut key, GetRandomFlags::NONBLOCK);
        if got.ok() != Some(key.len()) {
            let text = "the kernel has gathered too little entropy for a key yet; try again in a moment";
            return Err(CallError::unavailable(text));
        }
        // As curve25519 wants it (RFC 7748, section 5), and the kernel would make it.
        key[0] &= 248;
        key[31] = (key[31] & 127) | 64;
        let text = STANDARD.encode(key);
        self.write(&path, &text)?;
        Ok(text)
    }

    /// Keep a secret that somebody gave.
    pub(crate) fn keep(&self, name: &str, secret: &str) -> Result<(), CallError> {
        check_secret_name(name).and_then(|()| check_key(secret)).map_err(CallError::invalid)?;
        let path = self.folder()?.join(format!("given-{name}"));
        match read(&path)? {
            Some(known) if known == secret => Ok(()),
            Some(_) => Err(CallError::new(ErrorCode::Conflict, "another secret has this name")),
            None => self.write(&path, secret),
        }
    }

    /// A secret that somebody gave.
    pub(crate) fn given(&self, name: &str) -> Result<String, CallError> {
        check_secret_name(name).map_err(CallError::invalid)?;
        let path = self.folder()?.join(format!("given-{name}"));
        read(&path)?
            .ok_or_else(|| CallError::not_found(format!("the secret {name} is not there; set it anew")))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), CallError> {
        let folder = self.folder()?;
        let kept = || -> std::io::Result<usize> {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
                _ => std::fs::read_dir(folder).map(Iterator::count),
            }
        };
        let failed = |e: std::io::Error| {
            CallError::failed(format!("a secret cannot be kept at {}: {e}", path.display()))
        };
        if kept().map_err(failed)? >= MAX {
            return Err(CallError::failed(format!("{MAX} secrets are kept already")));
        }
        let new = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(failed)
    }
}

/// A secret, if there is one.
fn read(path: &Path) -> Result<Option<String>, CallError> {
    let mut text = String::new();
    let damaged = |e: &dyn std::fmt::Display| {
        CallError::failed(format!(
            "the secret {} is damaged: {e}; set the tunnel anew under another name",
            path.display()
        ))
    };
    match File::open(path) {
        Ok(file) => file.take(64).read_to_string(&mut text).map_err(|e| damaged(&e))?,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(damaged(&e)),
    };
    check_key(&text).map_err(|e| damaged(&e))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keys::beside(Some(&folder.path().join("settings.toml")));
        let key = keys.own("wg0").expect("a key");
        check_key(&key).expect("is one");
        assert_eq!(keys.own("wg0").expect("the same"), key);
        assert_ne!(keys.own("wg1").expect("another"), key);
        let mode = |path: &Path| path.metadata().expect("is there").permissions().mode() & 0o777;
        let place = folder.path().join("keys");
        assert_eq!((mode(&place), mode(&place.join("own-wg0"))), (0o700, 0o600));
        std::fs::write(place.join("own-wg0"), "x").expect("writes");
        assert!(keys.own("wg0").expect_err("damaged").message.contains("own-wg0"));
        assert!(Keys::beside(None).own("wg0").is_err());
    }

    #[test]
    fn a_secret_is_kept_under_its_name_and_no_other_takes_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keys::beside(Some(&folder.path().join("settings.toml")));
        let (name, other) = ("0123456789abcdef0123456789abcdef", STANDARD.encode([7; 32]));
        let secret = keys.own("wg0").expect("a key");
        assert_eq!(keys.given(name).expect_err("not yet").code, ErrorCode::NotFound);
        keys.keep(name, &secret).expect("keeps");
        keys.keep(name, &secret).expect("again");
        assert_eq!(keys.given(name), Ok(secret));
        assert_eq!(keys.keep(name, &other).expect_err("taken").code, ErrorCode::Conflict);
        for wrong in ["../../../etc/passwd", "", "0123456789ABCDEF0123456789abcdef"] {
            assert!(keys.keep(wrong, &other).is_err() && keys.given(wrong).is_err());
        }
        assert!(keys.keep("00000000000000000000000000000000", "short").is_err());
    }
}
