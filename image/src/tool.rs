//! Programs of the distribution that do a part of the work, and files.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

/// Run a program to its end; its words appear only when it fails.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started; `make run` installs what it needs"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Copy a file unless the copy is there already and at least as new.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if is_newer(to, &[from]) {
        return Ok(());
    }
    std::fs::copy(from, to)
        .with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))?;
    Ok(())
}

/// Whether a result exists and none of its inputs is newer.
pub(crate) fn is_newer(result: &Path, inputs: &[&Path]) -> bool {
    let time = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified());
    let Ok(made) = time(result) else { return false };
    inputs.iter().all(|input| time(input).is_ok_and(|t| t <= made))
}

/// SHA-256 of a file, hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(aios_abi::audit::hex(&hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// Make an erofs image of a folder: the same bytes for the same content (mkfs.erofs(1)).
pub(crate) fn erofs(folder: &Path, image: &Path, label: &str, uuid: &str, compress: bool) -> Result<()> {
    let part = image.with_extension("part");
    let _ = std::fs::remove_file(&part);
    let mut command = Command::new("mkfs.erofs");
    command.args(["-T0", "--all-root", "-U", uuid, "-L", label]);
    if compress {
        command.arg("-zlz4hc");
    }
    run(command.arg(&part).arg(folder))?;
    std::fs::rename(&part, image)?;
    Ok(())
}
