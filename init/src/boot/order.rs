//! What the owner ordered on the console of recovery mode: done once, before anybody uses `/data`.

use super::sys;
use crate::logs::Logs;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The folder of init on the data disk, which belongs to root alone.
const OWN: &str = "init";
const ORDER: &str = "order";
/// One line for each time that everything was erased. It is never erased.
const RECORDS: &str = "factory-resets.jsonl";
/// What is about to be erased.
const DOOMED: &str = "doomed";
/// A longer order is none.
const LONGEST: u64 = 16 * 1024;

/// An order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Check the file system, whatever it says of itself.
    Check,
    /// Erase all files and keep this line about it.
    Reset(String),
}

impl Order {
    /// Read it. What is not understood is none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        let (kind, record) = (lines.next()?, lines.next().unwrap_or_default());
        match kind {
            "check-data" => Some(Self::Check),
            "factory-reset" if !record.is_empty() => Some(Self::Reset(record.to_owned())),
            _ => None,
        }
    }
}

/// The order that waits on the data disk mounted here, if there is one.
pub(super) fn waiting(data: &Path) -> Option<Order> {
    let mut text = Vec::new();
    File::open(data.join(OWN).join(ORDER)).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
    Order::parse(&text)
}

/// It is done, or must not be tried again.
pub(super) fn forget(data: &Path) -> Result<()> {
    let own = data.join(OWN);
    std::fs::remove_file(own.join(ORDER))?;
    File::open(own)?.sync_all()
}

/// Erase everything but the records of that. When power goes meanwhile the order is still there, and the next
/// start goes on.
pub(super) fn reset(data: &Path, record: &str, logs: &mut Logs) -> Result<()> {
    keep_record(&data.join(OWN).join(RECORDS), record)?;
    let left = erase(data)?;
    rustix::fs::sync();
    // Let the disk itself forget what was on it, where it can.
    match File::open(data).and_then(|folder| Ok(sys::trim(folder.as_fd())?)) {
        Ok(()) => {}
        Err(e) => logs.warn(&format!(
            "the disk cannot forget what was erased ({e}): it could be read from the raw disk"
        )),
    }
    forget(data)?;
    match left {
        None => {
            logs.say(5, &format!("/data is as new: everything was erased, as the owner ordered: {record}"))
        }
        Some(e) => logs.warn(&format!("factory reset: not all of /data could be erased: {e}")),
    }
    Ok(())
}

/// Add the line, unless an interrupted attempt has added it already.
fn keep_record(path: &Path, record: &str) -> Result<()> {
    let known = match std::fs::read(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        known => known.unwrap_or_default(),
    };
    if known
        .strip_suffix(b"\n")
        .is_some_and(|lines| lines.rsplit(|b| *b == b'\n').next() == Some(record.as_bytes()))
    {
        return Ok(());
    }
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    // Half a line of an attempt that was cut off stays a line of its own.
    let start = if known.is_empty() || known.ends_with(b"\n") { "" } else { "\n" };
    writeln!(file, "{start}{record}")?;
    file.sync_all()
}

/// Remove all but our own folder, and of that all but order and records. What cannot be removed is left,
/// and the last error of that returned.
///
/// Directories are moved next to each other before they are emptied: however deep somebody nested them, no
/// path gets long and nothing recurses.
fn erase(data: &Path) -> Result<Option<Error>> {
    let own = data.join(OWN);
    let doomed = own.join(DOOMED);
    match std::fs::create_dir(&doomed) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let mut bin = Bin { doomed, next: 0, error: None };
    bin.take_all(data, &[OWN, "lost+found"])?;
    bin.take_all(&data.join("lost+found"), &[]).or_else(missing)?;
    bin.take_all(&own, &[ORDER, RECORDS, DOOMED])?;
    bin.empty()?;
    Ok(bin.error)
}

fn missing(e: Error) -> Result<()> {
    if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

struct Bin {
    doomed: PathBuf,
    next: u64,
    error: Option<Error>,
}

impl Bin {
    /// Remove the files of a directory, and move its directories into the bin.
    fn take_all(&mut self, directory: &Path, keep: &[&str]) -> Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if keep.iter().any(|kept| name == *kept) {
                continue;
            }
            let done = match entry.file_type()?.is_dir() {
                true => self.take(&path),
                false => std::fs::remove_file(&path),
            };
            if let Err(e) = done {
                self.error = Some(e);
            }
        }
        Ok(())
    }

    fn take(&mut self, directory: &Path) -> Result<()> {
        loop {
            self.next += 1;
            match std::fs::rename(directory, self.doomed.join(self.next.to_string())) {
                // The bin still holds what an interrupted attempt has put there.
                Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {}
                other => return other,
            }
        }
    }

    fn empty(&mut self) -> Result<()> {
        loop {
            let mut emptied = false;
            let directories: Vec<PathBuf> =
                std::fs::read_dir(&self.doomed)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
            for directory in directories {
                let done = self.take_all(&directory, &[]).and_then(|()| std::fs::remove_dir(&directory));
                match done {
                    Ok(()) => emptied = true,
                    Err(e) => self.error = Some(e),
                }
            }
            // Nothing is left, or what is left cannot be removed.
            if !emptied {
                let _ = std::fs::remove_dir(&self.doomed);
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn everything_goes_however_deep_and_only_the_records_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        let write = |path: &str, text: &str| {
            let path = data.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        write("init/order", "factory-reset\n{\"n\":2}\n");
        write("init/factory-resets.jsonl", "{\"n\":1}\n");
        write("init/timers/clean", "");
        // What an interrupted attempt has left.
        write("init/doomed/1/old", "");
        write("toold/audit.redb", "secret");
        write("lost+found/#12", "secret");
        std::os::unix::fs::symlink("/etc", data.join("link")).expect("linked");
        let deep: String = "d/".repeat(300);
        write(&format!("{deep}file"), "secret");
        let mut logs = Logs::default();
        let Some(Order::Reset(record)) = waiting(data) else { panic!("the order was not found") };
        // A file system in a test's folder cannot forget; that is said and is no failure.
        reset(data, &record, &mut logs).expect("erased");
        let names = |path: &Path| {
            let mut names: Vec<_> =
                std::fs::read_dir(path).expect("there").map(|e| e.expect("read").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(data), ["init", "lost+found"]);
        assert_eq!(names(&data.join("init")), [RECORDS]);
        assert!(names(&data.join("lost+found")).is_empty());
        assert!(Path::new("/etc/passwd").exists(), "a link was followed");
        let records = std::fs::read_to_string(data.join("init").join(RECORDS)).expect("read");
        assert_eq!(records, "{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(waiting(data), None);
    }

    #[test]
    fn a_record_is_kept_once_although_the_power_went_after_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(RECORDS);
        std::fs::write(&path, "half").expect("written");
        for _ in 0..2 {
            keep_record(&path, "whole").expect("kept");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "half\nwhole\n");
    }

    #[test]
    fn only_a_whole_order_is_one() {
        assert_eq!(Order::parse(b"check-data\n\n"), Some(Order::Check));
        assert_eq!(Order::parse(b"factory-reset\n{}\n"), Some(Order::Reset("{}".to_owned())));
        for text in ["", "factory-reset", "factory-reset\n\n", "factory", "\nfactory-reset\n{}"] {
            assert_eq!(Order::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Order::parse(&bytes);
        }
    }
}
