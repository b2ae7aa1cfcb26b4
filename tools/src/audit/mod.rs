//! The audit chain on disk, and the one thread that writes it.
//!
//! | module | what it is about |
//! |---|---|
//! | `store` | the chain in a database |
//! | `journal` | the file that has what is not in the database yet |
//! | `ledger` | both together |
//! | `key` | what signs it |
//!
//! An entry gets its number when it is handed to that thread; whatever has gathered while the disk was busy goes into one
//! frame of the journal (group commit), so many callers share one flush.
//!
//! A change is not made unless its record is on disk. A look is answered as soon as its record is on its way: a power cut
//! may take the looks of the last moments, never a change. So a look is answered even when the disk is full or broken, because that
//! is when somebody has to look: its record waits in memory for the next transaction that succeeds.

mod journal;
mod key;
mod ledger;
mod store;

pub use store::{Done, Once};

use aios_abi::audit::{Entry, Head, Outcome, Record};
use aios_abi::{CallError, ErrorCode};
use ledger::{Ledger, New};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;
use tokio::sync::{Notify, oneshot};

/// Entries that are enough for one transaction.
const BATCH: usize = 256;
/// How long a look's record waits for others to share a flush with.
const LINGER: Duration = Duration::from_millis(10);
/// After so long without anything to write, what is in the journal goes into the database.
const IDLE: Duration = Duration::from_secs(1);
/// Entries that wait in memory for a disk that does not take them; and as many on their way to the thread.
const BACKLOG: usize = 4096;
/// How long a call waits for a place among them before it is answered `Busy`.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// What the first record of a chain says when the one before it had to be given up.
pub(crate) const NEW_CHAIN: &str = "; new chain, the one before could not be used and is kept as ";

/// A handle to the chain; all clones are the same chain.
#[derive(Clone)]
pub struct Log {
    inbox: Arc<Inbox>,
    store: Arc<RwLock<Option<Arc<Store>>>>,
}

/// The way to the writer, which ends when this is dropped.
struct Inbox(Arc<Desk>);

impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.news.notify_one();
    }
}

/// The writer's place; a writer that leaves it, even by a fault, keeps nobody waiting.
struct Seat(Arc<Desk>);

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.jobs.clear();
        self.0.room.notify_waiters();
    }
}

/// What callers and the writer share.
#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    /// The writer is told of the first job, and of those that cannot wait.
    news: Condvar,
    /// Callers are told that there is room for jobs again.
    room: Notify,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// Number of the next entry: they are given in the order in which jobs come in.
    next: u64,
    /// Somebody waits for one of the jobs.
    urgent: bool,
    /// No more fits into memory, and the disk takes nothing.
    full: bool,
    closed: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in the critical sections can panic half-way; the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, state: &mut State, job: Job) {
        let wakes = state.jobs.is_empty() || !job.can_wait() || state.jobs.len() + 1 == BATCH;
        state.urgent |= !job.can_wait();
        state.jobs.push(job);
        if wakes {
            self.news.notify_one();
        }
    }

    /// Give an entry its number and put it on its way; when there is no room it comes back.
    fn number(&self, job: Job) -> Result<Result<u64, Job>, CallError> {
        let mut state = self.lock();
        if state.closed {
            return Err(CallError::failed("the audit chain's writer has ended"));
        }
        if state.full {
            return Err(CallError::unavailable("nothing was done: the audit chain cannot be written"));
        }
        if state.jobs.len() >= BACKLOG {
            return Ok(Err(job));
        }
        state.next += 1;
        let seq = state.next - 1;
        self.put(&mut state, job);
        Ok(Ok(seq))
    }

    /// The same for a caller who is faster than the disk: it waits for the disk.
    async fn number_when_there_is_room(&self, mut job: Job) -> Result<u64, CallError> {
        let number = async {
            loop {
                let room = self.room.notified();
                match self.number(job)? {
                    Ok(seq) => return Ok(seq),
                    Err(back) => job = back,
                }
                room.await;
            }
        };
        tokio::time::timeout(MAX_WAIT, number).await.unwrap_or_else(|_| {
            let text = "the audit chain does not keep up; try again in a moment";
            Err(CallError::new(ErrorCode::Busy, text))
        })
    }

    /// Wait for jobs, for so long if it is said, and a little longer for others to share a flush with them. `None` when there
    /// will be no more.
    fn take(&self, patience: Option<Duration>) -> Option<Vec<Job>> {
        let mut state = self.lock();
        let idle = |state: &mut State| state.jobs.is_empty() && !state.closed;
        if let Some(patience) = patience {
            let waited = self.news.wait_timeout_while(state, patience, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if idle(&mut state) {
                return Some(Vec::new());
            }
        }
        let state = self.news.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        let may_wait = |state: &mut State| !state.urgent && !state.closed && state.jobs.len() < BATCH;
        let waited = self.news.wait_timeout_while(state, LINGER, may_wait);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.urgent = false;
        let jobs = std::mem::take(&mut state.jobs);
        self.room.notify_waiters();
        (!jobs.is_empty()).then_some(jobs)
    }
}

/// Whether an entry may wait for a disk that recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must be on disk before anything is done, or answered.
    Durable,
    /// It tells of what was done; better late than not.
    Soon,
}

enum Job {
    Append {
        new: Box<New>,
        /// Waits for it to be on disk.
        durable: Option<oneshot::Sender<Result<u64, CallError>>>,
    },
    /// Told when all that went in before has been tried.
    Flush(oneshot::Sender<()>),
}

impl Job {
    /// Whether nobody waits for it.
    fn can_wait(&self) -> bool {
        matches!(self, Self::Append { durable: None, .. })
    }
}

impl Log {
    /// Open the chain in `folder`, or start one, and write down that it was opened. A database that
    /// is damaged is moved aside and a new chain is started, which says so in its first record. A
    /// disk that does not answer or is full does not stop anybody from looking.
    /// Changes that were under way when the machine stopped get their end; their numbers come back.
    pub fn open(folder: &Path, version: &str, boot_id: &str) -> Result<(Self, Vec<u64>), CallError> {
        let key = key::load_or_create(&folder.join("audit.key"))?;
        let path = folder.join("audit.redb");
        let journal = folder.join("audit.journal");
        let mut version = version.to_owned();
        let mut opened = Ledger::open(&path, &journal, &key);
        if let Err(error) = &opened
            && error.is_damage()
        {
            let aside = move_aside(&path)?;
            tracing::error!(
                "the audit chain cannot be used ({error}); it is kept as {} and a new one is started",
                aside.display()
            );
            if journal.exists() {
                move_aside(&journal)?;
            }
            let name = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
            version += &format!("{NEW_CHAIN}{name}");
            opened = Ledger::open(&path, &journal, &key);
        }
        let ledger = match opened {
            Ok(ledger) => Some(ledger),
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
        let interrupted = match &ledger {
            Some(ledger) => ledger.open_changes().map_err(failed)?,
            None => Vec::new(),
        };
        let ends = interrupted.iter().map(|&of| Entry::End { of, outcome: Outcome::Interrupted });
        let entries = std::iter::once(Entry::Opened { version, boot_id: boot_id.into() }).chain(ends);
        let now = now_ms();
        let backlog: Vec<_> = entries.map(|entry| New { time_ms: now, entry, once: None }).collect();
        let next = ledger.as_ref().map_or(0, Ledger::next);

        let store = Arc::new(RwLock::new(ledger.as_ref().map(|ledger| ledger.store().clone())));
        let desk = Arc::new(Desk::default());
        desk.lock().next = next + u64::try_from(backlog.len()).unwrap_or(0);
        let mut writer = Writer {
            path,
            journal,
            key,
            ledger,
            store: store.clone(),
            backlog,
            desk: desk.clone(),
            failing: false,
        };
        writer.write(Vec::new());
        // A thread of its own: it waits for the disk.
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.run())?;
        let inbox = Arc::new(Inbox(desk));
        Ok((Self { inbox, store }, interrupted))
    }

    /// Append an entry; its sequence number comes back.
    pub async fn append(&self, entry: Entry, need: Need) -> Result<u64, CallError> {
        self.append_once(entry, need, None).await
    }

    /// The same, and remember in the same transaction what was asked for under a key.
    pub async fn append_once(&self, entry: Entry, need: Need, once: Option<Once>) -> Result<u64, CallError> {
        let (durable, answer) = match need {
            Need::Durable => {
                let (reply, answer) = oneshot::channel();
                (Some(reply), Some(answer))
            }
            Need::Soon => (None, None),
        };
        let job = Job::Append { new: Box::new(New { time_ms: now_ms(), entry, once }), durable };
        let seq = match self.inbox.0.number(job)? {
            Ok(seq) => seq,
            Err(job) => self.inbox.0.number_when_there_is_room(job).await?,
        };
        match answer {
            Some(answer) => {
                answer.await.unwrap_or_else(|_| Err(CallError::failed("the audit chain's writer has ended")))
            }
            None => Ok(seq),
        }
    }

    /// Append an entry that may wait for the disk ([`Need::Soon`]) without waiting for anything. `None` when it is not on its way:
    /// there is no room for it just now, or the writer has ended.
    pub fn append_now(&self, entry: Entry) -> Option<u64> {
        let new = Box::new(New { time_ms: now_ms(), entry, once: None });
        self.inbox.0.number(Job::Append { new, durable: None }).ok()?.ok()
    }

    /// Wait until what was appended before can be read. Blocks.
    pub fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        {
            let desk = &self.inbox.0;
            let mut state = desk.lock();
            if state.closed {
                return;
            }
            desk.put(&mut state, Job::Flush(reply));
        }
        // A writer that has ended writes nothing more.
        let _ = answer.blocking_recv();
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

    /// What is remembered of a change that was asked for under this key ([`Once::key`]).
    pub fn done(&self, key: &str) -> Result<Option<Done>, CallError> {
        self.with(|store| store.done(key))
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
    journal: PathBuf,
    key: ed25519_dalek::SigningKey,
    /// Not while the disk does not take anything.
    ledger: Option<Ledger<File>>,
    /// Its database, for those who read.
    store: Arc<RwLock<Option<Arc<Store>>>>,
    /// Entries that have their number but are not on disk, oldest first.
    backlog: Vec<New>,
    desk: Arc<Desk>,
    /// The last attempt to write failed; said once, not at every entry.
    failing: bool,
}

/// Those who wait for an entry of a batch, and its place in the backlog.
type Waiting = Vec<(usize, oneshot::Sender<Result<u64, CallError>>)>;

impl Writer {
    fn run(mut self) {
        let _seat = Seat(self.desk.clone());
        while let Some(jobs) = self.desk.take(self.is_behind().then_some(IDLE)) {
            let is_idle = jobs.is_empty();
            let (mut waiting, mut flushed) = (Waiting::new(), Vec::new());
            for job in jobs {
                match job {
                    Job::Append { new, durable } => {
                        waiting.extend(durable.map(|reply| (self.backlog.len(), reply)));
                        self.backlog.push(*new);
                    }
                    Job::Flush(reply) => flushed.push(reply),
                }
            }
            self.write(waiting);
            if is_idle || !flushed.is_empty() {
                self.settle();
            }
            for reply in flushed {
                // Whoever does not wait any more does not read either.
                let _ = reply.send(());
            }
        }
        self.settle();
    }

    /// Whether something is in the journal and not in the database.
    fn is_behind(&self) -> bool {
        self.ledger.as_ref().is_some_and(Ledger::is_behind)
    }

    /// Put into the database what is in the journal alone. It stays in the journal if that fails.
    fn settle(&mut self) {
        if let Some(Err(error)) = self.ledger.as_mut().map(Ledger::settle) {
            tracing::error!("the audit chain's database cannot be written: {error}");
            self.let_go();
        }
    }

    /// After an error of the disk the chain has to be opened anew.
    fn let_go(&mut self) {
        self.ledger = None;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn write(&mut self, waiting: Waiting) {
        if self.backlog.is_empty() {
            return;
        }
        match self.commit() {
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
        self.desk.lock().full = self.backlog.len() >= BACKLOG;
    }

    /// The disk did not take it: what must be on disk is refused, which its record will say; the rest waits.
    fn keep(&mut self, waiting: Waiting, error: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!("the audit chain cannot be written: {error}");
        }
        for (place, reply) in waiting {
            let refusal = format!("nothing was done: the audit chain cannot be written ({error})");
            if let Some(new) = self.backlog.get_mut(place)
                && let Entry::Begin { call, .. } = &new.entry
            {
                new.entry =
                    Entry::Call { call: call.clone(), outcome: Outcome::Failed { error: refusal.clone() } };
                // It was not begun: asking again under its key does no harm.
                new.once = None;
            }
            let _ = reply.send(Err(CallError::unavailable(refusal)));
        }
    }

    fn commit(&mut self) -> Result<Vec<u64>, String> {
        if self.ledger.is_none() {
            let ledger = Ledger::open(&self.path, &self.journal, &self.key).map_err(|e| e.to_string())?;
            // What is on the disk decides what comes next, not what was thought to be there.
            let mut state = self.desk.lock();
            let under_way = state.jobs.iter().filter(|job| matches!(job, Job::Append { .. })).count();
            state.next = ledger.next() + (self.backlog.len() + under_way) as u64;
            *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(ledger.store().clone());
            self.ledger = Some(ledger);
        }
        let Some(ledger) = &mut self.ledger else { return Err("the chain is not open".into()) };
        let result = ledger.append(&self.backlog);
        if result.is_err() {
            self.let_go();
        }
        result.map_err(|e| e.to_string())
    }
}
