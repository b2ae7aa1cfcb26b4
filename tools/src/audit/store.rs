//! The chain in a redb database.
//!
//! | table | key | value |
//! |---|---|---|
//! | `records` | sequence number | postcard of [`Record`] |
//! | `head` | `"head"` | postcard of the signed [`Head`], written in the same transaction as the record it signs |
//! | `open` | sequence number of a `Begin` without its `End` | – |
//! | `undone` | sequence number of a `Begin` | that of its `Undone` |
//! | `once` | who asked, and their key | postcard of [`Done`]: what was asked and what came of it, for a day |

use aios_abi::audit::{Entry, Hash, Head, Outcome, Record, Verification};
use aios_abi::tool::CallDone;
use aios_abi::{CallError, ErrorCode};
use ed25519_dalek::SigningKey;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("head");
const OPEN: TableDefinition<'_, u64, ()> = TableDefinition::new("open");
const UNDONE: TableDefinition<'_, u64, u64> = TableDefinition::new("undone");
const ONCE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("once");

/// How long a key is remembered, in milliseconds.
const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1000;
/// Keys that are remembered; the oldest goes first.
const MAX_REMEMBERED: usize = 1024;

/// Memory for the database's pages.
const CACHE: usize = 4 * 1024 * 1024;
/// Records in one answer.
const MAX_PAGE: u32 = 10_000;
/// Bytes of records in one answer; far below what a client accepts.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// What can go wrong below the chain.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The database.
    #[error("{0}")]
    Database(#[from] redb::Error),
    /// What it holds.
    #[error("{0}")]
    Content(String),
}

macro_rules! from_redb {
    ($($kind:ident),*) => {$(
        impl From<redb::$kind> for Error {
            fn from(error: redb::$kind) -> Self {
                Self::Database(error.into())
            }
        }
    )*};
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

impl Error {
    /// Whether the file itself is at fault, so that trying again cannot help.
    pub(super) fn is_damage(&self) -> bool {
        use redb::Error as E;
        use std::io::ErrorKind as K;
        match self {
            Self::Content(_) => true,
            Self::Database(E::Io(e)) => matches!(e.kind(), K::InvalidData | K::UnexpectedEof),
            Self::Database(E::DatabaseAlreadyOpen | E::PreviousIo | E::DatabaseClosed) => false,
            Self::Database(_) => true,
        }
    }

    /// Whether another process has the file.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self, Self::Database(redb::Error::DatabaseAlreadyOpen))
    }
}

/// An entry on its way into the chain.
#[derive(Debug, Clone)]
pub(super) struct New {
    pub(super) time_ms: u64,
    pub(super) entry: Entry,
    /// What is remembered with it of a change that must not be made twice.
    pub(super) once: Option<Once>,
}

/// A change that was asked for under a key, in the words of whoever asked.
#[derive(Debug, Clone)]
pub struct Once {
    /// Who asked, and their key.
    pub key: String,
    /// Hash of what was asked.
    pub asked: Hash,
    /// What came of it, if it has ended.
    pub answer: Option<Result<CallDone, CallError>>,
}

/// What is remembered of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    /// Hash of what was asked.
    pub asked: Hash,
    /// Sequence number of the record that began it.
    pub audit: u64,
    /// What came of it; nothing while it is under way, and when it was interrupted.
    pub answer: Option<Result<CallDone, CallError>>,
    time_ms: u64,
}

/// An open chain.
pub(super) struct Store {
    database: Database,
    key: SigningKey,
    /// Changes that had begun and not ended when it was opened.
    pub(super) interrupted: Vec<u64>,
    last: Mutex<Option<(u64, Hash)>>,
}

impl Store {
    /// Open or create; the newest record must be the one that was signed last.
    pub(super) fn open(path: &Path, key: SigningKey) -> Result<Self, Error> {
        Self::begin(key, |builder| {
            let database = builder.create(path)?;
            restrict(path)?;
            Ok(database)
        })
    }

    fn begin(
        key: SigningKey,
        create: impl FnOnce(&mut redb::Builder) -> Result<Database, Error> + std::panic::UnwindSafe,
    ) -> Result<Self, Error> {
        // A damaged file can also end in an assertion inside the database; that must not stop toold.
        let opened = std::panic::catch_unwind(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE);
            let database = create(&mut builder)?;
            let last = newest(&database)?;
            let interrupted = open_changes(&database)?;
            Ok::<_, Error>((database, last, interrupted))
        });
        let (database, last, interrupted) =
            opened.unwrap_or_else(|_| Err(Error::Content("the database is damaged".into())))?;
        Ok(Self { database, key, interrupted, last: Mutex::new(last) })
    }

    /// Number of the record that will come next.
    pub(super) fn next(&self) -> u64 {
        self.last().map_or(0, |(seq, _)| seq + 1)
    }

    fn last(&self) -> Option<(u64, Hash)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Append all of these in one durable transaction; their numbers come back.
    pub(super) fn append(&self, entries: Vec<New>) -> Result<Vec<u64>, Error> {
        // The lock is held to the end: two appends must not follow the same record.
        let mut place = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = *place;
        let mut numbers = Vec::with_capacity(entries.len());
        let transaction = self.database.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let mut open = transaction.open_table(OPEN)?;
            let mut undone = transaction.open_table(UNDONE)?;
            for New { time_ms, entry, once } in entries {
                let record = Record::new(last, time_ms, entry);
                match &record.entry {
                    Entry::Begin { .. } => drop(open.insert(record.seq, ())?),
                    Entry::End { of, .. } => drop(open.remove(of)?),
                    Entry::Undone { of, outcome: Outcome::Done { .. }, .. } => {
                        undone.insert(of, record.seq)?;
                    }
                    Entry::Opened { .. } | Entry::Call { .. } | Entry::Undone { .. } => {}
                }
                if let (Some(once), Entry::Begin { .. } | Entry::End { .. }) = (once, &record.entry) {
                    let audit = if let Entry::End { of, .. } = record.entry { of } else { record.seq };
                    let done = Done { asked: once.asked, audit, answer: once.answer, time_ms };
                    let mut table = transaction.open_table(ONCE)?;
                    if done.answer.is_none() {
                        forget_old(&mut table, time_ms)?;
                    }
                    table.insert(once.key.as_str(), encode(&done)?.as_slice())?;
                }
                records.insert(record.seq, encode(&record)?.as_slice())?;
                last = Some((record.seq, record.hash));
                numbers.push(record.seq);
            }
            if let Some((seq, hash)) = last {
                let head = Head::sign(seq, hash, &self.key);
                transaction.open_table(HEAD)?.insert("head", encode(&head)?.as_slice())?;
            }
        }
        transaction.commit()?;
        *place = last;
        Ok(numbers)
    }

    /// Records from `from` on, and the signed head.
    pub(super) fn page(&self, from: u64, limit: u32) -> Result<(Vec<Record>, Head), Error> {
        let read = self.database.begin_read()?;
        let mut records = Vec::new();
        let mut bytes = 0;
        for row in read.open_table(RECORDS)?.range(from..)?.take(limit.min(MAX_PAGE) as usize) {
            let (seq, value) = row?;
            bytes += value.value().len();
            if bytes > MAX_PAGE_BYTES && !records.is_empty() {
                break;
            }
            records.push(decode(seq.value(), value.value())?);
        }
        Ok((records, head(&read)?))
    }

    /// Read everything and prove it. An altered chain is [`ErrorCode::Failed`], with the place.
    pub(super) fn verify(&self) -> Result<Head, CallError> {
        let broken = |e: &dyn std::fmt::Display| {
            CallError::new(ErrorCode::Failed, format!("the audit chain is broken: {e}"))
        };
        // One snapshot for the records and their head.
        let read = self.database.begin_read().map_err(|e| broken(&e))?;
        let records = read.open_table(RECORDS).map_err(|e| broken(&e))?;
        let head = head(&read).map_err(|e| broken(&e))?;
        if head.public_key != aios_abi::audit::hex(self.key.verifying_key().as_bytes()) {
            return Err(broken(&"it is signed with another key than this machine's"));
        }
        let mut verification = Verification::default();
        for row in records.iter().map_err(|e| broken(&e))? {
            let (seq, value) = row.map_err(|e| broken(&e))?;
            let record = decode(seq.value(), value.value()).map_err(|e| broken(&e))?;
            verification.push(&record).map_err(|e| broken(&e))?;
        }
        verification.finish(&head).map_err(|e| broken(&e))?;
        Ok(head)
    }

    /// One record.
    pub(super) fn record(&self, seq: u64) -> Result<Option<Record>, Error> {
        let read = self.database.begin_read()?;
        let value = read.open_table(RECORDS)?.get(seq)?;
        value.map(|value| decode(seq, value.value())).transpose()
    }

    /// What is remembered under this key.
    pub(super) fn done(&self, key: &str) -> Result<Option<Done>, Error> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(ONCE) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        Ok(table.get(key)?.and_then(|value| postcard::from_bytes(value.value()).ok()))
    }

    /// The record in which a change was taken back.
    pub(super) fn undone_by(&self, seq: u64) -> Result<Option<u64>, Error> {
        let read = self.database.begin_read()?;
        Ok(read.open_table(UNDONE)?.get(seq)?.map(|value| value.value()))
    }
}

/// Make room for one more key, and forget those whose day is over.
fn forget_old(table: &mut redb::Table<'_, &str, &[u8]>, now_ms: u64) -> Result<(), Error> {
    let mut ages = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let time_ms = postcard::from_bytes::<Done>(value.value()).map_or(0, |done| done.time_ms);
        ages.push((time_ms, key.value().to_owned()));
    }
    ages.sort_unstable();
    let too_many = (ages.len() + 1).saturating_sub(MAX_REMEMBERED);
    for (place, (time_ms, key)) in ages.iter().enumerate() {
        // A clock that was set back makes nothing older.
        if place < too_many || now_ms.saturating_sub(*time_ms) > REMEMBERED_MS {
            table.remove(key.as_str())?;
        }
    }
    Ok(())
}

fn restrict(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| Error::Content(format!("{}: {e}", path.display())))
}

/// Changes that have begun and not ended.
fn open_changes(database: &Database) -> Result<Vec<u64>, Error> {
    match database.begin_read()?.open_table(OPEN) {
        Ok(table) => {
            table.iter()?.map(|row| Ok(row.map(|(key, _)| key.value())?)).collect::<Result<_, Error>>()
        }
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

fn newest(database: &Database) -> Result<Option<(u64, Hash)>, Error> {
    let read = database.begin_read()?;
    let records = match read.open_table(RECORDS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let Some((seq, value)) = records.last()? else { return Ok(None) };
    let record = decode(seq.value(), value.value())?;
    let head = head(&read)?;
    head.verify().map_err(|e| Error::Content(e.to_string()))?;
    if (head.seq, head.hash) != (record.seq, record.hash) {
        return Err(Error::Content(format!(
            "record {} is not the newest one, which was signed as record {}",
            record.seq, head.seq
        )));
    }
    Ok(Some((record.seq, record.hash)))
}

fn head(read: &redb::ReadTransaction) -> Result<Head, Error> {
    let table = read.open_table(HEAD)?;
    let value = table.get("head")?.ok_or_else(|| Error::Content("the signed head is missing".into()))?;
    postcard::from_bytes(value.value())
        .map_err(|e| Error::Content(format!("the signed head cannot be read: {e}")))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(value).map_err(|e| Error::Content(e.to_string()))
}

fn decode(seq: u64, bytes: &[u8]) -> Result<Record, Error> {
    postcard::from_bytes(bytes).map_err(|e| Error::Content(format!("record {seq} cannot be read: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io;
    use std::sync::Arc;

    /// A disk that forgets what was not synced: at a power cut some of those writes are there, some are not, one is torn.
    #[derive(Debug, Clone, Default)]
    struct Disk(Arc<Mutex<Contents>>);

    #[derive(Debug, Default)]
    struct Contents {
        /// As the machine sees it.
        seen: Vec<u8>,
        /// As it is on the platter.
        synced: Vec<u8>,
        /// What was done since the last sync.
        since: Vec<Step>,
        /// Writes and syncs until the power is cut.
        left: usize,
    }

    #[derive(Debug, Clone)]
    enum Step {
        Length(usize),
        Write(usize, Vec<u8>),
    }

    impl Step {
        fn apply(&self, bytes: &mut Vec<u8>) {
            match self {
                Self::Length(length) => bytes.resize(*length, 0),
                Self::Write(at, data) => {
                    let end = at + data.len();
                    bytes.resize(bytes.len().max(end), 0);
                    bytes[*at..end].copy_from_slice(data);
                }
            }
        }
    }

    impl Disk {
        fn step(&self, step: Option<Step>) -> io::Result<()> {
            let mut contents = self.0.lock().expect("whole");
            contents.left = contents.left.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            match step {
                Some(step) => {
                    step.apply(&mut contents.seen);
                    contents.since.push(step);
                }
                None => {
                    contents.synced = contents.seen.clone();
                    contents.since.clear();
                }
            }
            Ok(())
        }

        /// The disk after the power came back. `fate` says of each write what became of it.
        fn after_the_cut(&self, fate: &[u8]) -> Self {
            let contents = self.0.lock().expect("whole");
            let mut bytes = contents.synced.clone();
            for (step, fate) in contents.since.iter().zip(fate.iter().cycle()) {
                match (step, fate % 3) {
                    (_, 0) => {}
                    // A sector is written or not; the pieces of a longer write are each for themselves.
                    (Step::Write(at, data), 1) => {
                        let torn = (usize::from(*fate) * 512).min(data.len());
                        Step::Write(*at, data[..torn].to_vec()).apply(&mut bytes);
                    }
                    (step, _) => step.apply(&mut bytes),
                }
            }
            let contents =
                Contents { seen: bytes.clone(), synced: bytes, since: Vec::new(), left: usize::MAX };
            Self(Arc::new(Mutex::new(contents)))
        }

        fn open(&self) -> Result<Store, Error> {
            let disk = std::panic::AssertUnwindSafe(self.clone());
            Store::begin(SigningKey::from_bytes(&[7; 32]), move |builder| {
                let std::panic::AssertUnwindSafe(disk) = { disk };
                Ok(builder.create_with_backend(disk)?)
            })
        }
    }

    impl redb::StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.lock().expect("whole").seen.len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let contents = self.0.lock().expect("whole");
            let at = usize::try_from(offset).expect("fits");
            out.copy_from_slice(contents.seen.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.step(Some(Step::Length(usize::try_from(len).expect("fits"))))
        }

        fn sync_data(&self) -> io::Result<()> {
            self.step(None)
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.step(Some(Step::Write(usize::try_from(offset).expect("fits"), data.to_vec())))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]
        #[test]
        fn what_was_durable_is_there_after_a_power_cut(
            batches in proptest::collection::vec(1_usize..20, 1..12),
            cut in 0_usize..160,
            fate in proptest::collection::vec(any::<u8>(), 1..64),
        ) {
            let disk = Disk(Arc::new(Mutex::new(Contents { left: usize::MAX, ..Contents::default() })));
            let store = disk.open().expect("opens");
            let entry = |n: usize| {
                let entry = Entry::Opened { version: "x".repeat(n * 97 % 3_000), boot_id: "b".into() };
                New { time_ms: n as u64, entry, once: None }
            };
            store.append(vec![entry(1)]).expect("is on disk");
            // From here on the power may go at any write.
            disk.0.lock().expect("whole").left = cut;
            let mut durable = 0;
            for batch in batches {
                match store.append((0..batch).map(entry).collect()) {
                    Ok(numbers) => durable = numbers.last().copied().unwrap_or(durable),
                    Err(_) => break,
                }
            }
            let after = disk.after_the_cut(&fate);
            drop(store);
            let store = after.open().map_err(|e| TestCaseError::fail(format!("does not open: {e}")))?;
            let head = store.verify().map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert!(head.seq >= durable, "record {} is the last, {durable} was durable", head.seq);
            // And it goes on.
            let next = store.append(vec![entry(2)]).expect("is on disk");
            prop_assert_eq!(next, vec![head.seq + 1]);
            prop_assert!(store.verify().is_ok());
        }
    }
}
