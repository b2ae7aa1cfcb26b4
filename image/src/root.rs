//! The root file system and the initramfs.

use crate::cpio::Archive;
use crate::elf::require_static;
use crate::kernel::Kernel;
use crate::models::Models;
use crate::tool::{erofs, sha256};
use aios_abi::tool::Component;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const LICENCE: &str = "MIT OR Apache-2.0";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The daemons: program and place in the image.
const PROGRAMS: [(&str, &str); 6] = [
    ("aios-init", "sbin/init"),
    ("aios-toold", "usr/bin/aios-toold"),
    ("aios-netd", "usr/bin/aios-netd"),
    ("aios-inferd", "usr/bin/aios-inferd"),
    ("aios-agentd", "usr/bin/aios-agentd"),
    ("aios-console", "usr/bin/aios-console"),
];

/// The engine workers.
const ENGINES: [(&str, &str); 2] = [
    ("aios-engine-llama", "usr/lib/aios/engines/llama"),
    ("aios-engine-candle", "usr/lib/aios/engines/candle"),
];

/// Mount points, which a read-only root must have from the start.
const EMPTY: [&str; 8] = ["proc", "sys", "dev", "run", "tmp", "data", "models", "root"];

/// Where the parts come from.
pub(crate) struct Sources<'a> {
    pub(crate) board: &'a Path,
    pub(crate) programs: &'a Path,
    pub(crate) engines: &'a Path,
    pub(crate) extra: &'a [PathBuf],
}

/// Build the root image.
pub(crate) fn image(sources: &Sources<'_>, kernel: &Kernel, models: &Models, image: &Path) -> Result<()> {
    let stage = tempfile::tempdir()?;
    let root = stage.path();
    let mut components = Vec::new();
    for folder in EMPTY {
        std::fs::create_dir_all(root.join(folder))?;
    }
    copy_tree(&sources.board.join("rootfs"), root)?;
    let engines =
        ENGINES.iter().map(|(name, place)| (sources.engines.join(name), *name, (*place).to_owned()));
    let programs =
        PROGRAMS.iter().map(|(name, place)| (sources.programs.join(name), *name, (*place).to_owned()));
    for (from, name, place) in programs.chain(engines) {
        install(&from, &root.join(&place))?;
        components.push(component(&from, name, VERSION, "program", LICENCE)?);
    }
    for from in sources.extra {
        let name = from.file_name().context("a program without a name")?.to_string_lossy().into_owned();
        install(from, &root.join("usr/bin").join(&name))?;
        components.push(component(from, &name, VERSION, "program", LICENCE)?);
    }
    let list = Lists::read(sources.board)?;
    let all: Vec<String> = list.initramfs.iter().chain(&list.load).chain(&list.present).cloned().collect();
    kernel.install(root, &all, &list.load)?;
    components.push(component(&kernel.image, "linux", &kernel.version, "kernel", "GPL-2.0-only")?);
    components.push(component(
        &models.folder.join("text.gguf"),
        "SmolLM2-135M-Instruct",
        "Q4_1",
        "model",
        "Apache-2.0",
    )?);
    components.push(component(
        &models.folder.join("embed/model.safetensors"),
        "all-MiniLM-L6-v2",
        "1",
        "model",
        "Apache-2.0",
    )?);
    components.sort_by(|a, b| a.name.cmp(&b.name));
    let manifest = root.join(aios_abi::paths::MANIFEST.trim_start_matches('/'));
    std::fs::create_dir_all(manifest.parent().context("the manifest has no folder")?)?;
    std::fs::write(manifest, serde_json::to_vec_pretty(&components)?)?;
    std::fs::write(
        root.join("etc/os-release"),
        format!("NAME=aiOS\nID=aios\nVERSION_ID={VERSION}\nPRETTY_NAME=\"aiOS {VERSION}\"\n"),
    )?;
    erofs(root, image, "aios-root", "a1050000-0000-4000-8000-00000000000a", true)
}

/// Build the initramfs: PID 1 and the modules that lead to the root.
pub(crate) fn initramfs(sources: &Sources<'_>, kernel: &Kernel, archive: &Path) -> Result<()> {
    let stage = tempfile::tempdir()?;
    let list = Lists::read(sources.board)?;
    kernel.install(stage.path(), &list.initramfs, &list.initramfs)?;
    let part = archive.with_extension("part");
    let mut cpio = Archive::new(std::io::BufWriter::new(std::fs::File::create(&part)?));
    for folder in ["dev", "proc", "sys", "newroot"] {
        cpio.directory(folder)?;
    }
    // The kernel opens the console for PID 1 before anything is mounted.
    cpio.character_device("dev/console", 5, 1)?;
    let program = sources.programs.join("aios-init");
    require_static(&program)?;
    cpio.file("init", &std::fs::read(program)?)?;
    add_tree(&mut cpio, stage.path(), stage.path())?;
    cpio.finish()?;
    std::fs::rename(part, archive)?;
    Ok(())
}

fn add_tree<W: std::io::Write>(cpio: &mut Archive<W>, base: &Path, folder: &Path) -> Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(base)?.to_string_lossy().into_owned();
        if path.is_dir() {
            cpio.directory(&name)?;
            add_tree(cpio, base, &path)?;
        } else {
            cpio.file(&name, &std::fs::read(&path)?)?;
        }
    }
    Ok(())
}

fn install(from: &Path, to: &Path) -> Result<()> {
    require_static(from)?;
    std::fs::create_dir_all(to.parent().context("a program without a folder")?)?;
    std::fs::copy(from, to).with_context(|| format!("{} cannot be copied", from.display()))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn component(file: &Path, name: &str, version: &str, kind: &str, licence: &str) -> Result<Component> {
    Ok(Component {
        name: name.into(),
        version: version.into(),
        kind: kind.into(),
        licence: licence.into(),
        bytes: std::fs::metadata(file)?.len(),
        sha256: sha256(file)?,
    })
}

/// `image/board/modules.list`: which modules are in the image, and when they are loaded.
struct Lists {
    initramfs: Vec<String>,
    load: Vec<String>,
    present: Vec<String>,
}

impl Lists {
    fn read(board: &Path) -> Result<Self> {
        let path = board.join("modules.list");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut lists = Self { initramfs: vec![], load: vec![], present: vec![] };
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let (Some(when), Some(name)) = (words.next(), words.next()) else { continue };
            let list = match when {
                "initramfs" => &mut lists.initramfs,
                "load" => &mut lists.load,
                "present" => &mut lists.present,
                _ => anyhow::bail!(
                    "{}:{}: `{when}` is none of initramfs, load, present",
                    path.display(),
                    number + 1
                ),
            };
            list.push(name.to_owned());
        }
        Ok(lists)
    }
}
