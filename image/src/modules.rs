//! Which kernel modules are in the image, and in which order they are loaded.

use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// `image/board/modules.list`
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    /// Loaded before the root is there.
    pub(crate) initramfs: Vec<String>,
    /// Loaded at every boot.
    pub(crate) load: Vec<String>,
    /// In the image; a device may ask for them.
    pub(crate) present: Vec<String>,
}

impl Lists {
    /// Read the file of this board.
    pub(crate) fn read(board: &Path) -> Result<Self> {
        let path = board.join("modules.list");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lists = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(when) = words.next() else { continue };
            let list = match when {
                "initramfs" => &mut lists.initramfs,
                "load" => &mut lists.load,
                "present" => &mut lists.present,
                _ => bail!("line {number}: `{when}` is none of initramfs, load, present"),
            };
            match (words.next(), words.next()) {
                (Some(name), None) => list.push(name.to_owned()),
                _ => bail!("line {number}: one module's name belongs after `{when}`"),
            }
        }
        Ok(lists)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<String> {
        [&self.initramfs, &self.load, &self.present].into_iter().flatten().cloned().collect()
    }
}

/// Files (relative to the modules' folder) of these modules and of all that they need, each after those
/// that it needs. A module that is built into the kernel needs no file. `index` is depmod's modules.dep,
/// `builtin` the kernel's modules.builtin (modules.dep(5)).
pub(crate) fn files(index: &str, builtin: &str, names: &[String]) -> Result<Vec<String>> {
    let mut files: Vec<String> = Vec::new();
    for wanted in names {
        let wanted = wanted.replace('-', "_");
        let line = index.lines().filter_map(|line| line.split_once(':'));
        let Some((file, needs)) = line.into_iter().find(|(file, _)| name_of(file) == wanted) else {
            ensure!(
                builtin.lines().any(|file| name_of(file) == wanted),
                "the kernel has no module {wanted}, which image/board/modules.list names"
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

/// `kernel/drivers/block/virtio-blk.ko.xz` is the module `virtio_blk`.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}

/// The file's name without its compression.
pub(crate) fn plain(file: &str) -> &str {
    file.strip_suffix(".xz").unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "kernel/net/virtio-net.ko.xz: kernel/net/net_failover.ko.xz kernel/core/failover.ko.xz\n\
                         kernel/net/net_failover.ko.xz: kernel/core/failover.ko.xz\n\
                         kernel/core/failover.ko.xz:\n";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_module_comes_after_all_that_it_needs_and_only_once() {
        let found = files(INDEX, "", &names(&["virtio_net", "net-failover"])).expect("known");
        let expected = ["core/failover.ko.xz", "net/net_failover.ko.xz", "net/virtio-net.ko.xz"];
        assert_eq!(found, expected.map(|f| format!("kernel/{f}")));
    }

    #[test]
    fn what_is_built_in_needs_no_file_and_what_is_unknown_is_named() {
        assert!(
            files(INDEX, "kernel/drivers/virtio_pci.ko\n", &names(&["virtio_pci"]))
                .expect("known")
                .is_empty()
        );
        let error = files(INDEX, "", &names(&["nothing"])).expect_err("refused").to_string();
        assert!(error.contains("no module nothing"), "{error}");
    }

    #[test]
    fn the_list_says_when_each_is_loaded_and_a_mistake_has_a_line() {
        let lists =
            Lists::parse("# why\ninitramfs virtio_blk # disks\n\npresent  i6300esb\n").expect("valid");
        assert_eq!(lists.all(), ["virtio_blk", "i6300esb"]);
        for bad in ["load a\nlaod b\n", "load a\nload\n", "load a\nload b c\n"] {
            let error = Lists::parse(bad).expect_err("refused").to_string();
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }
}
