//! The audit chain on disk, and the one thread that writes it.
//!
//! An entry gets its number when it is handed to that thread; whatever has gathered while the disk was busy goes into one
//! transaction (group commit), so many callers share one flush.
//!
//! A change is not made unless its record is on disk. A look is answered as soon as its record is on its way: a power cut
//! may take the newest looks, never a change. So a look is answered even when the disk is full or broken, because that
//! is when somebody has to look: its record waits in memory for the next transaction that succeeds.

mod key;
mod store;

use aios_abi::audit::{Entry, Head, Outcome, Record};
use aios_abi::{CallError, ErrorCode};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};
use store::Store;
use tokio::sync::{mpsc, oneshot};

/// Entries in one transaction.
const BATCH: usize = 256;
/// Entries that wait in memory for a disk that does not take them; and as many on their way to the thread.
const BACKLOG: usize = 4096;

/// What the first record of a chain says when the one before it had to be given up.
pub(crate) const NEW_CHAIN: &str = "; new chain, the one before could not be used and is kept as ";

/// A handle to the chain; all clones are the same chain.
#[derive(Clone)]
pub struct Log {
    inbox: Arc<Inbox>,
    store: Arc<RwLock<Option<Arc<Store>>>>,
}

/// The way to the writer. Numbers are given in the order in which entries go in.
struct Inbox {
    numbers: Arc<Mutex<Numbers>>,
    writer: mpsc::Sender<Job>,
    /// No more fits into memory, and the disk takes nothing.
    full: Arc<AtomicBool>,
}

/// Whether an entry may wait for a disk that recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must be on disk before anything is done.
    Durable,
    /// It tells of what was done; better late than not.
    Soon,
}

/// What the next entry is called.
#[derive(Default)]
struct Numbers {
    next: u64,
    /// Entries on their way to the writer.
    under_way: u64,
}

enum Job {
    Append {
        time_ms: u64,
        entry: Box<Entry>,
        /// Waits for it to be on disk.
        durable: Option<oneshot::Sender<Result<u64, CallError>>>,
    },
    /// Told when all that went in before has been tried.
    Flush(oneshot::Sender<()>),
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
        let backlog: Vec<_> = entries.map(|entry| (now, entry)).collect();
        let next = store.as_ref().map_or(0, |store| store.next());

        let store = Arc::new(RwLock::new(store));
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let full = Arc::new(AtomicBool::new(false));
        let next = next + u64::try_from(backlog.len()).unwrap_or(0);
        let numbers = Arc::new(Mutex::new(Numbers { next, under_way: 0 }));
        let mut writer = Writer {
            path,
            key,
            store: store.clone(),
            backlog,
            numbers: numbers.clone(),
            failing: false,
            full: full.clone(),
        };
        writer.write(Vec::new());
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(receiver))?;
        let inbox = Arc::new(Inbox { numbers, writer: sender, full });
        Ok((Self { inbox, store }, interrupted))
    }

    /// Append an entry; its sequence number comes back.
    pub async fn append(&self, entry: Entry, need: Need) -> Result<u64, CallError> {
        let ended = || CallError::failed("the audit chain's writer has ended");
        if self.inbox.full.load(Ordering::Relaxed) {
            return Err(CallError::unavailable("nothing was done: the audit chain cannot be written"));
        }
        let place = self.inbox.writer.reserve().await.map_err(|_| ended())?;
        let (durable, answer) = match need {
            Need::Durable => {
                let (reply, answer) = oneshot::channel();
                (Some(reply), Some(answer))
            }
            Need::Soon => (None, None),
        };
        let seq = {
            let mut numbers = self.inbox.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            let seq = numbers.next;
            numbers.next += 1;
            numbers.under_way += 1;
            place.send(Job::Append { time_ms: now_ms(), entry: Box::new(entry), durable });
            seq
        };
        match answer {
            Some(answer) => answer.await.unwrap_or_else(|_| Err(ended())),
            None => Ok(seq),
        }
    }

    /// Wait until what was appended before can be read. Blocks.
    fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        if self.inbox.writer.blocking_send(Job::Flush(reply)).is_ok() {
            // A writer that has ended writes nothing more.
            let _ = answer.blocking_recv();
        }
    }

    /// Records from `from` on, oldest first, and the signed head.
    pub fn page(&self, from: u64, limit: u32) -> Result<(Vec<Record>, Head), CallError> {
        self.with(|store| store.page(from, limit))
    }

    /// Read the whole chain and prove it.
    pub fn verify(&self) -> Result<Head, CallError> {
        self.flush();
        self.current()?.verify()
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
        self.flush();
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
    /// Entries that have their number but are not on disk, oldest first.
    backlog: Vec<(u64, Entry)>,
    numbers: Arc<Mutex<Numbers>>,
    /// The last attempt to write failed; said once, not at every entry.
    failing: bool,
    full: Arc<AtomicBool>,
}

/// Those who wait for an entry of a batch, and its place in the backlog.
type Waiting = Vec<(usize, oneshot::Sender<Result<u64, CallError>>)>;

impl Writer {
    fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH);
        while inbox.blocking_recv_many(&mut jobs, BATCH) > 0 {
            let (mut waiting, mut flushed) = (Waiting::new(), Vec::new());
            for job in jobs.drain(..) {
                match job {
                    Job::Append { time_ms, entry, durable } => {
                        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).under_way -= 1;
                        waiting.extend(durable.map(|reply| (self.backlog.len(), reply)));
                        self.backlog.push((time_ms, *entry));
                    }
                    Job::Flush(reply) => flushed.push(reply),
                }
            }
            self.write(waiting);
            for reply in flushed {
                // Whoever does not wait any more does not read either.
                let _ = reply.send(());
            }
        }
    }

    fn write(&mut self, waiting: Waiting) {
        if self.backlog.is_empty() {
            return;
        }
        match self.commit(self.backlog.clone()) {
            Ok(numbers) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the audit chain is written again");
                }
                self.backlog.clear();
                for (place, reply) in waiting {
                    let lost = || CallError::failed("the audit chain lost a number");
                    let _ = reply.send(numbers.get(place).copied().ok_or_else(lost));
                }
            }
            Err(error) => self.keep(waiting, &error),
        }
        self.full.store(self.backlog.len() >= BACKLOG, Ordering::Relaxed);
    }

    /// The disk did not take it: what must be on disk is refused, which its record will say; the rest waits.
    fn keep(&mut self, waiting: Waiting, error: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!("the audit chain cannot be written: {error}");
        }
        for (place, reply) in waiting {
            let refusal = format!("nothing was done: the audit chain cannot be written ({error})");
            if let Some((_, entry)) = self.backlog.get_mut(place)
                && let Entry::Begin { call, .. } = entry
            {
                *entry =
                    Entry::Call { call: call.clone(), outcome: Outcome::Failed { error: refusal.clone() } };
            }
            let _ = reply.send(Err(CallError::unavailable(refusal)));
        }
    }

    fn commit(&mut self, entries: Vec<(u64, Entry)>) -> Result<Vec<u64>, String> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let store = match slot.as_ref() {
            Some(store) => store.clone(),
            None => {
                let store = Store::open(&self.path, self.key.clone()).map_err(|e| e.to_string())?;
                // What is on the disk decides what comes next, not what was thought to be there.
                let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
                numbers.next = store.next() + self.backlog.len() as u64 + numbers.under_way;
                slot.insert(Arc::new(store)).clone()
            }
        };
        let result = store.append(entries);
        if result.is_err() {
            // After an error of the disk the database has to be opened anew.
            *slot = None;
        }
        result.map_err(|e| e.to_string())
    }
}
