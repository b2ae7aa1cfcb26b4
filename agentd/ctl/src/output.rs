//! What is printed: tables and sentences for people, JSON for programs.
//!
//! Texts from the machine are foreign: a log line or a file may hold terminal commands. For people every
//! control character in them is made visible; in JSON they are escaped anyway.

use crate::error::{Failure, Outcome};
use comfy_table::{ColumnConstraint, ContentArrangement, Table};
use serde::Serialize;
use serde_json::json;
use std::borrow::Cow;
use std::cell::Cell;
use std::io::{IsTerminal, Write};

/// The least room that a table leaves its widest column, in characters.
const ROOM: usize = 20;

/// How text is set off.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tone {
    /// A heading or a name.
    Strong,
    /// Beside the matter.
    Faint,
    /// All is well.
    Good,
    /// Look here.
    Warning,
    /// Not well.
    Bad,
}

impl Tone {
    /// Select Graphic Rendition (ECMA-48, 8.3.117).
    fn code(self) -> &'static str {
        match self {
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
        }
    }
}

/// Where a command prints.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    colour: bool,
    width: Option<u16>,
    gone: Cell<bool>,
}

impl Output {
    /// Standard output; colours only on a terminal and without `NO_COLOR` (no-color.org).
    pub(crate) fn new(json: bool) -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let width = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col);
        Self {
            json,
            colour: terminal && !plain,
            width: if terminal { width().filter(|width| *width > 0) } else { None },
            gone: Cell::new(false),
        }
    }

    /// Whether a program reads.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a table can be read here: where it is too wide, only its widest column is broken into lines.
    pub(crate) fn has_room_for<R: AsRef<str>>(&self, head: &[&str], rows: &[Vec<R>]) -> bool {
        self.width.is_none_or(|width| widest(head, rows, width).is_some())
    }

    /// Whether standard output's reader closed it.
    pub(crate) fn reader_has_gone(&self) -> bool {
        self.gone.get()
    }

    /// A text set off, if there are colours.
    pub(crate) fn tone<'a>(&self, tone: Tone, text: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
        let text = text.into();
        match self.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", tone.code()).into(),
            false => text,
        }
    }

    /// Print a text as it is, without an end of line.
    pub(crate) fn text(&self, text: &str) -> Outcome {
        self.bytes(text.as_bytes())
    }

    /// Print a line.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Outcome {
        self.text(&format!("{}\n", text.as_ref()))
    }

    /// Print bytes.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Outcome {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| {
            self.gone.set(error.kind() == std::io::ErrorKind::BrokenPipe);
            Failure::failed(format!("standard output cannot be written: {error}"))
        })
    }

    /// Print JSON for people and programs: indented.
    pub(crate) fn json(&self, item: &impl Serialize) -> Outcome {
        let text = serde_json::to_string_pretty(item)
            .map_err(|e| Failure::failed(format!("the answer cannot be written as JSON: {e}")))?;
        self.line(text)
    }

    /// Print one JSON text on one line, for streams.
    pub(crate) fn json_line(&self, item: &impl Serialize) -> Outcome {
        let text = serde_json::to_string(item)
            .map_err(|e| Failure::failed(format!("the answer cannot be written as JSON: {e}")))?;
        self.line(text)
    }

    /// Print a table; foreign texts in it are made harmless.
    pub(crate) fn table<R: AsRef<str>>(
        &self,
        head: &[&str],
        rows: impl IntoIterator<Item = Vec<R>>,
    ) -> Outcome {
        let clean_row = |row: Vec<R>| row.iter().map(|cell| clean(cell.as_ref()).into_owned()).collect();
        let rows: Vec<Vec<String>> = rows.into_iter().map(clean_row).collect();
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_header(head.iter().copied());
        table.add_rows(&rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            let broken = widest(head, &rows, width);
            for (index, column) in table.column_iter_mut().enumerate() {
                if broken.is_some_and(|broken| broken != index) {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        table.lines().try_for_each(|line| self.line(line.trim_end()))
    }

    /// Say on standard error what went wrong.
    pub(crate) fn failure(&self, failure: &Failure) {
        let mut stderr = std::io::stderr().lock();
        // When standard error cannot be written there is nobody left to tell.
        let _ = match self.json {
            true => {
                let body = json!({ "code": failure.code, "message": failure.message });
                writeln!(stderr, "{body}")
            }
            false if failure.message.is_empty() => Ok(()),
            false => writeln!(stderr, "aiosctl: {}", clean(&failure.message)),
        };
    }
}

/// The widest column of a table that fits into this width when that column alone is broken into lines.
fn widest<R: AsRef<str>>(head: &[&str], rows: &[Vec<R>], width: u16) -> Option<usize> {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells =
                rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.as_ref().chars().count());
            cells.chain([name.chars().count()]).max().unwrap_or(0) + 2
        })
        .collect();
    let (index, largest) = widths.iter().copied().enumerate().max_by_key(|(_, width)| *width)?;
    (widths.iter().sum::<usize>() - largest + largest.min(ROOM) <= usize::from(width)).then_some(index)
}

/// A foreign text without control characters other than ends of lines and tabs, and without the characters
/// that turn the direction of writing around (Unicode TR 36, bidirectional text spoofing).
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    match text.contains(is_harmful) {
        true => text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect::<String>().into(),
        false => text.into(),
    }
}

/// Whether [`clean`] takes this character away.
pub(crate) fn is_harmful(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same, on one line.
pub(crate) fn clean_line(text: &str) -> String {
    clean(text).replace(['\n', '\t'], " ")
}

/// Bytes in the unit that fits, as powers of 1024.
pub(crate) fn bytes(count: u64) -> String {
    match aios_abi::units::scale(count) {
        (_, "B") => format!("{count} B"),
        (value, unit) if value < 10.0 => format!("{value:.1} {unit}"),
        (value, unit) => format!("{value:.0} {unit}"),
    }
}

/// A span of time, in its two largest units.
pub(crate) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A point in time in UTC: the appliance's own, whatever zone the reader is in.
pub(crate) fn time(unix_ms: u64) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| "?".into(), |timestamp| format!("{timestamp:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_commands_in_foreign_texts_are_made_visible() {
        assert_eq!(clean("all is well\n\tsaid it"), "all is well\n\tsaid it");
        assert_eq!(clean("\x1b]0;owned\x07x\r\u{9b}2J"), "\u{fffd}]0;owned\u{fffd}x\u{fffd}\u{fffd}2J");
        assert_eq!(clean("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(clean_line("a\nb"), "a b");
    }

    #[test]
    fn sizes_and_spans_read_well() {
        assert_eq!(
            [0, 1023, 1024, 10 * 1024, 5 << 30].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "10 KiB", "5.0 GiB"]
        );
        assert_eq!(
            [999, 61_000, 3_660_000, 90_000_000].map(span),
            ["0 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
        );
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(u64::MAX), "?");
    }

    #[test]
    fn a_table_that_would_fall_to_pieces_is_not_one() {
        let row = |cells: &[usize]| vec![cells.iter().map(|n| "x".repeat(*n)).collect::<Vec<_>>()];
        assert_eq!(widest(&["A", "B"], &row(&[3, 4]), 11), Some(1));
        assert_eq!(widest(&["PID", "COMMAND"], &row(&[5, 400]), 80), Some(1));
        assert_eq!(widest(&["A", "B", "C"], &row(&[30, 30, 30]), 80), None);
        assert_eq!(widest(&["LONG_HEAD", "B"], &row(&[1, 1]), 10), None);
    }

    #[test]
    fn without_a_terminal_there_are_no_colours() {
        let output = Output { json: false, colour: false, width: None, gone: Cell::new(false) };
        assert_eq!(output.tone(Tone::Bad, "x"), "x");
        let output = Output { colour: true, ..output };
        assert_eq!(output.tone(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
