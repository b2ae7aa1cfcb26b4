//! The distribution's kernel package.

use crate::modules::{files, plain};
use crate::package;
use crate::stage::Stage;
use crate::stamp::Inputs;
use crate::tool::{output, run};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the newest 6.12 kernel. The one for virtual machines in clouds (`cloud-amd64`) knows no USB.
const META: &str = "linux-image-6.12-amd64";
/// What of depmod's work stays in an image: what init reads.
const KEPT: [&str; 3] = ["kernel", "modules.alias", "modules.dep"];

/// An unpacked kernel package.
pub(crate) struct Kernel {
    /// The bzImage.
    pub(crate) image: PathBuf,
    /// `lib/modules/RELEASE` of the package, with depmod's indexes.
    modules: PathBuf,
    /// `uname -r`
    pub(crate) release: String,
    /// Version of the package.
    pub(crate) version: String,
    cache: PathBuf,
}

/// The kernel in the cache, fetched first when it is not there.
pub(crate) fn fetch(cache: &Path) -> Result<Kernel> {
    let folder = cache.join(META);
    if let Ok(kernel) = open(&folder, cache) {
        return Ok(kernel);
    }
    println!("image: fetching the kernel package (about 110 MB)");
    let part = cache.join(format!("{META}.part"));
    let version = package::unpack(&newest()?, &part)?;
    std::fs::write(part.join("version"), version)?;
    let release = name(&only_entry(&part.join("lib/modules"))?);
    run(Command::new("depmod").arg("-b").arg(&part).arg(&release))?;
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&part, &folder)?;
    open(&folder, cache)
}

/// The package behind the name that always means the newest one.
fn newest() -> Result<String> {
    let depends = run(Command::new("apt-cache").args(["depends", "--no-recommends", META]))?;
    match depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-")) {
        Some(rest) => Ok(format!("linux-image-{rest}")),
        None => bail!("apt knows no kernel behind {META}; `apt-get update` fetches its package lists"),
    }
}

fn open(folder: &Path, cache: &Path) -> Result<Kernel> {
    let modules = only_entry(&folder.join("lib/modules"))?;
    let release = name(&modules);
    let image = folder.join(format!("boot/vmlinuz-{release}"));
    ensure!(image.exists(), "the kernel package holds no {}", image.display());
    ensure!(modules.join("modules.dep").exists(), "the modules have no index");
    let version = std::fs::read_to_string(folder.join("version"))?;
    Ok(Kernel { image, modules, release, version, cache: cache.to_owned() })
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let found = crate::stamp::entries(folder)?;
    found.into_iter().next().with_context(|| format!("{} is empty", folder.display()))
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Kernel {
    /// Put the bzImage where the emulator finds it. True when it was not there.
    pub(crate) fn copy(&self, to: &Path) -> Result<bool> {
        let mut inputs = Inputs::new()?;
        inputs.file(&self.image)?;
        let stamp = inputs.stamp(to, &self.cache)?;
        if stamp.holds() {
            return Ok(false);
        }
        std::fs::copy(&self.image, to).with_context(|| format!("{} cannot be made", to.display()))?;
        stamp.set()?;
        Ok(true)
    }

    /// Put these modules, uncompressed, into `lib/modules`, with the indexes for exactly them and the
    /// list of those that are loaded at every boot.
    pub(crate) fn install(&self, stage: &Stage, names: &[String], load: &[String]) -> Result<()> {
        let index = std::fs::read_to_string(self.modules.join("modules.dep"))?;
        let builtin = std::fs::read_to_string(self.modules.join("modules.builtin"))?;
        let base = format!("lib/modules/{}", self.release);
        for file in files(&index, &builtin, names)? {
            let from = self.modules.join(&file);
            let to = format!("{base}/{}", plain(&file));
            if plain(&file) == file {
                stage.copy(&from, &to)?;
            } else {
                stage.write(&to, &output(Command::new("xz").arg("-dc").arg(&from))?)?;
            }
        }
        for needed in ["modules.builtin", "modules.order"] {
            stage.copy(&self.modules.join(needed), &format!("{base}/{needed}"))?;
        }
        run(Command::new("depmod").arg("-b").arg(stage.path()).arg(&self.release))?;
        for entry in crate::stamp::entries(&stage.path().join(&base))? {
            if !KEPT.contains(&name(&entry).as_str()) {
                std::fs::remove_file(entry)?;
            }
        }
        for kept in &KEPT[1..] {
            let text = std::fs::read(stage.path().join(&base).join(kept))?;
            stage.write(&format!("{base}/{kept}"), &text)?;
        }
        let list: Vec<String> = files(&index, &builtin, load)?
            .iter()
            .map(|file| format!("{}/{}\n", self.release, plain(file)))
            .collect();
        stage.write("lib/modules/load", list.concat().as_bytes())
    }
}
