//! The folder from which a file system image is made.

use crate::elf::require_static;
use crate::stamp::entries;
use anyhow::{Context, Result, ensure};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder that is gone when this value is.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// An empty one, on the file system of `near`.
    pub(crate) fn new(near: &Path) -> Result<Self> {
        std::fs::create_dir_all(near).with_context(|| format!("{} cannot be made", near.display()))?;
        let folder = tempfile::tempdir_in(near)?;
        // A temporary folder is closed to others; the root of an image is open to all.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// An empty folder.
    pub(crate) fn directory(&self, name: &str) -> Result<()> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path)?;
        for folder in path.ancestors().take_while(|folder| *folder != self.folder.path()) {
            std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// The path of a file that is about to be made; its folders are.
    fn place(&self, name: &str) -> Result<PathBuf> {
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.directory(folder)?;
        }
        Ok(self.folder.path().join(name))
    }

    /// A file that all may read.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let to = self.place(name)?;
        std::fs::write(&to, content)?;
        Ok(std::fs::set_permissions(to, Permissions::from_mode(0o644))?)
    }

    /// A copy of a file.
    pub(crate) fn copy(&self, from: &Path, name: &str) -> Result<()> {
        let to = self.place(name)?;
        std::fs::copy(from, &to).with_context(|| format!("{} cannot be copied", from.display()))?;
        Ok(std::fs::set_permissions(to, Permissions::from_mode(0o644))?)
    }

    /// The file itself where both are on one file system, otherwise a copy: for what is large.
    pub(crate) fn link(&self, from: &Path, name: &str) -> Result<()> {
        let to = self.place(name)?;
        if std::fs::hard_link(from, to).is_ok() { Ok(()) } else { self.copy(from, name) }
    }

    /// A program, which must be one that runs without libraries.
    pub(crate) fn program(&self, from: &Path, name: &str) -> Result<()> {
        require_static(from)?;
        self.copy(from, name)?;
        Ok(std::fs::set_permissions(self.path().join(name), Permissions::from_mode(0o755))?)
    }

    /// Everything of a folder. What may be executed stays so; the builder's umask has no say.
    pub(crate) fn tree(&self, from: &Path, below: &str) -> Result<()> {
        self.tree_without(from, below, &[])
    }

    /// The same, without these names in the folder itself.
    pub(crate) fn tree_without(&self, from: &Path, below: &str, without: &[&str]) -> Result<()> {
        for path in entries(from)? {
            let name = path.file_name().context("a file without a name")?.to_string_lossy();
            if without.contains(&&*name) {
                continue;
            }
            let name = if below.is_empty() { name.into_owned() } else { format!("{below}/{name}") };
            if path.is_symlink() {
                std::os::unix::fs::symlink(std::fs::read_link(&path)?, self.place(&name)?)?;
            } else if path.is_dir() {
                self.directory(&name)?;
                self.tree(&path, &name)?;
            } else {
                ensure!(path.is_file(), "{} is neither file, folder nor link", path.display());
                let executable = std::fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
                self.copy(&path, &name)?;
                if executable {
                    std::fs::set_permissions(self.path().join(&name), Permissions::from_mode(0o755))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::{erofs, sha256};

    #[test]
    fn the_same_content_makes_the_same_image_whenever_and_with_whatever_umask() {
        let folder = tempfile::tempdir().expect("a folder");
        let from = folder.path().join("from");
        let hash = |name: &str, mode: u32| {
            let _ = std::fs::remove_dir_all(&from);
            std::fs::create_dir_all(from.join("etc")).expect("made");
            std::fs::write(from.join("etc/hosts"), "::1 localhost\n").expect("written");
            std::fs::set_permissions(from.join("etc/hosts"), Permissions::from_mode(mode)).expect("set");
            let stage = Stage::new(folder.path()).expect("a stage");
            stage.tree(&from, "").expect("copied");
            stage.directory("proc").expect("made");
            let image = folder.path().join(name);
            erofs(stage.path(), &image, "a1050000-0000-4000-8000-000000000000", true).expect("built");
            sha256(&image).expect("read")
        };
        assert_eq!(hash("one", 0o664), hash("two", 0o600));
    }
}
