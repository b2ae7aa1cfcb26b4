//! The owner's recovery key: a private half in a file on the owner's computer, a public half on the machine.
//!
//! Both are one line of text: a word that says which half it is, and 32 bytes as [`words`].

use crate::words;
use ed25519_dalek::{SigningKey, VerifyingKey};
use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const PRIVATE: &str = "aios-recovery-key";
const PUBLIC: &str = "aios-recovery-pub";
/// Where the owner's public key is.
pub const OWNERS: &str = "/data/config/recovery.pub";
/// Where the one of the image's builder is, which counts as long as the owner has none.
pub const BUILDERS: &str = "/etc/aios/recovery.pub";

/// Make a key and write its private half, which nobody else may read, to a file that is not there yet.
pub fn create(path: &Path) -> std::io::Result<SigningKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{PRIVATE} {}", words::encode(&seed))?;
    file.sync_all()?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Read a private half. The error is a sentence with place and cure.
pub fn read_private(path: &Path) -> Result<SigningKey, String> {
    Ok(SigningKey::from_bytes(&read(path, PRIVATE)?))
}

/// Read a public half. The error is a sentence with place and cure.
pub fn read_public(path: &Path) -> Result<VerifyingKey, String> {
    let bytes = read(path, PUBLIC)?;
    VerifyingKey::from_bytes(&bytes)
        .map_err(|_| format!("{}:1: these bytes are no public key", path.display()))
}

/// A public half as it stands in its file.
pub fn public_line(key: &VerifyingKey) -> String {
    format!("{PUBLIC} {}\n", words::encode(key.as_bytes()))
}

/// The key that this machine obeys, with a sentence for each file that is there but is no key.
pub fn trusted() -> (Option<VerifyingKey>, Vec<String>) {
    let mut faults = Vec::new();
    for path in [OWNERS, BUILDERS].map(Path::new) {
        if !path.exists() {
            continue;
        }
        match read_public(path) {
            Ok(key) => return (Some(key), faults),
            Err(why) => faults.push(why),
        }
    }
    (None, faults)
}

fn read(path: &Path, kind: &str) -> Result<[u8; 32], String> {
    let at = path.display();
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => format!("{at} does not exist; `aiosctl recovery new FILE` makes a key"),
        _ => format!("{at}: {e}"),
    })?;
    file.take(1024).read_to_string(&mut text).map_err(|e| format!("{at}: {e}"))?;
    let bytes = text.trim().strip_prefix(kind).and_then(words::decode);
    bytes.ok_or_else(|| {
        format!("{at}:1: this is not \"{kind}\" and a key; `aiosctl recovery new FILE` makes both halves")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_both_halves_are_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (private, public) = (folder.path().join("key"), folder.path().join("pub"));
        let key = create(&private).expect("made");
        assert_eq!(std::fs::metadata(&private).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(read_private(&private).expect("read").to_bytes(), key.to_bytes());
        assert!(create(&private).is_err(), "a key is never overwritten");
        std::fs::write(&public, public_line(&key.verifying_key())).expect("written");
        assert_eq!(read_public(&public), Ok(key.verifying_key()));
        assert!(read_public(&private).is_err_and(|why| why.contains("key:1:")), "the halves are told apart");
    }
}
