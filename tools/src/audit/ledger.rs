//! Journal and database together: what is appended is on disk at once, and in the database when somebody wants to read
//! it, when the journal is full, or when there is nothing else to do.

use super::journal::{self, Journal, Medium};
use super::store::{Error, Link, Once, Store};
use aios_abi::audit::{Entry, Hash, Record};
use ed25519_dalek::SigningKey;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// An entry on its way into the chain.
#[derive(Debug, Clone)]
pub(super) struct New {
    pub(super) time_ms: u64,
    pub(super) entry: Entry,
    /// What is remembered with it of a change that must not be made twice.
    pub(super) once: Option<Once>,
}

/// The chain, open for writing. After an error it has to be opened anew: what the disk holds decides.
pub(super) struct Ledger<M> {
    store: Arc<Store>,
    /// Without one, all goes into the database at once.
    journal: Option<Journal<M>>,
    /// What is in the journal and not in the database, oldest first.
    pending: Vec<Link>,
}

impl Ledger<File> {
    /// Open or create the chain.
    pub(super) fn open(database: &Path, journal: &Path, key: &SigningKey) -> Result<Self, Error> {
        let store = Store::open(database, key.clone())?;
        // Only who has the database touches the journal.
        let file = journal::file(journal).map_err(|e| {
            tracing::warn!("{} cannot be used ({e}); changes take longer without it", journal.display());
        });
        Ok(Self::begin(store, file.ok(), key))
    }
}

impl<M: Medium> Ledger<M> {
    fn begin(store: Store, medium: Option<M>, key: &SigningKey) -> Self {
        let opened = medium.and_then(|medium| {
            Journal::open(medium, key)
                .inspect_err(|e| tracing::warn!("the audit chain's journal cannot be read: {e}"))
                .ok()
        });
        let (journal, links) = opened.unzip();
        let mut ledger = Self { store: Arc::new(store), journal, pending: Vec::new() };
        let mut last = ledger.store.last();
        for link in links.unwrap_or_default() {
            if last.is_some_and(|(seq, _)| link.record.seq <= seq) {
                continue;
            }
            if !link.record.follows(last) {
                break;
            }
            last = Some((link.record.seq, link.record.hash));
            ledger.pending.push(link);
        }
        if let Err(error) = ledger.settle() {
            tracing::warn!("what the journal holds stays there for now: {error}");
        }
        ledger
    }

    /// The database, for those who read. It has what was [settled](Self::settle).
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn last(&self) -> Option<(u64, Hash)> {
        let newest = self.pending.last().map(|link| (link.record.seq, link.record.hash));
        newest.or_else(|| self.store.last())
    }

    /// Number of the record that will come next.
    pub(super) fn next(&self) -> u64 {
        self.last().map_or(0, |(seq, _)| seq + 1)
    }

    /// Whether something is in the journal and not in the database.
    pub(super) fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Changes that have begun and not ended.
    pub(super) fn open_changes(&self) -> Result<Vec<u64>, Error> {
        let mut open = self.store.open_changes()?;
        for Link { record, .. } in &self.pending {
            match record.entry {
                Entry::Begin { .. } => open.push(record.seq),
                Entry::End { of, .. } => open.retain(|&seq| seq != of),
                Entry::Opened { .. } | Entry::Call { .. } | Entry::Undone { .. } => {}
            }
        }
        Ok(open)
    }

    /// Append these, so that a power cut does not take them; their numbers come back. After an error none of them counts.
    pub(super) fn append(&mut self, news: &[New]) -> Result<Vec<u64>, Error> {
        let mut last = self.last();
        let links: Vec<Link> = news
            .iter()
            .map(|New { time_ms, entry, once }| {
                let record = Record::new(last, *time_ms, entry.clone());
                last = Some((record.seq, record.hash));
                Link { record, once: once.clone() }
            })
            .collect();
        let numbers = links.iter().map(|link| link.record.seq).collect();
        let kept = self.journal.as_mut().is_some_and(|journal| {
            journal.append(&links).unwrap_or_else(|e| {
                tracing::warn!("the audit chain's journal cannot be written: {e}");
                false
            })
        });
        match kept {
            true => self.pending.extend(links),
            false => self.commit(&links)?,
        }
        Ok(numbers)
    }

    /// Put into the database what is in the journal alone.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        match self.pending.is_empty() {
            true => {
                self.emptied();
                Ok(())
            }
            false => self.commit(&[]),
        }
    }

    fn commit(&mut self, links: &[Link]) -> Result<(), Error> {
        self.store.append(self.pending.iter().chain(links))?;
        self.emptied();
        Ok(())
    }

    fn emptied(&mut self) {
        self.pending.clear();
        if let Some(journal) = &mut self.journal {
            journal.restart();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::journal::SIZE;
    use aios_abi::ErrorCode;
    use proptest::prelude::*;
    use std::io;
    use std::sync::{Mutex, MutexGuard};

    /// Writes and syncs until the power is cut, on all disks of a machine.
    #[derive(Debug, Clone)]
    struct Power(Arc<Mutex<usize>>);

    /// A disk that forgets what was not synced: at a power cut some of those writes are there, some are not, one is torn.
    #[derive(Debug, Clone)]
    struct Disk {
        contents: Arc<Mutex<Contents>>,
        power: Power,
    }

    #[derive(Debug, Default)]
    struct Contents {
        /// As the machine sees it.
        seen: Vec<u8>,
        /// As it is on the platter.
        synced: Vec<u8>,
        /// What was done since the last sync.
        since: Vec<Step>,
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
        fn new(bytes: Vec<u8>, power: &Power) -> Self {
            let contents = Contents { seen: bytes.clone(), synced: bytes, since: Vec::new() };
            Self { contents: Arc::new(Mutex::new(contents)), power: power.clone() }
        }

        fn contents(&self) -> MutexGuard<'_, Contents> {
            self.contents.lock().expect("whole")
        }

        fn step(&self, step: Option<Step>) -> io::Result<()> {
            let mut left = self.power.0.lock().expect("whole");
            *left = left.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            let mut contents = self.contents();
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
        fn after_the_cut(&self, fate: &[u8], power: &Power) -> Self {
            let contents = self.contents();
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
            Self::new(bytes, power)
        }
    }

    impl redb::StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.contents().seen.len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let contents = self.contents();
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

    impl Medium for Disk {
        fn read(&self) -> io::Result<Vec<u8>> {
            Ok(self.contents().seen.clone())
        }

        fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
            self.step(Some(Step::Write(at, bytes.to_vec())))
        }

        fn sync(&self) -> io::Result<()> {
            self.step(None)
        }
    }

    /// A machine with a disk for each of the two files.
    struct Machine {
        power: Power,
        database: Disk,
        journal: Option<Disk>,
    }

    impl Machine {
        fn new(has_journal: bool) -> Self {
            let power = Power(Arc::new(Mutex::new(usize::MAX)));
            let journal = has_journal.then(|| Disk::new(vec![0; SIZE], &power));
            Self { database: Disk::new(Vec::new(), &power), journal, power }
        }

        fn open(&self) -> Result<Ledger<Disk>, Error> {
            let key = SigningKey::from_bytes(&[7; 32]);
            let disk = std::panic::AssertUnwindSafe(self.database.clone());
            let store = Store::begin(key.clone(), move |builder| {
                let std::panic::AssertUnwindSafe(disk) = { disk };
                Ok(builder.create_with_backend(disk)?)
            })?;
            Ok(Ledger::begin(store, self.journal.clone(), &key))
        }

        fn after_the_cut(&self, fate: &[u8]) -> Self {
            let power = Power(Arc::new(Mutex::new(usize::MAX)));
            let database = self.database.after_the_cut(fate, &power);
            let journal = self.journal.as_ref().map(|disk| disk.after_the_cut(fate, &power));
            Self { power, database, journal }
        }
    }

    fn entry(n: usize) -> New {
        let entry = Entry::Opened { version: "x".repeat(n * 97 % 3_000), boot_id: "b".into() };
        New { time_ms: n as u64, entry, once: None }
    }

    fn news(count: usize) -> Vec<New> {
        (0..count).map(entry).collect()
    }

    /// One step of the thread that writes.
    #[derive(Debug, Clone)]
    enum Work {
        Append(usize),
        Settle,
    }

    fn work() -> impl Strategy<Value = Work> {
        prop_oneof![4 => (1_usize..20).prop_map(Work::Append), 1 => Just(Work::Settle)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]
        #[test]
        fn what_was_appended_is_there_after_a_power_cut(
            works in proptest::collection::vec(work(), 1..20),
            has_journal in proptest::bool::weighted(0.8),
            cut in 0_usize..160,
            fate in proptest::collection::vec(any::<u8>(), 1..64),
        ) {
            let machine = Machine::new(has_journal);
            let mut ledger = machine.open().expect("opens");
            ledger.append(&news(1)).expect("is on disk");
            // From here on the power may go at any write.
            *machine.power.0.lock().expect("whole") = cut;
            let mut durable = 0;
            for work in works {
                let done = match work {
                    Work::Append(count) => ledger.append(&news(count)).map(|numbers| durable = numbers[count - 1]),
                    Work::Settle => ledger.settle(),
                };
                if done.is_err() {
                    break;
                }
            }
            let after = machine.after_the_cut(&fate);
            drop(ledger);
            let mut ledger =
                after.open().map_err(|e| TestCaseError::fail(format!("does not open: {e}")))?;
            let next = ledger.next();
            prop_assert!(next > durable, "record {next} comes next, {durable} was durable");
            // And it goes on.
            prop_assert_eq!(ledger.append(&news(1)).expect("is on disk"), vec![next]);
            ledger.settle().expect("is in the database");
            let head = ledger.store().verify().map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(head.seq, next);
        }

        #[test]
        fn a_journal_with_anything_in_it_adds_nothing_that_was_not_written(
            rubbish in proptest::collection::vec(any::<u8>(), 0..400),
            at in 0_usize..3_000,
        ) {
            let machine = Machine::new(true);
            let mut ledger = machine.open().expect("opens");
            let numbers = ledger.append(&news(8)).expect("is on disk");
            drop(ledger);
            let journal = machine.journal.as_ref().expect("has one");
            let whole = journal.contents().seen.clone();
            Step::Write(at, rubbish).apply(&mut journal.contents().seen);
            let is_whole = journal.contents().seen[..SIZE] == whole;
            let ledger = machine.open().expect("opens");
            // All of a frame or nothing of it.
            prop_assert!(ledger.next() == numbers[7] + 1 || (ledger.next() == 0 && !is_whole));
        }
    }

    #[test]
    fn a_full_journal_empties_itself() {
        let machine = Machine::new(true);
        let mut ledger = machine.open().expect("opens");
        let mut last = 0;
        for _ in 0..40 {
            last = ledger.append(&news(64)).expect("is on disk")[63];
        }
        // What is longer than the whole journal goes past it.
        last = last.max(ledger.append(&news(2_000)).expect("is on disk")[1_999]);
        assert!(!ledger.is_behind());
        assert_eq!(ledger.store().verify().expect("is whole").seq, last);
    }

    #[test]
    fn what_another_machine_or_another_chain_wrote_is_not_taken_in() {
        let machine = Machine::new(true);
        machine.open().expect("opens").append(&news(3)).expect("is on disk");
        // The same journal beside a chain that does not know of it.
        let mut other = Machine::new(true);
        other.open().expect("opens").append(&[entry(9)]).expect("is on disk");
        other.open().expect("opens");
        let journal = machine.journal.as_ref().expect("has one").contents().seen.clone();
        other.journal = Some(Disk::new(journal.clone(), &other.power));
        let ledger = other.open().expect("opens");
        assert_eq!(ledger.next(), 1);
        // With another key.
        let key = SigningKey::from_bytes(&[8; 32]);
        let (_, links) = Journal::open(Disk::new(journal, &machine.power), &key).expect("reads");
        assert!(links.is_empty());
    }

    #[test]
    fn changes_that_are_open_are_known_before_they_are_in_the_database() {
        use aios_abi::audit::{CallRecord, Outcome};
        let machine = Machine::new(true);
        let mut ledger = machine.open().expect("opens");
        let call = CallRecord {
            tool: "fs.write".into(),
            effect: aios_abi::tool::Effect::Reversible,
            args: "{}".into(),
            why: "test".into(),
            incident: None,
            by: "root".into(),
            person: None,
        };
        let new = |entry| New { time_ms: 0, entry, once: None };
        let begin = || new(Entry::Begin { call: call.clone(), undoable: false });
        let numbers = ledger.append(&[begin(), begin()]).expect("is on disk");
        let end = Entry::End { of: numbers[0], outcome: Outcome::Interrupted };
        ledger.append(&[new(end)]).expect("is on disk");
        assert!(ledger.is_behind());
        assert_eq!(ledger.open_changes().expect("reads"), [numbers[1]]);
        ledger.settle().expect("is in the database");
        assert_eq!(ledger.open_changes().expect("reads"), [numbers[1]]);
        assert_eq!(ledger.store().record(99).expect("reads"), None);
        let broken = ledger.store().append(std::iter::once(&Link {
            record: Record::new(Some((7, Hash::default())), 0, begin().entry),
            once: None,
        }));
        assert!(broken.expect_err("does not follow").to_string().contains("would break the chain"));
        assert!(ledger.store().verify().map_err(|e| e.code) != Err(ErrorCode::Failed));
    }
}
