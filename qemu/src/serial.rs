//! What the guest says on its serial line.

use anyhow::{Result, bail};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines that are kept in memory; the log file has all of them.
const KEPT: usize = 20_000;
/// Lines of the guest in an error message.
const TAIL: usize = 25;

/// The serial line: collected by a thread, waited for without polling.
#[derive(Clone)]
pub struct Serial {
    shared: Arc<(Mutex<Text>, Condvar)>,
}

#[derive(Default)]
struct Text {
    lines: VecDeque<String>,
    /// How many lines were forgotten before the first kept one.
    forgotten: usize,
    closed: bool,
}

impl Text {
    fn end(&self) -> usize {
        self.forgotten + self.lines.len()
    }

    fn tail(&self) -> String {
        let skip = self.lines.len().saturating_sub(TAIL);
        self.lines.iter().skip(skip).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Serial {
    /// Collect lines and append them to a log as well.
    pub(crate) fn collect(input: impl Read + Send + 'static, mut log: impl Write + Send + 'static) -> Self {
        let serial = Self { shared: Arc::default() };
        let collector = serial.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(input);
            let mut bytes = Vec::new();
            while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
                // The log is a convenience; a full disk must not stop the machine.
                let _ = log.write_all(&bytes);
                let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                let mut text = collector.lock();
                text.lines.push_back(line);
                if text.lines.len() > KEPT {
                    text.lines.pop_front();
                    text.forgotten += 1;
                }
                drop(text);
                collector.shared.1.notify_all();
                bytes.clear();
            }
            collector.lock().closed = true;
            collector.shared.1.notify_all();
        });
        serial
    }

    fn lock(&self) -> MutexGuard<'_, Text> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was said so far.
    pub fn text(&self) -> String {
        self.lock().lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The number of the line that comes next: a place to wait from.
    pub fn mark(&self) -> usize {
        self.lock().end()
    }

    /// Wait for a line, among all that was and will be said, for which `wanted` holds.
    pub fn wait_for_line(&self, wanted: impl Fn(&str) -> bool, limit: Duration) -> Result<String> {
        self.wait_for(&mut 0, limit, |line| wanted(line).then(|| line.to_owned()))
    }

    /// Wait for the first line for which `wanted` has an answer, counted from line `from`, which
    /// afterwards is the number of the line that follows it.
    ///
    /// Errors: the time is up or the machine ended; the last lines are part of the message.
    pub fn wait_for<T>(
        &self,
        from: &mut usize,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let until = Instant::now() + limit;
        let mut text = self.lock();
        loop {
            *from = (*from).max(text.forgotten);
            while let Some(line) = text.lines.get(*from - text.forgotten) {
                *from += 1;
                if let Some(found) = wanted(line) {
                    return Ok(found);
                }
            }
            if text.closed {
                bail!("the machine ended before it said what was awaited; its last lines:\n{}", text.tail());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("not said within {} s; the machine's last lines:\n{}", limit.as_secs(), text.tail());
            }
            text = self.shared.1.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_whether_it_was_said_before_or_is_said_later() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let serial = Serial::collect(reader, std::io::sink());
        writer.write_all(b"one\r\ntwo\r\n").expect("writes");
        serial.wait_for_line(|line| line == "two", Duration::from_secs(10)).expect("comes");
        assert!(serial.wait_for_line(|line| line == "one", Duration::ZERO).is_ok(), "it was said before");
        let late = std::thread::spawn({
            let serial = serial.clone();
            move || serial.wait_for_line(|line| line == "three", Duration::from_secs(10))
        });
        writer.write_all(b"three\n").expect("writes");
        assert_eq!(late.join().expect("no panic").expect("comes"), "three");
    }

    #[test]
    fn the_end_of_the_machine_is_told_at_once_with_its_last_words() {
        let serial = Serial::collect(&b"Kernel panic\n"[..], std::io::sink());
        let error = serial.wait_for_line(|_| false, Duration::from_secs(60)).expect_err("it ended");
        assert!(error.to_string().contains("ended before") && error.to_string().contains("Kernel panic"));
    }

    #[test]
    fn a_talkative_machine_does_not_fill_the_memory() {
        let text = "x\n".repeat(KEPT) + "last\n";
        let serial = Serial::collect(std::io::Cursor::new(text), std::io::sink());
        serial.wait_for_line(|line| line == "last", Duration::from_secs(10)).expect("comes");
        assert_eq!((serial.mark(), serial.lock().lines.len()), (KEPT + 1, KEPT));
    }
}
