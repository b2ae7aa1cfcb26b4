//! Proves an exported audit log as it arrives: every hash, the signature of its end, and that it goes on
//! from what was proved before. No I/O.

use crate::error::{Failure, Outcome};
use crate::witness::{Comparison, Memory};
use aios_abi::audit::{Head, Record, Verification};
use serde::Deserialize;

/// A record is not longer than this, in bytes: its arguments came in one packet of the ABI.
const LONGEST: usize = 4 * 1024 * 1024;

/// A line of an export.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    End { head: Head },
    Record(Record),
}

/// The proof so far.
#[derive(Debug)]
pub(crate) struct Proof<'a> {
    verification: Verification,
    comparison: Comparison<'a>,
    rest: Vec<u8>,
    lines: u64,
    head: Option<Head>,
}

impl<'a> Proof<'a> {
    /// Begin; the log must contain what is remembered of it.
    pub(crate) fn begin(memory: Option<&'a Memory>) -> Self {
        Self {
            verification: Verification::default(),
            comparison: Comparison::with(memory),
            rest: Vec::new(),
            lines: 0,
            head: None,
        }
    }

    /// Take in a piece of any size.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Outcome {
        let mut piece = piece;
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = piece.split_at(end);
            self.rest.extend_from_slice(line);
            let line = std::mem::take(&mut self.rest);
            self.line(&line)?;
            piece = rest.get(1..).unwrap_or_default();
        }
        self.rest.extend_from_slice(piece);
        match self.rest.len() > LONGEST {
            true => Err(self.wrong("it is longer than a record can be")),
            false => Ok(()),
        }
    }

    fn line(&mut self, line: &[u8]) -> Outcome {
        if self.head.is_some() {
            return Err(self.wrong("it comes after the signed head, which is the end"));
        }
        match serde_json::from_slice(line) {
            Ok(Line::Record(record)) => {
                self.verification.push(&record).map_err(|e| Failure::not_proved(e.message))?;
                self.comparison.push(&record);
            }
            Ok(Line::End { head }) => self.head = Some(head),
            Err(_) => return Err(self.wrong("it is neither a record nor a signed head")),
        }
        self.lines += 1;
        Ok(())
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::not_proved(format!("line {} is not part of an audit log: {what}", self.lines + 1))
    }

    /// The log has ended. `key` is the public key that must have signed it, if that is known.
    pub(crate) fn finish(self, key: Option<&str>) -> Outcome<Head> {
        let Some(head) = self.head else {
            return Err(Failure::not_proved(
                "the log has no signed head at its end: it was cut off; export it again",
            ));
        };
        self.verification.finish(&head).map_err(|e| Failure::not_proved(e.message))?;
        if let Some(key) = key
            && !key.eq_ignore_ascii_case(&head.public_key)
        {
            return Err(Failure::not_proved(format!(
                "the log is signed by {} and not by {key}",
                head.public_key
            )));
        }
        self.comparison.finish(&head)?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_abi::audit::Entry;
    use ed25519_dalek::SigningKey;

    fn export(length: u64) -> (String, Head) {
        let mut text = String::new();
        let mut last = None;
        for n in 0..length {
            let entry = Entry::Opened { version: n.to_string(), boot_id: "b".into() };
            let record = Record::new(last, n, entry);
            last = Some((record.seq, record.hash));
            text += &(serde_json::to_string(&record).expect("encodes") + "\n");
        }
        let (seq, hash) = last.expect("a record");
        let head = Head::sign(seq, hash, &SigningKey::from_bytes(&[7; 32]));
        text += &(serde_json::json!({ "head": head }).to_string() + "\n");
        (text, head)
    }

    fn prove(text: &str, piece: usize, memory: Option<&Memory>, key: Option<&str>) -> Outcome<Head> {
        let mut proof = Proof::begin(memory);
        text.as_bytes().chunks(piece).try_for_each(|piece| proof.push(piece))?;
        proof.finish(key)
    }

    #[test]
    fn a_whole_log_is_proved_in_pieces_of_any_size() {
        let (text, head) = export(4);
        for piece in [1, 7, 100, 1 << 20] {
            assert_eq!(prove(&text, piece, None, Some(&head.public_key)), Ok(head.clone()), "{piece}");
        }
    }

    #[test]
    fn a_log_that_was_altered_cut_or_signed_by_another_is_refused() {
        let (text, head) = export(4);
        let said = |text: &str| prove(text, 64, None, None).expect_err("refused").message;
        assert!(said(&text.replacen("\"2\"", "\"9\"", 1)).contains("record 2 was altered"));
        let without_head: String = text.lines().take(4).map(|line| format!("{line}\n")).collect();
        assert!(said(&without_head).contains("cut off"));
        let without_last: String =
            text.lines().filter(|line| !line.contains("\"seq\":3,\"t")).map(|l| format!("{l}\n")).collect();
        assert!(said(&without_last).contains("missing"));
        assert!(said(&format!("{text}{text}")).contains("after the signed head"));
        assert!(said("<html>\n").contains("line 1"));
        assert!(said("").contains("cut off"));
        let other = prove(&text, 64, None, Some(&"00".repeat(32))).expect_err("another key");
        assert!(other.message.contains(&head.public_key));
    }

    #[test]
    fn a_log_that_became_shorter_than_what_was_proved_is_noticed() {
        let (_, later) = export(6);
        let (text, _) = export(4);
        let memory = Memory::of(&later);
        assert!(prove(&text, 64, Some(&memory), None).expect_err("noticed").message.contains("shorter"));
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut proof = Proof::begin(None);
        assert!(proof.push(&vec![b'x'; LONGEST + 1]).is_err());
    }
}
