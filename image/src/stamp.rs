//! Whether a result was made from exactly these inputs.
//!
//! A file is known by its length and its time of change: hashing hundreds of megabytes at every
//! `make run` would cost more than building what has changed.

use crate::tool::Digest;
use anyhow::{Context, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a result is made from.
pub(crate) struct Inputs {
    digest: Digest,
}

impl Inputs {
    /// Nothing yet, but this very program: it decides how the result is made.
    pub(crate) fn new() -> Result<Self> {
        let mut inputs = Self { digest: Digest::default() };
        inputs.file(&std::env::current_exe()?)?;
        Ok(inputs)
    }

    /// A setting.
    pub(crate) fn text(&mut self, text: &str) {
        self.digest.add(format!("{}:{text}\n", text.len()).as_bytes());
    }

    /// A file.
    pub(crate) fn file(&mut self, path: &Path) -> Result<()> {
        let found = std::fs::metadata(path).with_context(|| format!("{} is missing", path.display()))?;
        self.text(&path.display().to_string());
        self.text(&format!("{} {}.{}", found.len(), found.mtime(), found.mtime_nsec()));
        Ok(())
    }

    /// A folder with all that is in it.
    pub(crate) fn tree(&mut self, folder: &Path) -> Result<()> {
        for path in entries(folder)? {
            if path.is_symlink() {
                self.text(&format!("{} -> {}", path.display(), std::fs::read_link(&path)?.display()));
            } else if path.is_dir() {
                self.text(&path.display().to_string());
                self.tree(&path)?;
            } else {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    /// Their stamp for this result.
    pub(crate) fn stamp(self, result: &Path, cache: &Path) -> Result<Stamp> {
        // Two results in different folders must not share a stamp.
        let mut place = Digest::default();
        place.add(std::path::absolute(result)?.as_os_str().as_encoded_bytes());
        let file = cache.join("stamps").join(place.hex());
        Ok(Stamp { file, result: result.to_owned(), inputs: self.digest.hex() })
    }
}

/// Remembers what a result was made from.
pub(crate) struct Stamp {
    file: PathBuf,
    result: PathBuf,
    inputs: String,
}

impl Stamp {
    /// Whether the result is there and was made from the same inputs.
    pub(crate) fn holds(&self) -> bool {
        self.result.exists() && std::fs::read_to_string(&self.file).is_ok_and(|known| known == self.inputs)
    }

    /// The result was made.
    pub(crate) fn set(&self) -> Result<()> {
        let folder = self.file.parent().context("a stamp without a folder")?;
        std::fs::create_dir_all(folder)?;
        std::fs::write(&self.file, &self.inputs)
            .with_context(|| format!("{} cannot be written", self.file.display()))
    }
}

/// What is in a folder, in an order that does not depend on the file system.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_holds_until_an_input_or_itself_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (input, result) = (folder.path().join("in"), folder.path().join("out"));
        std::fs::write(&input, "1").expect("writes");
        let stamp = |text: &str| {
            let mut inputs = Inputs::new().expect("itself");
            inputs.text(text);
            inputs.file(&input).expect("there");
            inputs.stamp(&result, folder.path()).expect("a stamp")
        };
        assert!(!stamp("a").holds(), "there is no result yet");
        std::fs::write(&result, "made").expect("writes");
        stamp("a").set().expect("sets");
        assert!(stamp("a").holds());
        assert!(!stamp("b").holds(), "a setting has changed");
        std::fs::write(&input, "22").expect("writes");
        assert!(!stamp("a").holds(), "the input has changed");
    }
}
