//! Remembers the newest audit record that was proved for each machine, beside the configuration in
//! `witness.toml`: like the certificates, it is what this person trusts a machine for.
//!
//! The chain alone cannot show that its newest records were cut off and the head signed anew by whoever holds
//! the machine; somebody outside who remembers a later head can.

use crate::config;
use crate::error::{Failure, Outcome};
use crate::pin::Fingerprint;
use aios_abi::audit::{Hash, Head, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A proved end of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Position of the record.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// The key that signed it.
    pub public_key: String,
}

impl Memory {
    /// This head, to be remembered.
    pub(crate) fn of(head: &Head) -> Self {
        Self { seq: head.seq, hash: head.hash, public_key: head.public_key.clone() }
    }
}

/// The file: machines by their certificate, because a name or an address may be another machine's tomorrow.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Witness {
    #[serde(default)]
    machines: BTreeMap<String, Memory>,
}

impl Witness {
    /// Read the file.
    pub(crate) fn load() -> Outcome<Self> {
        config::read(&path()?)
    }

    /// What is remembered of a machine.
    pub(crate) fn of(&self, machine: Fingerprint) -> Option<&Memory> {
        self.machines.get(&machine.to_string())
    }

    /// What is remembered of whatever machine signs with this key.
    pub(crate) fn of_key(&self, public_key: &str) -> Option<&Memory> {
        self.machines
            .values()
            .filter(|memory| memory.public_key == public_key)
            .max_by_key(|memory| memory.seq)
    }

    /// Remember, and write the file.
    pub(crate) fn remember(&mut self, machine: Fingerprint, memory: Memory) -> Outcome {
        self.machines.insert(machine.to_string(), memory);
        config::write(&path()?, self)
    }
}

fn path() -> Outcome<PathBuf> {
    Ok(config::directory()?.join("witness.toml"))
}

/// Holds a chain, record by record, against what is remembered of it.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    memory: Option<&'a Memory>,
    there: Option<Hash>,
}

impl<'a> Comparison<'a> {
    /// Compare with this.
    pub(crate) fn with(memory: Option<&'a Memory>) -> Self {
        Self { memory, there: None }
    }

    /// Take in a record.
    pub(crate) fn push(&mut self, record: &Record) {
        if self.memory.is_some_and(|memory| memory.seq == record.seq) {
            self.there = Some(record.hash);
        }
    }

    /// The chain ended with this head.
    pub(crate) fn finish(self, head: &Head) -> Outcome {
        let Some(memory) = self.memory else { return Ok(()) };
        let cure = "if you know why, accept it with `aiosctl audit verify --forget`";
        if memory.public_key != head.public_key {
            return Err(Failure::not_proved(format!(
                "the log is signed with another key than before ({} instead of {}): this is not the log that was \
                 proved up to record {}; {cure}",
                head.public_key, memory.public_key, memory.seq
            )));
        }
        if head.seq < memory.seq {
            return Err(Failure::not_proved(format!(
                "the log became shorter: it ends with record {}, and record {} was proved before; {cure}",
                head.seq, memory.seq
            )));
        }
        if self.there != Some(memory.hash) {
            return Err(Failure::not_proved(format!(
                "record {} is not the one that was proved before: the log was cut and written anew; {cure}",
                memory.seq
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_abi::audit::Entry;
    use ed25519_dalek::SigningKey;

    fn chain(words: &[&str]) -> (Vec<Record>, Head) {
        let mut records: Vec<Record> = Vec::new();
        for word in words {
            let previous = records.last().map(|r| (r.seq, r.hash));
            let entry = Entry::Opened { version: (*word).into(), boot_id: "b".into() };
            records.push(Record::new(previous, 0, entry));
        }
        let last = records.last().expect("a record");
        let head = Head::sign(last.seq, last.hash, &SigningKey::from_bytes(&[7; 32]));
        (records, head)
    }

    fn compare(memory: &Memory, (records, head): &(Vec<Record>, Head)) -> Outcome {
        let mut comparison = Comparison::with(Some(memory));
        records.iter().for_each(|record| comparison.push(record));
        comparison.finish(head)
    }

    #[test]
    fn a_log_that_only_grew_is_the_same_log() {
        let memory = Memory::of(&chain(&["a", "b"]).1);
        assert_eq!(compare(&memory, &chain(&["a", "b"])), Ok(()));
        assert_eq!(compare(&memory, &chain(&["a", "b", "c"])), Ok(()));
    }

    #[test]
    fn a_log_that_was_cut_replaced_or_signed_by_another_is_noticed() {
        let memory = Memory::of(&chain(&["a", "b"]).1);
        let said = |chain| compare(&memory, &chain).expect_err("noticed").message;
        assert!(said(chain(&["a"])).contains("became shorter"));
        assert!(said(chain(&["a", "x", "c"])).contains("written anew"));
        let (records, mut head) = chain(&["a", "b"]);
        head.public_key = "other".into();
        assert!(said((records, head)).contains("another key"));
    }
}
