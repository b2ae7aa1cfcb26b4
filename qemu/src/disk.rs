//! The data disk.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// Size of a new data disk in bytes; the file is sparse.
const SIZE: u64 = 1 << 30;

/// Make an empty ext4 data disk, with these files on it (path relative to `/data`, content).
pub fn format(image: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (path, content) in files {
        let file = folder.path().join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&file, content).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let file = std::fs::File::create(image).with_context(|| format!("{} cannot be made", image.display()))?;
    file.set_len(SIZE)?;
    let output = Command::new("mkfs.ext4")
        .env("PATH", sbin_path())
        .args(["-q", "-F", "-L", "aios-data", "-E", "root_owner=0:0,lazy_itable_init=1", "-d"])
        .arg(folder.path())
        .arg(image)
        .output()
        .context("mkfs.ext4 cannot be started; `make run` installs it (e2fsprogs)")?;
    ensure!(output.status.success(), "mkfs.ext4 failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The search path with the places where Debian keeps what only root used to need.
fn sbin_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
