//! The distribution's kernel package, fetched with its own client and unpacked without being installed.

use crate::tool::run;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the newest 6.12 kernel for virtual machines.
const META: &str = "linux-image-6.12-cloud-amd64";

/// An unpacked kernel package.
pub(crate) struct Kernel {
    /// The bzImage.
    pub(crate) image: PathBuf,
    /// `lib/modules/RELEASE` of the package, with depmod's indexes.
    pub(crate) modules: PathBuf,
    /// `uname -r`
    pub(crate) release: String,
    /// Version of the package.
    pub(crate) version: String,
}

/// The kernel in the cache, fetched first when it is not there.
pub(crate) fn fetch(cache: &Path) -> Result<Kernel> {
    let folder = cache.join("kernel");
    if let Ok(kernel) = open(&folder) {
        return Ok(kernel);
    }
    println!("image: fetching the kernel package");
    let depends = run(Command::new("apt-cache").args(["depends", "--no-recommends", META]))?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .with_context(|| format!("apt-cache knows no kernel behind {META}; try `apt-get update`"))?;
    let part = cache.join("kernel.part");
    let _ = std::fs::remove_dir_all(&part);
    std::fs::create_dir_all(&part)?;
    // apt's sandbox user may not write into a checkout; as root the sandbox is given up for this one file.
    run(Command::new("apt-get").current_dir(&part).args([
        "-q",
        "-o",
        "APT::Sandbox::User=root",
        "download",
        package,
    ]))?;
    let deb = std::fs::read_dir(&part)?
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "deb"))
        .context("apt-get downloaded nothing")?;
    let version = run(Command::new("dpkg-deb").args(["-f"]).arg(&deb).arg("Version"))?;
    run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&part))?;
    std::fs::remove_file(&deb)?;
    std::fs::write(part.join("version"), version.trim())?;
    let modules = only_entry(&part.join("lib/modules"))?;
    let release = name(&modules);
    run(Command::new("depmod").arg("-b").arg(&part).arg(&release))?;
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&part, &folder)?;
    open(&folder)
}

fn open(folder: &Path) -> Result<Kernel> {
    let modules = only_entry(&folder.join("lib/modules"))?;
    let release = name(&modules);
    let image = folder.join(format!("boot/vmlinuz-{release}"));
    ensure!(image.exists(), "the kernel package holds no {}", image.display());
    ensure!(modules.join("modules.dep").exists(), "the modules have no index");
    let version = std::fs::read_to_string(folder.join("version"))?;
    Ok(Kernel { image, modules, release, version })
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let entry = std::fs::read_dir(folder)?.flatten().next();
    Ok(entry.with_context(|| format!("{} is empty", folder.display()))?.path())
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Kernel {
    /// Files (relative to the modules' folder) of these modules and of all that they need, each after
    /// those that it needs. Modules that are built into the kernel need no file.
    pub(crate) fn files(&self, names: &[String]) -> Result<Vec<String>> {
        let index = std::fs::read_to_string(self.modules.join("modules.dep"))?;
        let builtin = std::fs::read_to_string(self.modules.join("modules.builtin"))?;
        let mut files: Vec<String> = Vec::new();
        for wanted in names {
            let line = index.lines().find(|line| {
                line.split_once(':').is_some_and(|(file, _)| module_name(file) == wanted.replace('-', "_"))
            });
            let Some((file, needs)) = line.and_then(|line| line.split_once(':')) else {
                ensure!(
                    builtin.lines().any(|file| module_name(file) == wanted.replace('-', "_")),
                    "image/board/modules.list names the module {wanted}, which kernel {} does not have",
                    self.release
                );
                continue;
            };
            // depmod names the nearest need first; the farthest has to be loaded first.
            for file in needs.split_ascii_whitespace().rev().chain([file]) {
                if !files.iter().any(|known| known == file) {
                    files.push(file.to_owned());
                }
            }
        }
        Ok(files)
    }

    /// Put these modules, uncompressed, into `lib/modules` below `root`, with the indexes for exactly
    /// them and the list of those that are loaded at every boot.
    pub(crate) fn install(&self, root: &Path, names: &[String], load: &[String]) -> Result<()> {
        let base = root.join("lib/modules").join(&self.release);
        for file in self.files(names)? {
            let to = base.join(plain(&file));
            let folder = to.parent().context("a module without a folder")?;
            std::fs::create_dir_all(folder)?;
            if plain(&file) == file {
                std::fs::copy(self.modules.join(&file), &to)?;
                continue;
            }
            let bytes = Command::new("xz")
                .arg("-dc")
                .arg(self.modules.join(&file))
                .output()
                .context("xz cannot be started")?;
            ensure!(
                bytes.status.success(),
                "{file} cannot be unpacked: {}",
                String::from_utf8_lossy(&bytes.stderr).trim()
            );
            std::fs::write(&to, bytes.stdout)?;
        }
        for index in ["modules.builtin", "modules.order"] {
            std::fs::copy(self.modules.join(index), base.join(index))?;
        }
        run(Command::new("depmod").arg("-b").arg(root).arg(&self.release))?;
        let list: Vec<String> =
            self.files(load)?.iter().map(|file| format!("{}/{}\n", self.release, plain(file))).collect();
        std::fs::write(root.join("lib/modules/load"), list.concat())?;
        for name in std::fs::read_dir(&base)?.flatten() {
            let keep = ["modules.alias", "modules.dep", "kernel"]
                .contains(&name.file_name().to_string_lossy().as_ref());
            if !keep {
                std::fs::remove_file(name.path())?;
            }
        }
        Ok(())
    }
}

fn plain(file: &str) -> &str {
    file.strip_suffix(".xz").unwrap_or(file)
}

fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}
