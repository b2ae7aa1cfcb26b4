//! What was done, and the proof of it. Proofs are made here: a machine cannot vouch for itself.

use super::Machine;
use crate::api::decode;
use crate::cli;
use crate::error::{Failure, Outcome};
use crate::output::{Output, Tone, clean_line, time};
use crate::proof::Proof;
use crate::witness::{Memory, Witness};
use aios_abi::audit::Head;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Characters of a note in the table.
const NOTE: usize = 60;
/// Bytes of a file that are read at once.
const PIECE: usize = 64 * 1024;

pub(super) async fn run(
    machine: impl FnOnce() -> Outcome<Machine>,
    command: cli::Audit,
    output: &Output,
) -> Outcome {
    match command {
        cli::Audit::List { lines, from } => list(&machine()?, lines, from, output).await,
        cli::Audit::Export { file } => export(&machine()?, &file, output).await,
        cli::Audit::Verify { file: Some(file), key, .. } => verify_file(&file, key.as_deref(), output),
        cli::Audit::Verify { file: None, key, forget } => {
            verify(&machine()?, key.as_deref(), forget, output).await
        }
    }
}

async fn list(machine: &Machine, lines: u32, from: Option<u64>, output: &Output) -> Outcome {
    let lines = u64::from(lines.max(1));
    let page = async |from: u64, limit: u64| {
        let query = [("from", from.to_string()), ("limit", limit.to_string())];
        machine.api.query(&["audit"], &query).await
    };
    let from = match from {
        Some(from) => from,
        None => {
            let head: Head = decode(&page(0, 1).await?["head"])?;
            (head.seq + 1).saturating_sub(lines)
        }
    };
    let (mut records, mut head) = (Vec::new(), Value::Null);
    let mut next = from;
    // The machine may send fewer at once than it is asked for.
    while next < from.saturating_add(lines) {
        let mut answer = page(next, from.saturating_add(lines) - next).await?;
        head = answer["head"].take();
        let Some(part) = answer["records"].as_array_mut() else { break };
        let Some(last) = part.last().and_then(|record| record["seq"].as_u64()).filter(|last| *last >= next)
        else {
            break;
        };
        records.append(part);
        next = last + 1;
    }
    if output.is_json() {
        return output.json(&json!({ "records": records, "head": head }));
    }
    output.table(&["ID", "TIME (UTC)", "WHO", "WHAT", "OUTCOME", "NOTE"], records.iter().map(row))
}

/// A record as a row of the table. What this version does not know is left blank, not hidden.
fn row(record: &Value) -> Vec<String> {
    let (kind, body) = match record["entry"].as_object().and_then(|entry| entry.iter().next()) {
        Some((kind, body)) => (kind.as_str(), body),
        None => ("?", &Value::Null),
    };
    let text = |value: &Value| value.as_str().map(clean_line).unwrap_or_default();
    let call = &body["call"];
    let what = match kind {
        "Opened" => "log opened".to_owned(),
        "Call" | "Begin" => text(&call["tool"]),
        "End" => format!("end of {}", body["of"]),
        "Undone" => format!("undo of {}", body["of"]),
        other => clean_line(other),
    };
    let stamp = record["time_ms"].as_u64().map(time).unwrap_or_default();
    // Milliseconds are in the JSON; a row has to fit.
    let stamp = stamp.split('.').next().unwrap_or("").replace('T', " ");
    let (outcome, words) = match kind {
        "Opened" => (String::new(), format!("aiOS {}", text(&body["version"]))),
        "Begin" => ("begun".to_owned(), String::new()),
        _ => outcome(&body["outcome"]),
    };
    let why = text(&call["why"]);
    // A reason says more than a success; a failure says more than its reason.
    let note = match words.is_empty() || (outcome == "done" && !why.is_empty()) {
        true => why,
        false => words,
    };
    vec![record["seq"].to_string(), stamp, who(call), what, outcome, cut(&note)]
}

/// The person, and the process in brackets unless it was the console, through which people call themselves.
fn who(call: &Value) -> String {
    let by = match call["by"].as_str() {
        Some("agentd") => "agent",
        other => other.unwrap_or_default(),
    };
    clean_line(&match (call["person"]["name"].as_str(), by) {
        (Some(person), "console" | "") => person.to_owned(),
        (Some(person), by) => format!("{person} ({by})"),
        (None, by) => by.to_owned(),
    })
}

/// What came of a call, in one word and in its own words.
fn outcome(outcome: &Value) -> (String, String) {
    if let Some(word) = outcome.as_str() {
        return (clean_line(&word.to_lowercase()), String::new());
    }
    let Some((kind, body)) = outcome.as_object().and_then(|members| members.iter().next()) else {
        return Default::default();
    };
    let words = body.as_object().and_then(|members| members.values().next()?.as_str()).unwrap_or("");
    (clean_line(&kind.to_lowercase()), clean_line(words))
}

/// As much of a sentence as a table has room for; the whole is in the JSON.
fn cut(text: &str) -> String {
    match text.char_indices().nth(NOTE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
        None => text.to_owned(),
    }
}

/// Fetch the whole log, prove it, and keep what is proved in mind.
async fn verify(machine: &Machine, key: Option<&str>, forget: bool, output: &Output) -> Outcome {
    let mut witness = Witness::load()?;
    let before = witness.of(machine.fingerprint).filter(|_| !forget).cloned();
    let head = fetch(machine, before.as_ref(), key, |_| Ok(())).await?;
    witness.remember(machine.fingerprint, Memory::of(&head))?;
    proved(&head, before.as_ref(), output)
}

async fn fetch(
    machine: &Machine,
    before: Option<&Memory>,
    key: Option<&str>,
    mut keep: impl FnMut(&[u8]) -> Outcome,
) -> Outcome<Head> {
    let mut pieces = machine.api.download(&["audit", "export"]).await?;
    let mut proof = Proof::begin(before);
    // A log that proves false is still fetched to its end: it is evidence.
    let mut sound = Ok(());
    while let Some(piece) = pieces.next().await? {
        keep(&piece)?;
        sound = sound.and_then(|()| proof.push(&piece));
    }
    sound?;
    proof.finish(key)
}

fn proved(head: &Head, before: Option<&Memory>, output: &Output) -> Outcome {
    if output.is_json() {
        let before = before.map(|memory| memory.seq);
        return output.json(
            &json!({ "proved": true, "records": head.seq + 1, "proved_before": before, "head": head }),
        );
    }
    output.line(
        output.tone(Tone::Good, format!("proved: {} records, none altered or removed", head.seq + 1)),
    )?;
    output.line(format!("record {}  {}", head.seq, head.hash))?;
    output.line(format!("key  {}", clean_line(&head.public_key)))?;
    match before {
        Some(memory) => output.line(format!("goes on from record {}, which was proved before", memory.seq)),
        None => output
            .line("nothing was proved of it before, so this cannot tell whether its end was cut off earlier"),
    }
}

async fn export(machine: &Machine, path: &Path, output: &Output) -> Outcome {
    let failed =
        |what: std::io::Error| Failure::failed(format!("{} cannot be written: {what}", path.display()));
    // Reasons and arguments may be nobody else's business.
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let mut witness = Witness::load()?;
    let before = witness.of(machine.fingerprint).cloned();
    let fetched = fetch(machine, before.as_ref(), None, |piece| file.write_all(piece).map_err(failed)).await;
    let head = match fetched {
        Ok(head) => head,
        Err(failure) if failure.code == "not_proved" => {
            let message = format!("{}; the log is in {} as it came", failure.message, path.display());
            return Err(Failure { message, ..failure });
        }
        Err(failure) => {
            // Half a log is of no use to anybody.
            let _ = std::fs::remove_file(path);
            return Err(failure);
        }
    };
    file.sync_all().map_err(failed)?;
    witness.remember(machine.fingerprint, Memory::of(&head))?;
    match output.is_json() {
        true => output.json(&json!({ "file": path, "records": head.seq + 1, "head": head })),
        false => output.line(format!("{} records proved and written to {}", head.seq + 1, path.display())),
    }
}

/// Prove a file; when it reaches as far as what was proved of the same log before, that must be in it.
fn verify_file(path: &Path, key: Option<&str>, output: &Output) -> Outcome {
    let head = read(path, Proof::begin(None), key)?;
    let witness = Witness::load()?;
    // A file may well be older than the last proof: then there is nothing to compare.
    let before = witness.of_key(&head.public_key).filter(|memory| memory.seq <= head.seq);
    if before.is_some() {
        read(path, Proof::begin(before), key)?;
    }
    proved(&head, before, output)
}

fn read(path: &Path, mut proof: Proof<'_>, key: Option<&str>) -> Outcome<Head> {
    let failed = |what: std::io::Error| {
        let message = format!("{} cannot be read: {what}", path.display());
        match what.kind() {
            std::io::ErrorKind::NotFound => Failure::not_found(message),
            _ => Failure::failed(message),
        }
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut piece = vec![0; PIECE];
    loop {
        let length = file.read(&mut piece).map_err(failed)?;
        match piece.get(..length) {
            None | Some([]) => return proof.finish(key),
            Some(read) => proof.push(read)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_record_has_its_row() {
        let call = json!({"tool": "fs.write", "why": "test", "by": "console", "person": {"name": "admin", "role": "admin"}});
        let row = |entry: Value| row(&json!({"seq": 7, "time_ms": 0, "entry": entry}));
        let done = json!({"Done": {"summary": "5 bytes"}});
        let words = |row: Vec<String>| row.into_iter().skip(2).collect::<Vec<_>>().join("|");
        assert_eq!(row(json!({"Opened": {"version": "0.1.0", "boot_id": "b"}}))[1], "1970-01-01 00:00:00");
        assert_eq!(words(row(json!({"Opened": {"version": "0.1.0"}}))), "|log opened||aiOS 0.1.0");
        assert_eq!(
            words(row(json!({"Begin": {"call": call, "undoable": true}}))),
            "admin|fs.write|begun|test"
        );
        assert_eq!(words(row(json!({"End": {"of": 6, "outcome": done}}))), "|end of 6|done|5 bytes");
        assert_eq!(
            words(row(json!({"Undone": {"of": 6, "call": call, "outcome": "Interrupted"}}))),
            "admin|undo of 6|interrupted|test"
        );
        let denied = json!({"Denied": {"reason": "not for anybody"}});
        assert_eq!(
            words(row(json!({"Call": {"call": call, "outcome": denied}}))),
            "admin|fs.write|denied|not for anybody"
        );
        assert_eq!(words(row(json!({"Call": {"call": call, "outcome": done}}))), "admin|fs.write|done|test");
        let by = |by: &str, person: Value| who(&json!({"by": by, "person": person}));
        let admin = json!({"name": "admin"});
        assert_eq!(by("agentd", admin.clone()), "admin (agent)");
        assert_eq!(by("root", admin), "admin (root)");
        assert_eq!((by("agentd", Value::Null), by("uid 9", Value::Null)), ("agent".into(), "uid 9".into()));
        assert_eq!(cut(&"ä".repeat(NOTE + 1)).chars().count(), NOTE + 1);
        assert_eq!(words(row(json!({"New": 1}))), "|New||");
        assert_eq!(words(row(json!(null))), "|?||");
    }

    #[test]
    fn a_file_that_is_no_log_is_refused_and_a_missing_one_is_not_found() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        assert_eq!(
            read(&path, Proof::begin(None), None).expect_err("missing").exit,
            crate::error::Exit::NotFound
        );
        std::fs::write(&path, "hello\n").expect("writes");
        assert_eq!(read(&path, Proof::begin(None), None).expect_err("no log").code, "not_proved");
    }
}
