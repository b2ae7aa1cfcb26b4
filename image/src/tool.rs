//! Programs of the distribution that do a part of the work, and hashes.

use anyhow::{Context, Result, bail};
use sha2::Digest as _;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Run a program to its end and give its output; its other words appear only when it fails.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Where Debian keeps what only root used to need.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let Output { status, stdout, stderr } = command
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started; scripts/deps.sh installs what is needed"))?;
    if !status.success() {
        let said = [stdout, stderr].concat();
        bail!("{name} failed ({status}): {}", String::from_utf8_lossy(&said).trim());
    }
    Ok(stdout)
}

/// The same for a program that writes text.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?).into_owned())
}

/// SHA-256.
#[derive(Default)]
pub(crate) struct Digest(sha2::Sha256);

impl Digest {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn hex(self) -> String {
        aios_abi::audit::hex(&self.0.finalize())
    }
}

/// SHA-256 of a file, hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut digest = Digest::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.hex()),
            length => digest.add(&buffer[..length]),
        }
    }
}

/// Make an erofs image of a folder: the same bytes for the same content (mkfs.erofs(1)).
pub(crate) fn erofs(folder: &Path, image: &Path, uuid: &str, compress: bool) -> Result<()> {
    let part = image.with_extension("part");
    let _ = std::fs::remove_file(&part);
    let mut command = Command::new("mkfs.erofs");
    command.args(["-T0", "--all-root", "-U", uuid]);
    if compress {
        command.arg("-zlz4hc,12");
    }
    run(command.arg(&part).arg(folder))?;
    std::fs::rename(&part, image).with_context(|| format!("{} cannot be made", image.display()))
}
