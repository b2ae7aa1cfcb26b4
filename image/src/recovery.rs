//! The recovery key of the image's builder, which counts on a machine whose owner has stored none.

use aios_rescue::key;
use anyhow::{Context, Error, Result};
use std::path::Path;

/// The line with its public half: of the file that was named, or of a key that is made once in `cache`.
pub(crate) fn public(named: Option<&Path>, cache: &Path) -> Result<String> {
    if let Some(path) = named {
        return Ok(key::public_line(&key::read_public(path).map_err(Error::msg)?));
    }
    let private = cache.join("recovery.key");
    let key = match private.exists() {
        true => key::read_private(&private).map_err(Error::msg)?,
        false => {
            std::fs::create_dir_all(cache).with_context(|| format!("{} cannot be made", cache.display()))?;
            println!("image: {} is a new recovery key; keep it, it opens recovery mode", private.display());
            key::create(&private).with_context(|| format!("{} cannot be made", private.display()))?
        }
    };
    Ok(key::public_line(&key.verifying_key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_made_once_and_another_can_be_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = public(None, folder.path()).expect("made");
        assert_eq!(public(None, folder.path()).expect("read"), first);
        let other = folder.path().join("owner.pub");
        let key = key::create(&folder.path().join("owner.key")).expect("made");
        std::fs::write(&other, key::public_line(&key.verifying_key())).expect("written");
        assert_eq!(
            public(Some(&other), folder.path()).expect("read"),
            key::public_line(&key.verifying_key())
        );
        assert!(public(Some(&folder.path().join("owner.key")), folder.path()).is_err(), "the private half");
    }
}
