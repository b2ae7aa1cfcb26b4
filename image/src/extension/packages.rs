//! Packages of the distribution with all that they depend on, unpacked and not installed: no script of theirs is run.

use crate::tool::run;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Unpack these packages into a folder. Returns the version of the first one.
pub(super) fn unpack(
    packages: &[String],
    without: &[String],
    folder: &Path,
    cache: &Path,
) -> Result<Option<String>> {
    let Some(first) = packages.first() else { return Ok(None) };
    let debs = std::path::absolute(cache.join("packages"))?;
    std::fs::create_dir_all(&debs)?;
    let mut version = None;
    for chosen in choose(packages, without, &debs)? {
        let name = chosen.split('=').next().unwrap_or_default();
        let deb = debs.join(format!("{}.deb", chosen.replace(['=', ':', '/'], "_")));
        if !deb.exists() {
            fetch(&chosen, &debs, &deb)?;
        }
        if name == first {
            version =
                Some(run(Command::new("dpkg-deb").arg("-f").arg(&deb).arg("Version"))?.trim().to_owned());
        }
        run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(folder))?;
    }
    // An epoch orders the distribution's own packages; people do not know it.
    Ok(version.map(|text| text.split_once(':').map_or(text.clone(), |(_, rest)| rest.to_owned())))
}

/// `NAME=VERSION` of all packages that these need on a machine that has none but those they do without.
fn choose(packages: &[String], without: &[String], folder: &Path) -> Result<Vec<String>> {
    let mut status = String::new();
    for name in without {
        let _ = write!(
            status,
            "Package: {name}\nStatus: install ok installed\nVersion: 99:999\nArchitecture: amd64\nMulti-Arch: allowed\n\
             Maintainer: none\nDescription: none\n\n"
        );
    }
    let file = tempfile::Builder::new().prefix("status").tempfile_in(folder)?;
    std::fs::write(file.path(), status)?;
    let said = run(Command::new("apt-get")
        .args(["-q", "-s", "-o", "APT::Install-Recommends=0", "-o", "Dir::Cache::pkgcache="])
        .args(["-o", "Dir::Cache::srcpkgcache=", "-o"])
        .arg(format!("Dir::State::status={}", file.path().display()))
        .arg("install")
        .args(packages))
    .context("apt cannot say what these packages need; `apt-get update` fetches its lists")?;
    // Inst NAME (VERSION SOURCE [ARCHITECTURE])
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
        Some(format!("{name}={}", rest.split(' ').next()?))
    };
    let mut all: Vec<String> = said.lines().filter_map(line).collect();
    all.sort();
    Ok(all)
}

/// apt checks a package against the distribution's signature.
fn fetch(chosen: &str, folder: &Path, to: &Path) -> Result<()> {
    let fresh = tempfile::tempdir_in(folder)?;
    run(Command::new("apt-get").current_dir(fresh.path()).args([
        "-q",
        "-o",
        "APT::Sandbox::User=root",
        "download",
        chosen,
    ]))?;
    let downloaded = crate::stamp::entries(fresh.path())?;
    let deb = downloaded.iter().find(|p| p.extension().is_some_and(|e| e == "deb"));
    Ok(std::fs::rename(deb.context("apt-get downloaded nothing")?, to)?)
}
