//! What undo needs, kept on disk before a change is made.
//!
//! One file a change, `undo/<sequence number of its audit record>`: postcard of [`Saved`], then the
//! BLAKE3 hash of that. It is written and flushed as a draft before the record is, and gets its name
//! after it; so a change was never made without either of the two. Drafts that a power cut left are
//! removed at the next start: their change was not made.

use crate::policy::Target;
use aios_abi::{CallError, ErrorCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All undo data together, as it takes up the disk; the oldest goes first.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// A file takes up at least this much.
const BLOCK: u64 = 4096;
const HASH: usize = 32;
/// How the file is called that says of a record that its changes are not all made.
const OPEN: &str = ".open";

/// What is on disk for one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The tool's name.
    pub tool: String,
    /// What was changed; while it is taken back nobody else changes it.
    pub target: Target,
    /// What the tool saved.
    pub kept: Kept,
    /// Record of the several changes that this is one of.
    pub part_of: Option<u64>,
}

/// A change that was made with others: the number of its record, and what was saved.
pub type Part = (u64, Saved);

/// What a tool saved. Only the tool itself understands it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its own notes, as JSON.
    pub note: String,
    /// Bytes that it wants back, such as the content that a file had.
    pub content: Option<Vec<u8>>,
}

impl Kept {
    /// A note and bytes.
    pub fn new(note: &impl Serialize, content: Option<Vec<u8>>) -> Self {
        // A tool's note always encodes; without it an undo refuses.
        Self { note: serde_json::to_string(note).unwrap_or_default(), content }
    }

    /// The note.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_str(&self.note)
            .map_err(|e| CallError::failed(format!("the undo data cannot be read ({e}); nothing was undone")))
    }
}

/// The directory of undo data.
pub struct Store {
    folder: PathBuf,
    drafts: AtomicU64,
    /// Bytes on the disk by sequence number.
    kept: Mutex<BTreeMap<u64, u64>>,
}

/// Saved, but of a change that has no record yet. Dropped without [`Draft::keep`] it is removed.
pub struct Draft {
    store: Arc<Store>,
    path: Option<PathBuf>,
    bytes: u64,
}

impl Store {
    /// Open the directory, make it if need be, and remove drafts.
    pub fn open(folder: PathBuf) -> Result<Self, CallError> {
        let at = |e: std::io::Error| CallError::failed(format!("{}: {e}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(at)?;
        rustix::fs::chmod(&folder, rustix::fs::Mode::from_raw_mode(0o700)).map_err(|e| at(e.into()))?;
        let mut kept = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).map_err(at)?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".draft") {
                let _ = std::fs::remove_file(entry.path());
            } else if let (Ok(seq), Ok(facts)) = (name.parse(), entry.metadata()) {
                kept.insert(seq, on_disk(facts.len()));
            }
        }
        Ok(Self { folder, drafts: AtomicU64::new(0), kept: Mutex::new(kept) })
    }

    /// Put this on disk.
    pub fn save(self: &Arc<Self>, saved: &Saved) -> Result<Draft, CallError> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number}.draft"));
        let refused = |e: &dyn std::fmt::Display| {
            CallError::unavailable(format!("nothing was done: what undo needs cannot be saved ({e})"))
        };
        let mut bytes = postcard::to_stdvec(saved).map_err(|e| refused(&e))?;
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        let on_disk = on_disk(bytes.len() as u64);
        let going = too_much(&self.kept(), on_disk);
        going.into_iter().for_each(|seq| self.remove(seq));
        let draft = Draft { store: self.clone(), path: Some(path.clone()), bytes: on_disk };
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| refused(&e))?;
        file.write_all(&bytes).map_err(|e| refused(&e))?;
        file.sync_all().map_err(|e| refused(&e))?;
        Ok(draft)
    }

    /// What was saved for the change that this record began.
    pub fn load(&self, seq: u64) -> Result<Saved, CallError> {
        let path = self.path(seq);
        let mut bytes = Vec::new();
        File::open(&path)
            .map_err(|_| {
                CallError::not_found(format!(
                    "record {seq} has no undo data: it cannot be undone, or its data made room for newer changes"
                ))
            })?
            .read_to_end(&mut bytes)?;
        read(&bytes)
            .ok_or_else(|| CallError::failed(format!("{} is damaged; nothing was undone", path.display())))
    }

    /// From now on what was made under this record is taken back at the next start, unless [`Self::close`] comes first. On
    /// disk when this returns.
    pub fn open_together(&self, of: u64) -> Result<(), CallError> {
        let write = || -> std::io::Result<()> {
            File::create(self.marker(of))?.sync_all()?;
            sync(&self.folder)
        };
        write().map_err(|e| CallError::unavailable(format!("nothing was done: {e}")))
    }

    /// What was made under this record stays, or was taken back. On disk when this returns.
    pub fn close_together(&self, of: u64) -> Result<(), CallError> {
        let close = || -> std::io::Result<()> {
            match std::fs::remove_file(self.marker(of)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
                _ => sync(&self.folder),
            }
        };
        close().map_err(|e| CallError::failed(format!("{}: {e}", self.marker(of).display())))
    }

    /// Records under which changes were made that belong together and did not come to their end.
    pub fn left_open(&self) -> Vec<u64> {
        let names = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let number = |name: std::ffi::OsString| name.to_str()?.strip_suffix(OPEN)?.parse().ok();
        names.filter_map(|entry| number(entry.file_name())).collect()
    }

    fn marker(&self, of: u64) -> PathBuf {
        self.folder.join(format!("{of}{OPEN}"))
    }

    /// The changes that were made together under this record, the last first.
    pub fn parts(&self, of: u64) -> Vec<Part> {
        let later: Vec<u64> = self.kept().range(of + 1..).map(|(seq, _)| *seq).collect();
        let load = |seq: u64| self.load(seq).ok().map(|saved| (seq, saved));
        later.into_iter().rev().filter_map(load).filter(|(_, saved)| saved.part_of == Some(of)).collect()
    }

    /// It is not needed any more.
    pub fn remove(&self, seq: u64) {
        self.kept().remove(&seq);
        let _ = std::fs::remove_file(self.path(seq));
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, seq: u64) -> PathBuf {
        self.folder.join(seq.to_string())
    }
}

/// What a file of undo data holds, if it is whole.
pub fn read(bytes: &[u8]) -> Option<Saved> {
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
    if blake3::hash(body).as_bytes() != hash {
        return None;
    }
    postcard::from_bytes(body).ok()
}

fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK)
}

/// Which of these (bytes by sequence number) must go so that `wanted` more bytes fit.
fn too_much(kept: &BTreeMap<u64, u64>, wanted: u64) -> Vec<u64> {
    let mut total = kept.values().sum::<u64>().saturating_add(wanted);
    let mut going = Vec::new();
    for (seq, bytes) in kept {
        if total <= MAX_BYTES {
            break;
        }
        total -= bytes;
        going.push(*seq);
    }
    going
}

impl Draft {
    /// The change has a record now; keep this under its number, durably.
    pub fn keep(mut self, seq: u64) -> Result<(), CallError> {
        let Some(path) = self.path.take() else { return Ok(()) };
        let kept = || -> std::io::Result<()> {
            std::fs::rename(&path, self.store.path(seq))?;
            self.store.kept().insert(seq, self.bytes);
            sync(&self.store.folder)
        };
        kept().map_err(|e| {
            let _ = std::fs::remove_file(&path);
            CallError::new(
                ErrorCode::Unavailable,
                format!("nothing was done: what undo needs cannot be saved ({e})"),
            )
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(text: &str) -> Saved {
        let kept = Kept { note: "{}".into(), content: Some(text.into()) };
        Saved { tool: "fs.write".into(), target: Target::File("/tmp/x".into()), kept, part_of: None }
    }

    #[test]
    fn what_is_kept_comes_back_and_a_dropped_draft_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(Store::open(dir.path().join("undo")).expect("opens"));
        store.save(&saved("a")).expect("saves").keep(7).expect("keeps");
        drop(store.save(&saved("b")).expect("saves"));
        assert_eq!(store.load(7).expect("loads"), saved("a"));
        assert_eq!(std::fs::read_dir(dir.path().join("undo")).expect("lists").count(), 1);
        store.remove(7);
        assert_eq!(store.load(7).expect_err("gone").code, ErrorCode::NotFound);
    }

    #[test]
    fn a_damaged_file_is_noticed_and_drafts_of_a_power_cut_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(Store::open(dir.path().into()).expect("opens"));
        store.save(&saved("abcdef")).expect("saves").keep(1).expect("keeps");
        let mut bytes = std::fs::read(dir.path().join("1")).expect("reads");
        bytes[12] ^= 1;
        std::fs::write(dir.path().join("1"), bytes).expect("writes");
        assert!(store.load(1).expect_err("damaged").message.contains("damaged"));
        std::fs::write(dir.path().join("1"), b"x").expect("writes");
        assert!(store.load(1).is_err());
        std::fs::write(dir.path().join("9.draft"), b"x").expect("writes");
        Store::open(dir.path().into()).expect("opens");
        assert!(!dir.path().join("9.draft").exists());
    }

    #[test]
    fn the_oldest_makes_room() {
        let kept = BTreeMap::from([(9, 10), (3, MAX_BYTES - 20), (5, 5)]);
        assert_eq!(too_much(&kept, 5), Vec::<u64>::new());
        assert_eq!(too_much(&kept, 6), vec![3]);
        assert_eq!(too_much(&kept, MAX_BYTES), vec![3, 5, 9]);
    }
}
