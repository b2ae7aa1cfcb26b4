//! What files were like when a person found them good: hashes and facts, kept by the broker, where no tool that takes a path
//! can write. A look compares with it.

use crate::ctx::Ctx;
use crate::file;
use crate::walk;
use aios_abi::{CallError, ErrorCode};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Files of a baseline at most.
pub(crate) const MAX_FILES: usize = 20_000;
/// Bytes that are hashed at most.
const MAX_BYTES: u64 = 4 << 30;
/// Bytes of a baseline on disk at most.
const MOST: usize = 16 << 20;
/// Levels below a path.
const DEPTH: u32 = 64;

/// The baseline on disk. A power cut leaves the old one or the new one.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
}

impl Keeper {
    /// In this directory.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("baseline") }
    }

    /// What is kept; nothing where none was set.
    pub fn read(&self) -> Result<Option<String>, CallError> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CallError::failed(format!("{}: {e}", self.path.display()))),
        }
    }

    /// Keep this instead; none removes it.
    pub fn write(&self, text: Option<&str>) -> Result<(), CallError> {
        let draft = self.path.with_extension("draft");
        let write = || -> std::io::Result<()> {
            match text {
                Some(text) => {
                    let mut file = std::fs::File::create(&draft)?;
                    file.write_all(text.as_bytes())?;
                    file.sync_all()?;
                    std::fs::rename(&draft, &self.path)?;
                }
                None => match std::fs::remove_file(&self.path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                },
            }
            self.path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        };
        if text.is_some_and(|text| text.len() > MOST) {
            let text = format!("the baseline would have more than {MOST} bytes; take fewer files");
            return Err(CallError::invalid(text));
        }
        write().map_err(|e| CallError::unavailable(format!("the baseline was not kept: {e}")))
    }
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Kind and permission bits (`st_mode`).
    pub(crate) mode: u32,
    /// Owner and group.
    pub(crate) owner: (u32, u32),
    /// BLAKE3 of a file's content or of a link's target.
    pub(crate) hash: Option<String>,
}

/// A baseline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// Seconds since 1970 at which it was taken.
    pub(crate) taken: i64,
    /// What it is of.
    pub(crate) paths: Vec<String>,
    /// All that was there, by path.
    pub(crate) files: BTreeMap<String, Known>,
}

impl Baseline {
    /// What is there now at these paths and below them.
    pub(crate) fn take(ctx: &Ctx, paths: &[String], taken: i64) -> Result<Self, CallError> {
        let (mut files, mut real, mut hashed) = (BTreeMap::new(), Vec::new(), 0_u64);
        for path in paths {
            let root = file::find(path, true)?;
            ctx.may_see(&root.path)?;
            let mut found = vec![(root.path.clone(), root.stat)];
            let mut too_many = false;
            if root.kind() == FileType::Directory {
                let walked = walk::walk(ctx, &root, DEPTH, |path, stat| {
                    too_many |= found.len() >= MAX_FILES;
                    if !too_many && ctx.policy.may_see(path).is_ok() {
                        found.push((path.to_path_buf(), *stat));
                    }
                })?;
                too_many |= walked.seen as usize > MAX_FILES;
            }
            if too_many || files.len() + found.len() > MAX_FILES {
                let text = format!("{path}: more than {MAX_FILES} files; name smaller directories");
                return Err(CallError::invalid(text));
            }
            for (path, stat) in found {
                ctx.check()?;
                hashed = hashed.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                if hashed > MAX_BYTES {
                    let text = format!("more than {MAX_BYTES} bytes would be read; name smaller directories");
                    return Err(CallError::invalid(text));
                }
                files.insert(path.display().to_string(), known(ctx, &path, &stat)?);
            }
            real.push(root.path.display().to_string());
        }
        Ok(Self { taken, paths: real, files })
    }

    /// Of these paths alone, as they really are. Errors: `NotFound` where it says nothing about one of them.
    pub(crate) fn of(self, paths: &[String]) -> Result<Self, CallError> {
        let real = |path: &String| file::find(path, true).map_or_else(|_| path.into(), |found| found.path);
        let paths: Vec<PathBuf> = paths.iter().map(real).collect();
        let within = |path: &str| paths.iter().any(|part| Path::new(path).starts_with(part));
        let is_known = |path: &&PathBuf| self.paths.iter().any(|known| path.starts_with(known));
        if let Some(path) = paths.iter().find(|path| !is_known(path)) {
            let text = format!(
                "the baseline says nothing about {}; it is of {}",
                path.display(),
                self.paths.join(", ")
            );
            return Err(CallError::not_found(text));
        }
        let files = self.files.into_iter().filter(|(path, _)| within(path)).collect();
        let paths = paths.iter().map(|path| path.display().to_string()).collect();
        Ok(Self { taken: self.taken, paths, files })
    }

    /// From the keeper's text.
    pub(crate) fn read(text: &str) -> Result<Self, CallError> {
        serde_json::from_str(text).map_err(|e| {
            let text = format!("the baseline is damaged ({e}); set another with sec.baseline");
            CallError::new(ErrorCode::Failed, text)
        })
    }

    /// For the keeper.
    pub(crate) fn write(&self) -> Result<String, CallError> {
        serde_json::to_string(self)
            .map_err(|e| CallError::failed(format!("the baseline cannot be written: {e}")))
    }
}

fn known(ctx: &Ctx, path: &Path, stat: &Stat) -> Result<Known, CallError> {
    let hash = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(hash(ctx, path)?),
        FileType::Symlink => std::fs::read_link(path).ok().map(|to| {
            use std::os::unix::ffi::OsStrExt;
            blake3::hash(to.as_os_str().as_bytes()).to_hex().to_string()
        }),
        _ => None,
    };
    Ok(Known { mode: stat.st_mode, owner: (stat.st_uid, stat.st_gid), hash })
}

fn hash(ctx: &Ctx, path: &Path) -> Result<String, CallError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let file =
        file.map_err(|e| CallError::failed(format!("{}: {}", path.display(), std::io::Error::from(e))))?;
    Ok(file::hash_of(ctx, &mut std::fs::File::from(file))?.1.to_hex().to_string())
}

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    Added,
    Removed,
    Content,
    Facts,
}

/// Every difference between then and now, by path.
pub(crate) fn compare(then: &Baseline, now: &Baseline) -> Vec<(String, Difference)> {
    let gone = then.files.keys().filter(|path| !now.files.contains_key(*path));
    let mut all: Vec<_> = gone.map(|path| (path.clone(), Difference::Removed)).collect();
    for (path, now) in &now.files {
        let Some(then) = then.files.get(path) else {
            all.push((path.clone(), Difference::Added));
            continue;
        };
        if then.hash != now.hash {
            all.push((path.clone(), Difference::Content));
        }
        if (then.mode, then.owner) != (now.mode, now.owner) {
            all.push((path.clone(), Difference::Facts));
        }
    }
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(mode: u32, hash: &str) -> Known {
        Known { mode, owner: (0, 0), hash: Some(hash.into()) }
    }

    #[test]
    fn what_was_added_removed_and_changed_is_told_apart() {
        let of = |files: &[(&str, Known)]| Baseline {
            files: files.iter().map(|(path, known)| ((*path).to_owned(), known.clone())).collect(),
            ..Baseline::default()
        };
        let then = of(&[("/a", known(0o644, "1")), ("/b", known(0o644, "1")), ("/c", known(0o644, "1"))]);
        let now = of(&[("/a", known(0o600, "2")), ("/c", known(0o644, "1")), ("/d", known(0o644, "1"))]);
        assert_eq!(
            compare(&then, &now),
            [
                ("/a".to_owned(), Difference::Content),
                ("/a".to_owned(), Difference::Facts),
                ("/b".to_owned(), Difference::Removed),
                ("/d".to_owned(), Difference::Added),
            ]
        );
        assert_eq!(compare(&then, &then), []);
        assert_eq!(Baseline::read(&then.write().expect("writes")).expect("reads"), then);
        assert!(Baseline::read("{").is_err());
    }
}
