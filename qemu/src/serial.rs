//! What the guest says on its serial line.

use anyhow::{Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdout;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The serial line: collected by a thread, waited for without polling.
#[derive(Clone)]
pub struct Serial {
    shared: Arc<(Mutex<Text>, Condvar)>,
}

#[derive(Default)]
struct Text {
    lines: Vec<String>,
    closed: bool,
}

impl Serial {
    /// Collect lines from QEMU and append them to a log file.
    pub(crate) fn collect(output: ChildStdout, mut log: std::fs::File) -> Self {
        let serial = Self { shared: Arc::default() };
        let shared = serial.shared.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut bytes = Vec::new();
            while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
                // The log is a convenience; a full disk must not stop the machine.
                let _ = log.write_all(&bytes);
                let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                shared.0.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
                shared.1.notify_all();
                bytes.clear();
            }
            shared.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
            shared.1.notify_all();
        });
        serial
    }

    /// All that was said so far.
    pub fn text(&self) -> String {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).lines.join("\n")
    }

    /// Wait for the first line for which `wanted` has an answer, counted from line `from`.
    ///
    /// Errors: the time is up or the machine ended; the last lines are part of the message.
    pub fn wait_for<T>(
        &self,
        from: usize,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let until = Instant::now() + limit;
        let mut text = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = from;
        loop {
            while let Some(line) = text.lines.get(next) {
                next += 1;
                if let Some(found) = wanted(line) {
                    return Ok(found);
                }
            }
            let tail = || text.lines[text.lines.len().saturating_sub(25)..].join("\n");
            if text.closed {
                bail!("the machine ended before it said what was awaited; its last lines:\n{}", tail());
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                bail!("not said within {} s; the machine's last lines:\n{}", limit.as_secs(), tail());
            };
            text = self.shared.1.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
