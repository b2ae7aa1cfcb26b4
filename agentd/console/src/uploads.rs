//! Files that people send to the machine: written as they come, beside their place, and given their name when they are whole.
//!
//! What arrived of a file whose connection broke stays as `NAME.part`, and sending goes on from there. An upload is a file
//! in the upload area and nothing more: what becomes of it tools decide (`model.import`, `pkg.install`), and record.

use crate::state::lock;
use aios_abi::{CallError, ErrorCode};
use axum::body::Bytes;
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

/// Bytes of one file.
pub const MAX_UPLOAD: u64 = 64 << 30;
/// Files that are received at once.
const MAX_AT_ONCE: usize = 4;
/// Files that are listed.
const MAX_LISTED: usize = 1_000;
/// Letters of a name.
const LONGEST_NAME: usize = 128;
/// Bytes that stay free on the disk.
const SPARE: u64 = 128 << 20;
/// Bytes after which it is looked again whether there is room, and what came is written out.
const STRETCH: u64 = 32 << 20;
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(60);
/// The end of a name while the file is not whole.
const PART: &str = "part";

/// The upload area.
pub struct Uploads {
    folder: PathBuf,
    /// Bytes that stay free on its disk.
    spare: u64,
    /// Names that are being received.
    busy: Mutex<BTreeSet<String>>,
}

/// A file in the upload area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upload {
    /// Its name.
    pub name: String,
    /// Where tools find it.
    pub path: String,
    /// Bytes that have arrived.
    pub bytes: u64,
    /// Whether that is all.
    pub complete: bool,
}

/// One name that is being received.
struct Turn<'a> {
    uploads: &'a Uploads,
    name: String,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.uploads.busy).remove(&self.name);
    }
}

/// Whether a file may have this name.
pub fn name_is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.bytes().all(plain)
        && !name.starts_with(['.', '-'])
        && !name.ends_with(".part")
}

impl Uploads {
    /// In this directory.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), spare: SPARE, busy: Mutex::default() }
    }

    fn failed(&self, error: &std::io::Error) -> CallError {
        CallError::failed(format!("{}: {error}", self.folder.display()))
    }

    fn places(&self, name: &str) -> Result<(PathBuf, PathBuf), CallError> {
        match name_is_plain(name) {
            true => Ok((self.folder.join(name), self.folder.join(format!("{name}.{PART}")))),
            false => Err(CallError::invalid(format!(
                "{name:?} is no name for an upload: at most {LONGEST_NAME} letters, digits, `.`, `_` and `-`"
            ))),
        }
    }

    fn turn(&self, name: &str) -> Result<Turn<'_>, CallError> {
        let mut busy = lock(&self.busy);
        if busy.len() >= MAX_AT_ONCE {
            let text =
                format!("{MAX_AT_ONCE} files are being sent already; try again when one of them has arrived");
            return Err(CallError::new(ErrorCode::Busy, text));
        }
        match busy.insert(name.to_owned()) {
            true => Ok(Turn { uploads: self, name: name.to_owned() }),
            false => Err(CallError::new(ErrorCode::Busy, format!("{name} is being sent already"))),
        }
    }

    fn has_room(&self, bytes: u64) -> Result<(), CallError> {
        let disk = rustix::fs::statvfs(&self.folder).map_err(|e| self.failed(&e.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let needed = bytes.saturating_add(self.spare);
        match free >= needed {
            true => Ok(()),
            false => Err(CallError::unavailable(format!(
                "the disk has {} MiB free and {} MiB are needed; remove something first",
                free >> 20,
                needed >> 20
            ))),
        }
    }

    /// What is in the upload area, by name.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub async fn list(&self) -> Result<Vec<Upload>, CallError> {
        let mut entries = match tokio::fs::read_dir(&self.folder).await {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| self.failed(&e))?,
        };
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(|e| self.failed(&e))? {
            let Ok(file) = entry.file_name().into_string() else { continue };
            let name = file.strip_suffix(".part").unwrap_or(&file).to_owned();
            let facts = entry.metadata().await.ok().filter(|facts| facts.is_file());
            if let Some(facts) = facts.filter(|_| name_is_plain(&name) && all.len() < MAX_LISTED) {
                let complete = name == file;
                let path = entry.path().display().to_string();
                all.push(Upload { name, path, bytes: facts.len(), complete });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Take in a file of `size` bytes, or the rest of one from `offset` on. A body that ends before leaves what came for the
    /// next time.
    ///
    /// # Errors
    /// A name that cannot be, a file that is there, an offset that is not where the last one ended, a disk without room.
    pub async fn receive<E: std::fmt::Display>(
        &self,
        name: &str,
        size: u64,
        offset: u64,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Upload, CallError> {
        let (place, part) = self.places(name)?;
        if size == 0 || size > MAX_UPLOAD || offset > size {
            return Err(CallError::invalid(format!(
                "size and offset must be those of a file of 1 byte to {} GiB",
                MAX_UPLOAD >> 30
            )));
        }
        let _turn = self.turn(name)?;
        if tokio::fs::symlink_metadata(&place).await.is_ok() {
            let text = format!("{name} is in the upload area already; remove it first or give another name");
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        self.has_room(size - offset)?;
        let mut file = self.open(&part, offset).await?;
        let (mut length, mut written) = (offset, 0);
        let why = loop {
            match tokio::time::timeout(SILENCE, body.next()).await {
                Err(_) => break Some(format!("nothing came for {} s", SILENCE.as_secs())),
                Ok(None) => break None,
                Ok(Some(Err(error))) => break Some(error.to_string()),
                Ok(Some(Ok(piece))) => {
                    length += piece.len() as u64;
                    if length > size {
                        break Some(format!("more than the {size} bytes came that were announced"));
                    }
                    file.write_all(&piece).await.map_err(|e| self.failed(&e))?;
                    written += piece.len() as u64;
                    if written >= STRETCH {
                        written = 0;
                        file.sync_data().await.map_err(|e| self.failed(&e))?;
                        self.has_room(size - length)?;
                    }
                }
            }
        };
        file.flush().await.map_err(|e| self.failed(&e))?;
        if length > size {
            // It is not what was announced: nothing of it is worth going on from.
            let _ = tokio::fs::remove_file(&part).await;
        }
        if let Some(why) = why {
            return Err(CallError::invalid(format!("{name} did not arrive whole: {why}")));
        }
        file.sync_all().await.map_err(|e| self.failed(&e))?;
        let complete = length == size;
        if complete {
            tokio::fs::rename(&part, &place).await.map_err(|e| self.failed(&e))?;
            let folder = File::open(&self.folder).await.map_err(|e| self.failed(&e))?;
            folder.sync_all().await.map_err(|e| self.failed(&e))?;
        }
        let path = if complete { place } else { part };
        Ok(Upload { name: name.into(), path: path.display().to_string(), bytes: length, complete })
    }

    /// The file as far as it has come.
    async fn open(&self, part: &std::path::Path, offset: u64) -> Result<File, CallError> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o644).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        if offset == 0 {
            return options.create(true).truncate(true).open(part).await.map_err(|e| self.failed(&e));
        }
        let there = tokio::fs::symlink_metadata(part).await.map_or(0, |facts| facts.len());
        if there != offset {
            let text = format!("{there} bytes of it have arrived; send it from there on (offset={there})");
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        options.append(true).open(part).await.map_err(|e| self.failed(&e))
    }

    /// Remove a file, or what came of one.
    ///
    /// # Errors
    /// A file that is not there, or is being sent.
    pub async fn remove(&self, name: &str) -> Result<(), CallError> {
        let (place, part) = self.places(name)?;
        let _turn = self.turn(name)?;
        let mut removed = false;
        for path in [place, part] {
            match tokio::fs::remove_file(&path).await {
                Ok(()) => removed = true,
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(self.failed(&e)),
            }
        }
        match removed {
            true => Ok(()),
            false => Err(CallError::not_found(format!("there is no upload {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use proptest::prelude::*;

    fn body(pieces: &[&str], breaks: bool) -> impl Stream<Item = Result<Bytes, String>> + Unpin + use<> {
        let mut all: Vec<Result<Bytes, String>> =
            pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece.as_bytes()))).collect();
        if breaks {
            all.push(Err("the connection broke".into()));
        }
        stream::iter(all)
    }

    fn area() -> (tempfile::TempDir, Uploads) {
        let folder = tempfile::tempdir().expect("a folder");
        let uploads = Uploads::at(folder.path());
        (folder, uploads)
    }

    #[tokio::test]
    async fn a_file_arrives_in_pieces_and_goes_on_where_it_broke_off() {
        let (folder, uploads) = area();
        let error = uploads.receive("m.gguf", 10, 0, body(&["012", "34"], true)).await.expect_err("breaks");
        assert!(error.message.contains("the connection broke"), "{error}");
        let there = uploads.list().await.expect("listed");
        assert_eq!((there[0].bytes, there[0].complete), (5, false));
        let error = uploads.receive("m.gguf", 10, 7, body(&["789"], false)).await.expect_err("a gap");
        assert!(error.message.contains("offset=5"), "{error}");
        let done = uploads.receive("m.gguf", 10, 5, body(&["56789"], false)).await.expect("arrives");
        assert!(done.complete);
        assert_eq!(std::fs::read(folder.path().join("m.gguf")).expect("read"), b"0123456789");
        assert_eq!(uploads.list().await.expect("listed"), [done]);
        let error = uploads.receive("m.gguf", 1, 0, body(&["x"], false)).await.expect_err("is there");
        assert_eq!(error.code, ErrorCode::Conflict);
        uploads.remove("m.gguf").await.expect("removed");
        assert_eq!(uploads.remove("m.gguf").await.expect_err("gone").code, ErrorCode::NotFound);
    }

    #[tokio::test]
    async fn more_than_was_announced_names_that_lead_elsewhere_and_too_much_are_refused() {
        let (folder, uploads) = area();
        let error = uploads.receive("a", 3, 0, body(&["12", "34"], false)).await.expect_err("too long");
        assert!(error.message.contains("more than the 3 bytes"), "{error}");
        for name in ["../a", "a/b", ".a", "", "a.part", "-a", "ä"] {
            assert!(uploads.receive(name, 1, 0, body(&["x"], false)).await.is_err(), "{name}");
        }
        for (size, offset) in [(0, 0), (MAX_UPLOAD + 1, 0), (1, 2)] {
            assert!(
                uploads.receive("a", size, offset, body(&["x"], false)).await.is_err(),
                "{size} {offset}"
            );
        }
        // However large the disk is on which this is tested.
        let full = Uploads { spare: u64::MAX, ..Uploads::at(folder.path()) };
        let error = full.receive("a", 1, 0, body(&["x"], false)).await.expect_err("no room");
        assert!(error.message.contains("MiB free"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 0, "nothing is left");
    }

    #[tokio::test]
    async fn a_name_is_received_once_at_a_time_and_only_so_many_at_once() {
        let (_folder, uploads) = area();
        let turns: Vec<_> = ["a", "b", "c", "d"].map(|name| uploads.turn(name).expect("has room")).into();
        assert!(uploads.turn("e").is_err_and(|e| e.code == ErrorCode::Busy));
        drop(turns);
        let _turn = uploads.turn("a").expect("has room");
        let error = uploads.receive("a", 1, 0, body(&["x"], false)).await.expect_err("is being sent");
        assert_eq!(error.message, "a is being sent already");
    }

    proptest! {
        #[test]
        fn a_plain_name_stays_in_its_folder(name in "\\PC{0,40}") {
            if name_is_plain(&name) {
                let path = std::path::Path::new("/x").join(&name);
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/x")));
                prop_assert_eq!(path.file_name().and_then(|n| n.to_str()), Some(name.as_str()));
            }
        }
    }
}
