//! The budget's book: [`Budget`] in a file that survives a power cut. Each change is one durable transaction, and counts only
//! when it is on the disk.

use crate::budget::{Budget, Limits, Month, Refusal, Ticket};
use crate::money::Micro;
use redb::{Database, ReadableDatabase, TableDefinition};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

const TABLE: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("budget");
const BUDGET: &str = "budget";
/// File systems in memory (statfs(2)): what is written there is gone after a restart.
const FORGETFUL: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Why nothing was reserved.
#[derive(Debug)]
pub(crate) enum NotReserved {
    /// It could cost too much.
    Refused(Refusal),
    /// The book cannot be kept: one sentence.
    Broken(String),
}

/// The open book. One process has it.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    database: Database,
    budget: Mutex<Budget>,
}

impl Ledger {
    /// Open or begin the book in this folder; what was open when it was left is spent. The error is one sentence.
    pub(crate) fn open(folder: &Path) -> Result<Self, String> {
        let path = folder.join("budget.redb");
        let place = rustix::fs::statfs(folder)
            .map_err(|e| format!("{} cannot be used for the budget: {e}", folder.display()))?;
        // Numbers of file systems have 32 bits.
        if FORGETFUL.iter().any(|magic| i64::from(*magic) == place.f_type & 0xffff_ffff) {
            return Err(format!(
                "{} is in memory, and a restart would forget what was spent; the strategic tier needs a data disk",
                folder.display()
            ));
        }
        let broken = |error: redb::Error| {
            format!(
                "the budget's book {} cannot be used: {error}; nothing is sent without it. Removing the file begins a \
                 new one, which knows nothing of what was spent this month",
                path.display()
            )
        };
        let database = Database::create(&path).map_err(|e| broken(e.into()))?;
        let mut budget = match read(&database) {
            Ok(bytes) => match bytes.map(|bytes| serde_json::from_slice(&bytes)) {
                Some(Ok(budget)) => budget,
                None => Budget::default(),
                Some(Err(error)) => {
                    return Err(broken(redb::Error::Corrupted(error.to_string())));
                }
            },
            Err(error) => return Err(broken(error)),
        };
        budget.recover(now());
        write(&database, &budget).map_err(broken)?;
        Ok(Self { path, database, budget: Mutex::new(budget) })
    }

    /// Reserve what a request costs at worst; when this returns it is on the disk.
    pub(crate) fn reserve(&self, limits: Limits, worst: Micro) -> Result<Ticket, NotReserved> {
        let mut budget = self.lock();
        let mut next = budget.clone();
        let ticket = next.reserve(now(), limits, worst).map_err(NotReserved::Refused)?;
        self.keep(&mut budget, next).map_err(NotReserved::Broken)?;
        Ok(ticket)
    }

    /// What a request did cost. When that cannot be written its reservation goes on to count.
    pub(crate) fn settle(&self, ticket: &Ticket, actual: Micro) -> Result<(), String> {
        let mut budget = self.lock();
        let mut next = budget.clone();
        next.settle(now(), ticket, actual);
        self.keep(&mut budget, next)
    }

    /// Spent this month.
    pub(crate) fn spent(&self) -> Micro {
        self.lock().spent(now())
    }

    /// For the log: month, spent, requests.
    pub(crate) fn summary(&self) -> (Month, Micro, u64) {
        let budget = self.lock();
        (budget.month(), budget.spent(None), budget.requests())
    }

    fn keep(&self, budget: &mut Budget, next: Budget) -> Result<(), String> {
        write(&self.database, &next)
            .map_err(|e| format!("the budget's book {} cannot be written: {e}", self.path.display()))?;
        *budget = next;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        // It is replaced as a whole, so a panic leaves no half of one.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(database: &Database) -> Result<Option<Vec<u8>>, redb::Error> {
    let reading = database.begin_read()?;
    match reading.open_table(TABLE) {
        Ok(table) => Ok(table.get(BUDGET)?.map(|bytes| bytes.value().to_vec())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write(database: &Database, budget: &Budget) -> Result<(), redb::Error> {
    let bytes = serde_json::to_vec(budget).map_err(|e| redb::Error::Corrupted(e.to_string()))?;
    let writing = database.begin_write()?;
    writing.open_table(TABLE)?.insert(BUDGET, bytes.as_slice())?;
    writing.commit()?;
    Ok(())
}

/// The month that the clock shows.
fn now() -> Option<Month> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Month::of(since.as_secs().try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { per_month: Micro(1_000), per_request: Micro(1_000) };

    /// On the disk, where this is compiled; `/tmp` may be in memory.
    fn folder() -> tempfile::TempDir {
        let here = std::env::current_exe().expect("a test").parent().expect("a folder").to_owned();
        tempfile::tempdir_in(here).expect("a folder")
    }

    #[test]
    fn what_was_open_when_the_process_died_is_spent_and_what_was_settled_is_kept() {
        let folder = folder();
        let ledger = Ledger::open(folder.path()).expect("a book");
        let first = ledger.reserve(LIMITS, Micro(300)).expect("there is enough");
        ledger.settle(&first, Micro(100)).expect("written");
        ledger.reserve(LIMITS, Micro(500)).expect("there is enough");
        assert!(matches!(ledger.reserve(LIMITS, Micro(401)), Err(NotReserved::Refused(_))));
        assert_eq!(ledger.spent(), Micro(100));
        assert!(Ledger::open(folder.path()).expect_err("taken").contains("budget.redb cannot be used"));
        drop(ledger);
        let ledger = Ledger::open(folder.path()).expect("a book");
        assert_eq!((ledger.spent(), ledger.summary().2), (Micro(600), 2));
    }

    #[test]
    fn a_book_that_is_no_book_or_would_be_forgotten_is_refused_with_a_sentence() {
        let folder = folder();
        std::fs::write(folder.path().join("budget.redb"), "garbage").expect("written");
        let why = Ledger::open(folder.path()).expect_err("garbage");
        assert!(why.contains("begins a new one"), "{why}");
        let why = Ledger::open(Path::new("/dev/shm")).expect_err("in memory");
        assert!(why.contains("needs a data disk"), "{why}");
        assert!(Ledger::open(Path::new("/nonexistent")).is_err());
    }
}
