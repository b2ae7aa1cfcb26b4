//! The audit chain on disk, and the one thread that writes it.
//!
//! Callers hand their entries to that thread and wait; whatever has gathered while the disk was busy
//! goes into one transaction (group commit), so many callers share one flush.
//!
//! A change is not made unless its record is on disk. A look is answered even when the disk is full
//! or broken, because that is when somebody has to look: its record is kept in memory and written
//! with the next transaction that succeeds.

mod key;
mod store;

use aios_abi::audit::{Entry, Head, Outcome, Record};
use aios_abi::{CallError, ErrorCode};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};
use store::Store;
use tokio::sync::oneshot;

/// Entries in one transaction.
const BATCH: usize = 256;
/// Entries that wait in memory for a disk that does not take them.
const BACKLOG: usize = 4096;

/// What the first record of a chain says when the one before it had to be given up.
pub(crate) const NEW_CHAIN: &str = "; new chain, the one before could not be used and is kept as ";

/// A handle to the chain; all clones are the same chain.
#[derive(Clone)]
pub struct Log {
    writer: mpsc::SyncSender<Append>,
    store: Arc<RwLock<Option<Arc<Store>>>>,
}

/// Whether an entry may wait for a disk that recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must be on disk before anything is done.
    Durable,
    /// It tells of what was done; better late than not.
    Soon,
}

struct Append {
    entry: Entry,
    need: Need,
    reply: oneshot::Sender<Result<u64, CallError>>,
}

impl Log {
    /// Open the chain in `folder`, or start one, and write down that it was opened. A database that
    /// is damaged is moved aside and a new chain is started, which says so in its first record. A
    /// disk that does not answer or is full does not stop anybody from looking.
    /// Changes that were under way when the machine stopped get their end; their numbers come back.
    pub fn open(folder: &Path, version: &str, boot_id: &str) -> Result<(Self, Vec<u64>), CallError> {
        let key = key::load_or_create(&folder.join("audit.key"))?;
        let path = folder.join("audit.redb");
        let (mut opened, mut version) = (Store::open(&path, key.clone()), version.to_owned());
        if let Err(error) = &opened
            && error.is_damage()
        {
            let aside = move_aside(&path)?;
            tracing::error!(
                "the audit chain cannot be used ({error}); it is kept as {} and a new one is started",
                aside.display()
            );
            let name = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
            version += &format!("{NEW_CHAIN}{name}");
            opened = Store::open(&path, key.clone());
        }
        let store = match opened {
            Ok(store) => Some(Arc::new(store)),
            Err(error) if error.is_in_use() => {
                return Err(CallError::new(
                    ErrorCode::Conflict,
                    format!("{} is in use by another process; end that one first", path.display()),
                ));
            }
            Err(error) => {
                tracing::error!(
                    "{} cannot be opened: {error}; nothing can be changed for now",
                    path.display()
                );
                None
            }
        };
        let interrupted = store.as_ref().map(|store| store.interrupted.clone()).unwrap_or_default();
        let ends = interrupted.iter().map(|&of| Entry::End { of, outcome: Outcome::Interrupted });
        let entries = std::iter::once(Entry::Opened { version, boot_id: boot_id.into() }).chain(ends);
        let now = now_ms();
        let backlog = entries.map(|entry| (now, entry)).collect();
        let next = store.as_ref().map_or(0, |store| store.next());

        let store = Arc::new(RwLock::new(store));
        let (sender, inbox) = mpsc::sync_channel(BACKLOG);
        let mut writer = Writer { path, key, store: store.clone(), backlog, next, failing: false };
        writer.write(Vec::new());
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&inbox))?;
        Ok((Self { writer: sender, store }, interrupted))
    }

    /// Append an entry; its sequence number comes back.
    pub async fn append(&self, entry: Entry, need: Need) -> Result<u64, CallError> {
        let (reply, answer) = oneshot::channel();
        self.writer.try_send(Append { entry, need, reply }).map_err(|_| {
            CallError::new(ErrorCode::Busy, "the audit chain does not keep up; try again in a moment")
        })?;
        answer.await.unwrap_or_else(|_| Err(CallError::failed("the audit chain's writer has ended")))
    }

    /// Records from `from` on, oldest first, and the signed head.
    pub fn page(&self, from: u64, limit: u32) -> Result<(Vec<Record>, Head), CallError> {
        self.with(|store| store.page(from, limit))
    }

    /// Read the whole chain and prove it.
    pub fn verify(&self) -> Result<Head, CallError> {
        let store = self.current()?;
        store.verify()
    }

    /// One record.
    pub fn record(&self, seq: u64) -> Result<Option<Record>, CallError> {
        self.with(|store| store.record(seq))
    }

    /// The record in which a change was taken back, if it was.
    pub fn undone_by(&self, seq: u64) -> Result<Option<u64>, CallError> {
        self.with(|store| store.undone_by(seq))
    }

    fn with<T>(&self, read: impl FnOnce(&Store) -> Result<T, store::Error>) -> Result<T, CallError> {
        read(&*self.current()?).map_err(failed)
    }

    fn current(&self) -> Result<Arc<Store>, CallError> {
        self.store
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| CallError::unavailable("the audit chain's disk does not answer; its log says why"))
    }
}

fn failed(error: store::Error) -> CallError {
    CallError::failed(format!("the audit chain: {error}"))
}

/// Milliseconds since 1970; 0 when the clock is before that.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn move_aside(path: &Path) -> Result<PathBuf, CallError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".unreadable-{}", now_ms()));
    let aside = PathBuf::from(name);
    std::fs::rename(path, &aside).map_err(|e| {
        CallError::failed(format!("{} cannot be read and cannot be moved aside: {e}", path.display()))
    })?;
    Ok(aside)
}

struct Writer {
    path: PathBuf,
    key: ed25519_dalek::SigningKey,
    store: Arc<RwLock<Option<Arc<Store>>>>,
    /// Entries that were answered but are not on disk, oldest first.
    backlog: Vec<(u64, Entry)>,
    /// Number of the record after the newest one on disk.
    next: u64,
    /// The last attempt to write failed; said once, not at every entry.
    failing: bool,
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Append>) {
        while let Ok(first) = inbox.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = inbox.try_recv()
            {
                batch.push(next);
            }
            self.write(batch);
        }
    }

    fn write(&mut self, batch: Vec<Append>) {
        let now = now_ms();
        let mut entries = self.backlog.clone();
        entries.extend(batch.iter().map(|append| (now, append.entry.clone())));
        let skipped = self.backlog.len();
        match self.commit(entries) {
            Ok(numbers) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the audit chain is written again");
                }
                self.backlog.clear();
                for (append, seq) in batch.into_iter().zip(numbers.into_iter().skip(skipped)) {
                    let _ = append.reply.send(Ok(seq));
                }
            }
            Err(error) => self.keep(batch, now, &error),
        }
    }

    /// The disk did not take it: what must be on disk is refused, the rest waits in memory.
    fn keep(&mut self, batch: Vec<Append>, now: u64, error: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!("the audit chain cannot be written: {error}");
        }
        for append in batch {
            let full = self.backlog.len() >= BACKLOG;
            let answer = if append.need == Need::Durable || full {
                Err(CallError::unavailable(format!(
                    "nothing was done: the audit chain cannot be written ({error})"
                )))
            } else {
                let seq = self.next + self.backlog.len() as u64;
                self.backlog.push((now, append.entry));
                Ok(seq)
            };
            let _ = append.reply.send(answer);
        }
    }

    fn commit(&mut self, entries: Vec<(u64, Entry)>) -> Result<Vec<u64>, String> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let store = match slot.as_ref() {
            Some(store) => store.clone(),
            None => {
                let store = Store::open(&self.path, self.key.clone()).map_err(|e| e.to_string())?;
                slot.insert(Arc::new(store)).clone()
            }
        };
        let result = store.append(entries);
        match &result {
            Ok(_) => self.next = store.next(),
            // After an error of the disk the database has to be opened anew.
            Err(_) => *slot = None,
        }
        result.map_err(|e| e.to_string())
    }
}
