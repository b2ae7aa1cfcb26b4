//! What is on disk already and not yet in the database: a file of fixed size that is written from its beginning.
//!
//! A transaction of the database touches a page of each table and of the trees above them; a frame of the journal is one
//! write to blocks that exist, so that nothing of the file system has to be synced with it. Each frame is authenticated with
//! a key that only this machine has: nobody slips a record into the chain by way of the journal. What lies behind
//! the last frame is left from earlier, and does not follow it.
//!
//! A frame is its length (4 bytes, little endian), its keyed BLAKE3 hash, and postcard of its [`Link`]s.

use super::store::Link;
use ed25519_dalek::SigningKey;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of the file.
pub(super) const SIZE: usize = 1 << 20;
/// Bytes before what a frame holds.
const HEAD: usize = 4 + blake3::OUT_LEN;
/// Sets the frames' key apart from whatever else is derived from the machine's.
const DOMAIN: &str = "aiOS audit journal 1";

/// Where the journal lies.
pub(super) trait Medium {
    /// All of it.
    fn read(&self) -> io::Result<Vec<u8>>;
    /// Write this there.
    fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()>;
    /// Wait until what was written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

impl Medium for File {
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; SIZE];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The file of a journal; a new one has all its blocks.
pub(super) fn file(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path)?;
    if file.metadata()?.len() != SIZE as u64 {
        file.set_len(0)?;
        file.write_all_at(&vec![0; SIZE], 0)?;
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
    }
    Ok(file)
}

/// An open journal.
pub(super) struct Journal<M> {
    medium: M,
    key: [u8; blake3::KEY_LEN],
    /// Where the next frame goes.
    at: usize,
}

impl<M: Medium> Journal<M> {
    /// Read what is there.
    pub(super) fn open(medium: M, key: &SigningKey) -> io::Result<(Self, Vec<Link>)> {
        let bytes = medium.read()?;
        let mut journal = Self { medium, key: blake3::derive_key(DOMAIN, key.as_bytes()), at: 0 };
        let mut links: Vec<Link> = Vec::new();
        while let Some((frame, length)) = journal.frame(bytes.get(journal.at..).unwrap_or_default()) {
            let last = links.last().map(|link| (link.record.seq, link.record.hash));
            let Some(first) = frame.first() else { break };
            if last.is_some() && !first.record.follows(last) {
                break;
            }
            links.extend(frame);
            journal.at += length;
        }
        Ok((journal, links))
    }

    /// The frame with which these bytes begin, and how many of them are its own.
    fn frame(&self, bytes: &[u8]) -> Option<(Vec<Link>, usize)> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (hash, rest) = rest.split_first_chunk::<{ blake3::OUT_LEN }>()?;
        let content = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        // The comparison takes the same time wherever they differ.
        (blake3::keyed_hash(&self.key, content) == *hash).then_some(())?;
        Some((postcard::from_bytes(content).ok()?, HEAD + content.len()))
    }

    /// Put these on disk; `false` when there is no room for them.
    pub(super) fn append(&mut self, links: &[Link]) -> io::Result<bool> {
        let mut frame = postcard::to_extend(links, vec![0; HEAD]).map_err(io::Error::other)?;
        let (head, content) = frame.split_at_mut(HEAD);
        let Ok(length) = u32::try_from(content.len()) else { return Ok(false) };
        let (first, hash) = head.split_at_mut(4);
        first.copy_from_slice(&length.to_le_bytes());
        hash.copy_from_slice(blake3::keyed_hash(&self.key, content).as_bytes());
        if SIZE - self.at < frame.len() {
            return Ok(false);
        }
        self.medium.write(self.at, &frame)?;
        self.medium.sync()?;
        // Not before: what did not succeed is written over.
        self.at += frame.len();
        Ok(true)
    }

    /// All that is in it is in the database.
    pub(super) fn restart(&mut self) {
        self.at = 0;
    }
}
