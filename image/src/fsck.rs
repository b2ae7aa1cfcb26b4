//! The checker of the data disk's file system: the distribution's static build of e2fsck.

use crate::elf::require_static;
use crate::package;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const PACKAGE: &str = "e2fsck-static";

/// The program in the cache.
pub(crate) struct Fsck {
    pub(crate) program: PathBuf,
    /// Version of the package.
    pub(crate) version: String,
}

/// The program, fetched first when it is not in the cache.
pub(crate) fn fetch(cache: &Path) -> Result<Fsck> {
    let folder = cache.join("e2fsck");
    let open = || -> Result<Fsck> {
        let program = folder.join("sbin/e2fsck.static");
        require_static(&program)?;
        Ok(Fsck { program, version: std::fs::read_to_string(folder.join("version"))? })
    };
    if let Ok(fsck) = open() {
        return Ok(fsck);
    }
    println!("image: fetching the package {PACKAGE} (0.7 MB)");
    let part = cache.join("e2fsck.part");
    let version = package::unpack(PACKAGE, &part)
        .with_context(|| format!("{PACKAGE} cannot be fetched; `apt-get update` fetches apt's lists"))?;
    std::fs::write(part.join("version"), version)?;
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&part, &folder)?;
    open()
}
