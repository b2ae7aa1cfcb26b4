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

/// A record that has its place in the chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) record: Record,
    /// What is remembered with it of a change that must not be made twice.
    pub(super) once: Option<Once>,
}

/// A change that was asked for under a key, in the words of whoever asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

    pub(super) fn begin(
        key: SigningKey,
        create: impl FnOnce(&mut redb::Builder) -> Result<Database, Error> + std::panic::UnwindSafe,
    ) -> Result<Self, Error> {
        // A damaged file can also end in an assertion inside the database; that must not stop toold.
        let opened = std::panic::catch_unwind(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE);
            let database = create(&mut builder)?;
            let last = newest(&database)?;
            Ok::<_, Error>((database, last))
        });
        let (database, last) =
            opened.unwrap_or_else(|_| Err(Error::Content("the database is damaged".into())))?;
        Ok(Self { database, key, last: Mutex::new(last) })
    }

    /// Number and hash of the newest record.
    pub(super) fn last(&self) -> Option<(u64, Hash)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Append all of these, which follow the newest record, in one durable transaction.
    pub(super) fn append<'a>(&self, links: impl Iterator<Item = &'a Link>) -> Result<(), Error> {
        // The lock is held to the end: two appends must not follow the same record.
        let mut place = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = *place;
        let transaction = self.database.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let mut open = transaction.open_table(OPEN)?;
            let mut undone = transaction.open_table(UNDONE)?;
            for Link { record, once } in links {
                let place = last.map_or((0, Hash::default()), |(seq, hash)| (seq + 1, hash));
                if (record.seq, record.previous) != place {
                    return Err(Error::Content(format!("record {} would break the chain", record.seq)));
                }
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
                    let (asked, answer) = (once.asked, once.answer.clone());
                    let done = Done { asked, audit, answer, time_ms: record.time_ms };
                    let mut table = transaction.open_table(ONCE)?;
                    if done.answer.is_none() {
                        forget_old(&mut table, record.time_ms)?;
                    }
                    table.insert(once.key.as_str(), encode(&done)?.as_slice())?;
                }
                records.insert(record.seq, encode(record)?.as_slice())?;
                last = Some((record.seq, record.hash));
            }
            if let Some((seq, hash)) = last {
                let head = Head::sign(seq, hash, &self.key);
                transaction.open_table(HEAD)?.insert("head", encode(&head)?.as_slice())?;
            }
        }
        transaction.commit()?;
        *place = last;
        Ok(())
    }

    /// Changes that have begun and not ended.
    pub(super) fn open_changes(&self) -> Result<Vec<u64>, Error> {
        match self.database.begin_read()?.open_table(OPEN) {
            Ok(table) => {
                table.iter()?.map(|row| Ok(row.map(|(key, _)| key.value())?)).collect::<Result<_, Error>>()
            }
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
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
