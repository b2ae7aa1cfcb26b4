//! The audit chain: what was done, by whom, why, and the proof that nothing was removed.
//!
//! Each record holds the BLAKE3 hash of the one before, and its own hash is taken over its canonical
//! encoding (postcard of [`Entry`] and its position). A head (sequence number and hash of the newest
//! record) is signed with the appliance's ed25519 key (RFC 8032). Whoever holds an old signed head
//! can therefore tell that a log was cut, and whoever holds the public key that it was altered.

use crate::{error::CallError, tool::Effect, who::Person};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Separates our signatures from any other use of the key.
const DOMAIN: &[u8] = b"aios audit head v1";

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The chain was opened: at the first boot and at each later one.
    Opened {
        /// Version of the image.
        version: String,
        /// `/proc/sys/kernel/random/boot_id`
        boot_id: String,
    },
    /// A call that changes nothing, or one that was refused; the record is its whole story.
    Call {
        /// What was asked.
        call: CallRecord,
        /// What came of it.
        outcome: Outcome,
    },
    /// A change is about to be made; what undo needs is saved.
    Begin {
        /// What was asked.
        call: CallRecord,
        /// Whether it can be taken back.
        undoable: bool,
    },
    /// The change that another record began has ended.
    End {
        /// Sequence number of the record.
        of: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// A change that a record began was taken back.
    Undone {
        /// Sequence number of the record.
        of: u64,
        /// Who asked for it, and why.
        call: CallRecord,
        /// What came of it.
        outcome: Outcome,
    },
}

/// One call as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The tool's name.
    pub tool: String,
    /// What it does to the machine.
    pub effect: Effect,
    /// Its arguments, a JSON object; secrets are replaced by their length.
    pub args: String,
    /// The reason that was given.
    pub why: String,
    /// The incident or conversation that it served.
    pub incident: Option<String>,
    /// The process that asked: `agentd`, `console` or `uid 1000`.
    pub by: String,
    /// The person on whose behalf it asked.
    pub person: Option<Person>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was done.
    Done {
        /// The result in a few words.
        summary: String,
    },
    /// It was refused.
    Denied {
        /// Why.
        reason: String,
    },
    /// It was tried and failed.
    Failed {
        /// Why.
        error: String,
    },
    /// The machine stopped in between; found at the next start.
    Interrupted,
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Position, from 0, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970 as the machine's clock had it; clocks jump, positions do not.
    pub time_ms: u64,
    /// Hash of the record before; zeros for the first.
    pub previous: Hash,
    /// What happened.
    pub entry: Entry,
    /// Hash of all of the above.
    pub hash: Hash,
}

/// A BLAKE3 hash, in hexadecimal where people and JSON see it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash(pub [u8; 32]);

impl Record {
    /// The record that follows `previous` (its sequence number and hash), or the first one.
    pub fn new(previous: Option<(u64, Hash)>, time_ms: u64, entry: Entry) -> Self {
        let (seq, previous) = match previous {
            Some((seq, hash)) => (seq + 1, hash),
            None => (0, Hash::default()),
        };
        let hash = digest(seq, time_ms, &previous, &entry);
        Self { seq, time_ms, previous, entry, hash }
    }

    /// Whether it is whole, and the one that comes after `previous` (its sequence number and hash), or the first one.
    pub fn follows(&self, previous: Option<(u64, Hash)>) -> bool {
        let (seq, previous) = previous.map_or((0, Hash::default()), |(seq, hash)| (seq + 1, hash));
        let hash = digest(self.seq, self.time_ms, &self.previous, &self.entry);
        (self.seq, self.previous, self.hash) == (seq, previous, hash)
    }
}

fn digest(seq: u64, time_ms: u64, previous: &Hash, entry: &Entry) -> Hash {
    // The types above always encode; an empty text would still differ from every true one.
    let bytes = postcard::to_stdvec(&(seq, time_ms, previous.0, entry)).unwrap_or_default();
    Hash(*blake3::hash(&bytes).as_bytes())
}

/// The newest record, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its position.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// The appliance's public key, 32 bytes in hexadecimal.
    pub public_key: String,
    /// ed25519 signature of position and hash, 64 bytes in hexadecimal.
    pub signature: String,
}

impl Head {
    /// Sign the end of a chain.
    pub fn sign(seq: u64, hash: Hash, key: &SigningKey) -> Self {
        let signature = key.sign(&signed_bytes(seq, &hash));
        Self {
            seq,
            hash,
            public_key: hex(key.verifying_key().as_bytes()),
            signature: hex(&signature.to_bytes()),
        }
    }

    /// Whether the signature is that of the key that the head names.
    pub fn verify(&self) -> Result<(), CallError> {
        let bad = |what: &str| CallError::invalid(format!("the signed head is not valid: {what}"));
        let key = unhex::<32>(&self.public_key)
            .ok_or_else(|| bad("its public key is not 64 hexadecimal digits"))?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| bad("its public key is none of ed25519"))?;
        let signature =
            unhex::<64>(&self.signature).ok_or_else(|| bad("its signature is not 128 hexadecimal digits"))?;
        key.verify(&signed_bytes(self.seq, &self.hash), &Signature::from_bytes(&signature))
            .map_err(|_| bad("the signature does not fit position, hash and key"))
    }
}

fn signed_bytes(seq: u64, hash: &Hash) -> Vec<u8> {
    [DOMAIN, &seq.to_le_bytes(), &hash.0].concat()
}

/// Checks a chain record by record; it need not be held in memory.
#[derive(Debug, Default)]
pub struct Verification {
    last: Option<(u64, Hash)>,
}

impl Verification {
    /// Take in the next record. The error names the first record that is altered, missing or moved.
    pub fn push(&mut self, record: &Record) -> Result<(), CallError> {
        let (expected, previous) = match self.last {
            Some((seq, hash)) => (seq + 1, hash),
            None => (0, Hash::default()),
        };
        if record.seq != expected {
            return Err(CallError::invalid(format!(
                "record {expected} is missing: record {} follows in its place",
                record.seq
            )));
        }
        if record.hash != digest(record.seq, record.time_ms, &record.previous, &record.entry) {
            return Err(CallError::invalid(format!(
                "record {expected} was altered: its hash does not fit its text"
            )));
        }
        if record.previous != previous {
            return Err(CallError::invalid(format!(
                "record {expected} does not follow the record before it: one of the two was replaced"
            )));
        }
        self.last = Some((record.seq, record.hash));
        Ok(())
    }

    /// The end of the chain must be what was signed.
    pub fn finish(self, head: &Head) -> Result<(), CallError> {
        head.verify()?;
        match self.last {
            Some((seq, hash)) if seq == head.seq && hash == head.hash => Ok(()),
            Some((seq, _)) if seq < head.seq => Err(CallError::invalid(format!(
                "records {} to {} are missing: the signed head says that there are more",
                seq + 1,
                head.seq
            ))),
            Some((seq, _)) => Err(CallError::invalid(format!(
                "record {seq} is not the one that was signed as record {}",
                head.seq
            ))),
            None => Err(CallError::invalid("the log holds no record")),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The inverse of [`hex`], for exactly `N` bytes.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&hex(&self.0))
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            unhex(&text).map(Hash).ok_or_else(|| serde::de::Error::custom("a hash is 64 hexadecimal digits"))
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(length: u64) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        for n in 0..length {
            let previous = records.last().map(|r| (r.seq, r.hash));
            let entry = Entry::Opened { version: n.to_string(), boot_id: "b".into() };
            records.push(Record::new(previous, 1000 + n, entry));
        }
        records
    }

    fn verify(records: &[Record], head: &Head) -> Result<(), CallError> {
        let mut verification = Verification::default();
        records.iter().try_for_each(|r| verification.push(r))?;
        verification.finish(head)
    }

    fn head_of(records: &[Record]) -> Head {
        let last = records.last().expect("not empty");
        Head::sign(last.seq, last.hash, &SigningKey::from_bytes(&[7; 32]))
    }

    #[test]
    fn a_whole_chain_is_proved_also_after_a_trip_through_json() {
        let records = chain(5);
        let head = head_of(&records);
        let json = serde_json::to_string(&records).expect("encodes");
        let back: Vec<Record> = serde_json::from_str(&json).expect("decodes");
        assert_eq!(verify(&back, &head), Ok(()));
    }

    #[test]
    fn an_altered_dropped_moved_or_cut_record_is_named() {
        let records = chain(5);
        let head = head_of(&records);
        let said = |records: &[Record]| verify(records, &head).expect_err("must be found").message;

        let mut altered = records.clone();
        altered[2].time_ms += 1;
        assert!(said(&altered).contains("record 2 was altered"));
        let mut dropped = records.clone();
        dropped.remove(3);
        assert!(said(&dropped).contains("record 3 is missing"));
        let mut moved = records.clone();
        moved.swap(1, 2);
        assert!(said(&moved).contains("record 1 is missing"));
        assert!(said(&records[..4]).contains("records 4 to 4 are missing"));
        let mut forged = records.clone();
        forged[4] = Record::new(Some((3, Hash([1; 32]))), 0, records[4].entry.clone());
        assert!(said(&forged).contains("record 4 does not follow"));
    }

    /// What somebody with the log in hand may do to it.
    #[derive(Debug, Clone)]
    enum Tampering {
        Alter(usize),
        Drop(usize),
        Repeat(usize),
        Swap(usize, usize),
        Truncate(usize),
        Forge(usize),
    }

    fn tampering() -> impl Strategy<Value = Tampering> {
        let place = || 0_usize..LENGTH;
        prop_oneof![
            place().prop_map(Tampering::Alter),
            place().prop_map(Tampering::Drop),
            place().prop_map(Tampering::Repeat),
            (place(), place()).prop_map(|(one, other)| Tampering::Swap(one, other)),
            place().prop_map(Tampering::Truncate),
            place().prop_map(Tampering::Forge),
        ]
    }

    const LENGTH: usize = 24;

    proptest! {
        #[test]
        fn the_first_record_that_was_tampered_with_is_named(tampering in tampering()) {
            let true_ones = chain(LENGTH as u64);
            let head = head_of(&true_ones);
            let mut records = true_ones.clone();
            // Where a reader comes upon it first.
            let first = match tampering {
                Tampering::Alter(at) => {
                    records[at].entry = Entry::Opened { version: "other".into(), boot_id: "b".into() };
                    at
                }
                Tampering::Drop(at) => {
                    records.remove(at);
                    at
                }
                Tampering::Repeat(at) => {
                    records.insert(at, records[at].clone());
                    at + 1
                }
                Tampering::Swap(one, other) => {
                    records.swap(one, other);
                    one.min(other)
                }
                Tampering::Truncate(length) => {
                    records.truncate(length);
                    length
                }
                // With a hash that fits: the record after it does not follow any more.
                Tampering::Forge(at) => {
                    let before = at.checked_sub(1).map(|before| (records[before].seq, records[before].hash));
                    let entry = Entry::Opened { version: "other".into(), boot_id: "b".into() };
                    records[at] = Record::new(before, 0, entry);
                    at + 1
                }
            };
            let result = verify(&records, &head);
            if records == true_ones {
                prop_assert_eq!(result, Ok(()));
                return Ok(());
            }
            let said = result.expect_err("must be found").message;
            let name = match tampering {
                // The end itself was forged: there is nobody to contradict but the signature.
                Tampering::Forge(at) if at + 1 == LENGTH => format!("record {at} is not the one that was signed"),
                Tampering::Drop(at) if at + 1 == LENGTH => format!("records {at} to {at} are missing"),
                Tampering::Truncate(0) => "the log holds no record".into(),
                Tampering::Truncate(length) => format!("records {length} to {} are missing", LENGTH - 1),
                _ => format!("record {first} "),
            };
            prop_assert!(said.contains(&name), "{said:?} should name {name:?}");
        }
    }

    #[test]
    fn a_head_signed_with_another_key_or_for_another_place_is_refused() {
        let records = chain(2);
        let mut head = head_of(&records);
        head.seq = 0;
        assert!(head.verify().is_err());
        let mut head = head_of(&records);
        head.public_key = hex(SigningKey::from_bytes(&[8; 32]).verifying_key().as_bytes());
        assert!(head.verify().is_err());
        head.public_key = "zz".into();
        assert!(head.verify().is_err());
    }
}
