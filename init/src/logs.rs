//! The logs: a bounded ring a unit, in memory, and the milestones on the console.

use aios_abi::service::LogLine;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of text that the ring of one unit holds.
const RING: usize = 256 * 1024;
/// Bytes that all rings hold together; beyond that the longest one gives up its oldest lines.
const ALL_RINGS: usize = 16 << 20;
/// Lines of one turn of the loop that followers get; who writes more in a turn is in the ring alone.
const MAX_NEW: usize = 16_384;
/// What a line costs besides its text.
const OVERHEAD: usize = 48;
/// A longer line is cut, and says so.
const MAX_LINE: usize = 8 * 1024;
/// Bytes that wait for a slow console; lines beyond that are in the ring only.
const MAX_UNSAID: usize = 64 * 1024;
/// Units of a log that init writes itself.
pub(crate) const INIT: &str = "init";
/// The unit of the kernel's own log.
pub(crate) const KERNEL: &str = "kernel";

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<(u64, u64, u8, Box<str>)>,
    bytes: usize,
}

impl Ring {
    /// Returns what it took.
    fn drop_oldest(&mut self) -> usize {
        let bytes = self.lines.pop_front().map_or(self.bytes, |(.., old)| old.len() + OVERHEAD);
        self.bytes -= bytes;
        bytes
    }
}

/// All logs of this boot.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    rings: BTreeMap<String, Ring>,
    /// Of all rings together.
    bytes: usize,
    seq: u64,
    dropped: u64,
    console: Option<File>,
    /// The console is written to at the end of a turn of the loop, not while something more urgent waits.
    deferred: bool,
    /// What the console has not taken yet.
    unsaid: Vec<u8>,
    /// Lines since [`Logs::take_new`], for those who follow.
    new: Vec<LogLine>,
}

impl Logs {
    /// Empty rings; milestones go to `/dev/console` as well, if that can be opened.
    pub(crate) fn with_console() -> Self {
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let console = OpenOptions::new().write(true).custom_flags(flags).open("/dev/console").ok();
        Self { console, ..Self::default() }
    }

    /// A milestone or a failure of init itself: on the console and in the log.
    pub(crate) fn say(&mut self, priority: u8, text: &str) {
        if self.unsaid.len() < MAX_UNSAID {
            self.unsaid.extend_from_slice(format!("aios: {text}\n").as_bytes());
        }
        if !self.deferred {
            self.flush();
        }
        self.push(INIT, priority, text);
    }

    /// Give the console what it takes without waiting: a slow line must not hold PID 1.
    pub(crate) fn flush(&mut self) {
        let Some(console) = &mut self.console else {
            self.unsaid.clear();
            return;
        };
        while !self.unsaid.is_empty() {
            match console.write(&self.unsaid) {
                Ok(length) if length > 0 => drop(self.unsaid.drain(..length)),
                _ => break,
            }
        }
    }

    /// The same, and wait for the console at most this long: before the machine ends.
    pub(crate) fn flush_for(&mut self, limit: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let until = crate::clock::now() + limit;
        self.flush();
        while !self.unsaid.is_empty() {
            let left = until.saturating_sub(crate::clock::now());
            let (Some(console), Ok(timeout)) = (&self.console, Timespec::try_from(left)) else { return };
            let mut fds = [PollFd::new(console, PollFlags::OUT)];
            if left.is_zero() || poll(&mut fds, Some(&timeout)).is_err() {
                return;
            }
            self.flush();
        }
    }

    /// From now on somebody calls [`Logs::flush`] soon after each line.
    pub(crate) fn defer(&mut self) {
        self.deferred = true;
    }

    /// Whether the console has not taken everything.
    pub(crate) fn pending(&self) -> bool {
        !self.unsaid.is_empty()
    }

    /// For the event loop.
    pub(crate) fn console(&self) -> Option<&File> {
        self.console.as_ref()
    }

    /// A milestone.
    pub(crate) fn info(&mut self, text: &str) {
        self.say(6, text);
    }

    /// Something that went wrong.
    pub(crate) fn warn(&mut self, text: &str) {
        self.say(4, text);
    }

    /// A line as a daemon wrote it: `<N>` in front is its priority (sd-daemon(3)).
    pub(crate) fn push_line(&mut self, unit: &str, line: &[u8]) {
        let (priority, text) = match line {
            [b'<', digit @ b'0'..=b'7', b'>', text @ ..] => (digit - b'0', text),
            text => (6, text),
        };
        let text = String::from_utf8_lossy(text);
        if !text.trim_end().is_empty() {
            self.push(unit, priority, text.trim_end());
        }
    }

    /// A line with its priority.
    pub(crate) fn push(&mut self, unit: &str, priority: u8, text: &str) {
        let mut end = text.len().min(MAX_LINE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut text = text.get(..end).unwrap_or_default().to_owned();
        if end == MAX_LINE {
            text.push_str(" … (cut)");
        }
        self.seq += 1;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        if !self.rings.contains_key(unit) {
            self.rings.insert(unit.to_owned(), Ring::default());
        }
        if let Some(ring) = self.rings.get_mut(unit) {
            ring.bytes += text.len() + OVERHEAD;
            self.bytes += text.len() + OVERHEAD;
            ring.lines.push_back((self.seq, time_ms, priority, text.as_str().into()));
            while ring.bytes > RING {
                self.bytes -= ring.drop_oldest();
                self.dropped += 1;
            }
        }
        while self.bytes > ALL_RINGS
            && let Some(longest) = self.rings.values_mut().max_by_key(|ring| ring.bytes)
        {
            self.bytes -= longest.drop_oldest();
            self.dropped += 1;
        }
        if self.new.len() < MAX_NEW {
            self.new.push(LogLine { seq: self.seq, time_ms, unit: unit.to_owned(), priority, text });
        }
    }

    /// Number of the newest line.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Go on counting where an earlier init left off.
    pub(crate) fn count_from(&mut self, seq: u64) {
        self.seq = self.seq.max(seq);
    }

    /// The newest lines that fit, oldest first.
    pub(crate) fn query(&self, filter: &Filter, limit: usize) -> Vec<LogLine> {
        let mut lines: Vec<LogLine> = Vec::new();
        for (unit, ring) in &self.rings {
            if !filter.takes_unit(unit) {
                continue;
            }
            let fitting = ring.lines.iter().rev().filter(|(.., text)| filter.takes_text(text)).take(limit);
            lines.extend(fitting.map(|(seq, time_ms, priority, text)| LogLine {
                seq: *seq,
                time_ms: *time_ms,
                unit: unit.clone(),
                priority: *priority,
                text: text.to_string(),
            }));
        }
        lines.sort_unstable_by_key(|line| line.seq);
        let surplus = lines.len().saturating_sub(limit);
        lines.drain(..surplus);
        lines
    }

    /// Lines that the rings have dropped since boot.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Lines that came since the last call.
    pub(crate) fn take_new(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.new)
    }
}

/// Why init cannot go on, and the logs that should still say so.
pub(crate) type Fatal = Box<(Logs, String)>;

/// Which lines somebody wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    unit: Option<String>,
    contains: Option<String>,
}

impl Filter {
    /// Lines of this unit with this text in them, whatever its case.
    pub(crate) fn new(unit: Option<String>, contains: Option<String>) -> Self {
        Self { unit, contains: contains.map(|text| text.to_lowercase()) }
    }

    fn takes_unit(&self, unit: &str) -> bool {
        self.unit.as_ref().is_none_or(|wanted| wanted == unit)
    }

    fn takes_text(&self, text: &str) -> bool {
        self.contains.as_ref().is_none_or(|wanted| text.to_lowercase().contains(wanted.as_str()))
    }

    /// Whether this line is wanted.
    pub(crate) fn takes(&self, line: &LogLine) -> bool {
        self.takes_unit(&line.unit) && self.takes_text(&line.text)
    }
}

/// Bytes that are read from one program's output before others have their turn.
const TURN: usize = 64 * 1024;

/// Give out what a program has written to this pipe, which is closed at its end.
pub(crate) fn drain(output: &mut Option<OwnedFd>, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0; 8192];
    let mut total = 0;
    while let Some(open) = &*output
        && total < TURN
    {
        match rustix::io::read(open, &mut buffer[..]) {
            Ok(0) => *output = None,
            Ok(length) => {
                total += length;
                take(buffer.get(..length).unwrap_or_default());
            }
            Err(_) => break,
        }
    }
}

/// Cuts what comes out of a pipe into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Give each whole line of this piece to `take`. A line that has no end is given out in parts.
    pub(crate) fn feed(&mut self, piece: &[u8], mut take: impl FnMut(&[u8])) {
        let mut pieces = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = pieces.next() {
            self.rest.extend_from_slice(part);
            if pieces.peek().is_some() || self.rest.len() > MAX_LINE {
                take(&self.rest);
                self.rest.clear();
            }
        }
    }

    /// Give out what is left without a line end.
    pub(crate) fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            take(&self.rest);
            self.rest.clear();
        }
    }
}

/// Priority and text of one record of `/dev/kmsg` (Documentation/ABI/testing/dev-kmsg).
pub(crate) fn kernel_record(record: &[u8]) -> Option<(u8, String)> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let number: u32 = head.split(',').next()?.parse().ok()?;
    let priority = u8::try_from(number & 7).ok()?;
    // Lines that begin with a space are the record's dictionary.
    Some((priority, text.lines().next()?.to_owned()))
}

/// What the kernel says when it kills a process for want of memory (mm/oom_kill.c).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OomKill {
    /// It was the machine that had no memory, not only a cgroup at its limit.
    pub(crate) machine: bool,
    /// The service in whose cgroup it was.
    pub(crate) service: Option<String>,
    /// The name of the process.
    pub(crate) task: String,
    pub(crate) pid: u32,
}

/// Read such a line.
pub(crate) fn oom_kill(text: &str) -> Option<OomKill> {
    let rest = text.strip_prefix("oom-kill:")?;
    // A process may have any name, but it stands behind everything else that is read here.
    let (head, tail) = rest.split_once(",task=")?;
    let of = |name: &str| head.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let (task, numbers) = tail.rsplit_once(",pid=")?;
    let service = of("task_memcg").and_then(|path| path.strip_prefix("/aios/")?.split('/').next());
    Some(OomKill {
        machine: of("constraint") != Some("CONSTRAINT_MEMCG"),
        service: service.map(str::to_owned),
        task: task.chars().filter(|c| !c.is_control()).collect(),
        pid: numbers.split(',').next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_culprit_of_an_oom_kill_is_named() {
        let text = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/aios/hog/sub,task=eat, all,pid=321,uid=0";
        let expected =
            OomKill { machine: true, service: Some("hog".into()), task: "eat, all".into(), pid: 321 };
        assert_eq!(oom_kill(text), Some(expected));
        let own = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/aios/hog,task_memcg=/aios/hog,task=hog,pid=1,uid=0";
        assert!(oom_kill(own).is_some_and(|oom| !oom.machine));
        assert_eq!(oom_kill("oom-kill:constraint=,task=x,pid=y,uid=0"), None);
    }

    #[test]
    fn many_full_rings_are_bounded_together_and_a_short_one_keeps_its_lines() {
        let mut logs = Logs::default();
        logs.push("quiet", 6, "still here");
        let text = "x".repeat(1000);
        for n in 0..100_000 {
            logs.push(&format!("noisy{}", n % 100), 6, &text);
            drop(logs.take_new());
        }
        let all: usize = logs.rings.values().map(|ring| ring.bytes).sum();
        assert!(all == logs.bytes && all <= ALL_RINGS, "{all}");
        assert_eq!(logs.query(&Filter::new(Some("quiet".into()), None), 5).len(), 1);
    }

    #[test]
    fn a_ring_keeps_the_newest_lines_and_counts_what_it_dropped() {
        let mut logs = Logs::default();
        for n in 0..20_000 {
            logs.push("noisy", 6, &format!("line {n}"));
        }
        logs.push("quiet", 3, "kept");
        let lines = logs.query(&Filter::default(), 100_000);
        assert_eq!(lines.len() as u64 + logs.dropped(), 20_001);
        assert_eq!(lines.last().map(|l| l.text.as_str()), Some("kept"));
        assert!(logs.query(&Filter::new(Some("quiet".into()), Some("KEPT".into())), 5).len() == 1);
        let two = logs.query(&Filter::new(Some("noisy".into()), None), 2);
        assert_eq!(two.iter().map(|l| l.text.as_str()).collect::<Vec<_>>(), ["line 19998", "line 19999"]);
    }

    #[test]
    fn priorities_are_read_from_the_prefix() {
        let mut logs = Logs::default();
        for line in [&b"<3>bad"[..], b"plain", b"<9>odd", b"", b"\xff\n"] {
            logs.push_line("x", line);
        }
        let seen: Vec<(u8, String)> = logs.take_new().into_iter().map(|l| (l.priority, l.text)).collect();
        let expected = [(3, "bad"), (6, "plain"), (6, "<9>odd"), (6, "\u{fffd}")];
        assert_eq!(seen, expected.map(|(p, t)| (p, t.to_owned())));
    }

    #[test]
    fn a_line_that_never_ends_is_bounded() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for _ in 0..100 {
            lines.feed(&[b'x'; 1000], |line| seen.push(line.len()));
        }
        lines.finish(|line| seen.push(line.len()));
        assert_eq!(seen.iter().sum::<usize>(), 100_000);
        assert!(seen.iter().all(|length| *length <= MAX_LINE + 1000));
    }

    #[test]
    fn kernel_records_are_read_without_their_dictionary() {
        let record = b"6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n";
        assert_eq!(kernel_record(record), Some((6, "NET: Registered".into())));
        assert_eq!(kernel_record(b"nonsense"), None);
    }
}
