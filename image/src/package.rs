//! Packages of the distribution, fetched with its own client and unpacked without being installed.

use crate::tool::run;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Put the files of a package into this folder, which is made anew. Returns the package's version.
pub(crate) fn unpack(package: &str, folder: &Path) -> Result<String> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // apt checks the package against the distribution's signature. Its sandbox user may not write into
    // a checkout, so as root the sandbox is given up for this one file.
    run(Command::new("apt-get").current_dir(folder).args([
        "-q",
        "-o",
        "APT::Sandbox::User=root",
        "download",
        package,
    ]))?;
    let downloaded = crate::stamp::entries(folder)?;
    let deb = downloaded.iter().find(|p| p.extension().is_some_and(|e| e == "deb"));
    let deb = deb.context("apt-get downloaded nothing")?;
    let version = run(Command::new("dpkg-deb").arg("-f").arg(deb).arg("Version"))?;
    run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(folder))?;
    std::fs::remove_file(deb)?;
    Ok(version.trim().to_owned())
}
