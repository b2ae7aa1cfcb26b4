//! The logs that init's keeper stored on the data disk: this boot's and those before it.
//!
//! Eight files, the newest `current.log`, then `1.log` to `7.log`. A line is
//! `2026-11-21T07:10:12.123Z 515 netd <5> text`; each file and each boot begins with `--- boot ID`.
//! A power cut may tear a line or leave zeros behind; such lines are counted and left out.

use aios_abi::service::LogLine;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

/// Where init's keeper puts them.
pub(crate) const DIRECTORY: &str = "/data/log";
/// Numbered files besides the current one.
const OLDER: u32 = 7;
/// A longer line is none that the keeper wrote.
const MAX_LINE: usize = 64 * 1024;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// How many boots ago, 0 for this one, and the line; oldest first.
    pub(crate) lines: VecDeque<(u32, LogLine)>,
    /// Older lines fit as well.
    pub(crate) more: bool,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
}

/// The newest lines of this boot and of so many before it that `wanted` takes.
pub(crate) fn read(
    directory: &Path,
    earlier: u32,
    most: usize,
    wanted: impl Fn(&LogLine) -> bool,
) -> std::io::Result<Found> {
    let mut found = Found::default();
    let (mut boot, mut boots) = (Vec::new(), 0u32);
    let numbered = (1..=OLDER).rev().map(|n| format!("{n}.log"));
    for name in numbered.chain(["current.log".to_owned()]) {
        let file = match File::open(directory.join(name)) {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        while next_line(&mut reader, &mut bytes)? {
            if let Some(id) = bytes.strip_prefix(b"--- boot ") {
                // A new file of the same boot repeats its heading.
                if boot != id {
                    boot = id.to_vec();
                    boots += 1;
                }
                continue;
            }
            match parse(&bytes) {
                Some(line) if wanted(&line) => {
                    found.lines.push_back((boots, line));
                    if found.lines.len() > most {
                        found.lines.pop_front();
                        found.more = true;
                    }
                }
                Some(_) => {}
                None => found.unreadable += u64::from(!bytes.is_empty()),
            }
        }
    }
    for (number, _) in &mut found.lines {
        *number = boots - *number;
    }
    while found.lines.front().is_some_and(|(ago, _)| *ago > earlier) {
        found.lines.pop_front();
        found.more = false;
    }
    Ok(found)
}

/// One line without its end; the rest of one that is too long is skipped.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let (text, used) = match end {
            Some(at) => (&piece[..at], at + 1),
            None => (piece, piece.len()),
        };
        let room = MAX_LINE.saturating_sub(line.len()).min(text.len());
        line.extend_from_slice(&text[..room]);
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// One line as the keeper wrote it.
pub(crate) fn parse(bytes: &[u8]) -> Option<LogLine> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut words = text.splitn(5, ' ');
    let time: Timestamp = words.next()?.parse().ok()?;
    let seq = words.next()?.parse().ok()?;
    let unit = words.next().filter(|unit| !unit.is_empty())?.to_owned();
    let priority = words.next()?.strip_prefix('<')?.strip_suffix('>')?.parse().ok().filter(|p| *p <= 7)?;
    let time_ms = u64::try_from(time.as_millisecond()).ok()?;
    Some(LogLine { seq, time_ms, unit, priority, text: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, text: &[u8]) {
        std::fs::write(directory.join(name), text).expect("written");
    }

    #[test]
    fn lines_of_earlier_boots_are_found_and_torn_ones_are_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        write(at, "2.log", b"--- boot a\n2026-11-20T07:00:00.000Z 1 netd <6> first\n");
        write(at, "1.log", b"--- boot a\n2026-11-20T07:00:01.000Z 2 netd <4> second\n--- boot b\n2026-11-21T07:00:00.500Z 1 init <6> up\n2026-11-");
        write(at, "current.log", b"--- boot c\n2026-11-21T08:00:00.000Z 1 netd <6> now\n\0\0\0\n");
        let texts = |earlier, most| {
            let found = read(at, earlier, most, |_| true).expect("reads");
            let lines: Vec<String> = found.lines.iter().map(|(ago, l)| format!("{ago} {}", l.text)).collect();
            (lines.join(", "), found.more, found.unreadable)
        };
        assert_eq!(texts(9, 9), ("2 first, 2 second, 1 up, 0 now".into(), false, 2));
        assert_eq!(texts(1, 9), ("1 up, 0 now".into(), false, 2));
        assert_eq!(texts(9, 2), ("1 up, 0 now".into(), true, 2));
        let netd = read(at, 9, 9, |line| line.unit == "netd").expect("reads");
        assert_eq!(netd.lines.len(), 3);
        assert_eq!(netd.lines[2].1.time_ms, 1_795_248_000_000);
        assert!(read(&at.join("none"), 9, 9, |_| true).expect("is empty").lines.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
            let mut line = Vec::new();
            let mut reader = bytes.as_slice();
            while next_line(&mut reader, &mut line).expect("memory can be read") {}
        }
    }
}
