//! Exported audit logs: any text, and true chains of which a byte was changed.
#![cfg_attr(feature = "link", no_main)]

use aios_abi::audit::{Entry, Head, Record, Verification};
use aios_fuzz::fuzz_target;
use ed25519_dalek::SigningKey;

/// The records of a log whose last line is its head, if all is proved.
fn proved(log: &str) -> Option<Vec<Record>> {
    let (records, head) = log.rsplit_once('\n')?;
    let head: Head = serde_json::from_str(head).ok()?;
    let records: Vec<Record> = records.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?;
    let mut verification = Verification::default();
    records.iter().try_for_each(|record| verification.push(record)).ok()?;
    verification.finish(&head).ok().map(|()| records)
}

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (at, byte, bytes) = input;
    if let Ok(text) = std::str::from_utf8(bytes) {
        proved(text);
    }
    let Ok(entries) = postcard::from_bytes::<Vec<Entry>>(bytes) else { return };
    let mut records: Vec<Record> = Vec::new();
    for (time, entry) in entries.into_iter().take(8).enumerate() {
        let previous = records.last().map(|record| (record.seq, record.hash));
        records.push(Record::new(previous, time as u64, entry));
    }
    let Some(last) = records.last() else { return };
    let head = Head::sign(last.seq, last.hash, &SigningKey::from_bytes(&[7; 32]));
    let mut log: String = records.iter().map(|r| serde_json::to_string(r).expect("encodes") + "\n").collect();
    log.push_str(&serde_json::to_string(&head).expect("encodes"));
    assert_eq!(proved(&log).as_ref(), Some(&records), "a true chain");
    let mut changed = log.into_bytes();
    let at = usize::from(at) % changed.len();
    changed[at] = byte;
    if let Some(read) = String::from_utf8(changed).ok().and_then(|log| proved(&log)) {
        assert_eq!(read, records, "a changed log is proved");
    }
});
