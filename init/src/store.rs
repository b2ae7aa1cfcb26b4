//! `--store-logs`: keeps the logs on the data disk. A service like any other, so that a disk that hangs
//! or is full holds up nobody, least of all PID 1; it follows the logs as every client may.

use crate::sys::Signals;
use aios_abi::call::{ClientFrame, Meta, Request, ServerFrame};
use aios_abi::service::{InitEvent, InitReply, InitRequest, LogLine};
use aios_abi::{CallError, ErrorCode, frame, paths};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, recvmsg,
};
use std::fs::{File, OpenOptions};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Bytes after which a new file is begun.
const FILE_BYTES: u64 = 4 << 20;
/// Files that are kept, `current.log` included.
const FILES: u32 = 8;
/// Lines of this priority or worse are on the disk before the next one is read.
const URGENT: u8 = 3;
/// Id of the request for the lines that come from now on.
const FOLLOW: u64 = 1;
/// Id of the request for those that init still has.
const EARLIER: u64 = 2;

/// The service file of the log keeper; the program's path is put in.
pub(crate) fn service_file(program: &Path) -> String {
    format!(
        r#"description = "Keeps the logs on the data disk"
exec = ["{}", "--store-logs", "/data/log"]
user = "root"
state_directory = "/data/log"
reload_signal = "SIGHUP"
[resources]
memory_max = "32M"
pids_max = 4
oom_score = -900
[sandbox]
capabilities = []
network = false
"#,
        program.display()
    )
}

/// Follow the logs until SIGTERM, or until init goes away or the disk fails. At SIGHUP a new file is begun.
pub(crate) fn run(directory: &Path) -> Result<(), CallError> {
    let signals = Signals::open(&[libc::SIGTERM, libc::SIGHUP])?;
    let mut keeper = Keeper { store: Store::open(directory, FILE_BYTES)?, early: None };
    while keeper.follow(&signals)? == End::Init {}
    // What was sent before is stored now.
    Ok(keeper.store.file.sync_data()?)
}

/// Why a connection to init is of no use any more.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The keeper was told to end.
    Own,
    /// Init executed itself anew; its socket is the same.
    Init,
}

fn connect() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(paths::INIT_SOCKET)?)?;
    Ok(socket)
}

fn ask(socket: &OwnedFd, id: u64, body: InitRequest) -> Result<(), CallError> {
    let request = Request { id, meta: Meta::why("to keep the logs on the data disk"), body };
    let packet = frame::encode(&ClientFrame::Request(request))?;
    rustix::net::send(socket, &packet, SendFlags::NOSIGNAL).map_err(std::io::Error::from)?;
    Ok(())
}

/// What has come and where it goes.
struct Keeper {
    store: Store,
    /// New lines that wait until those from before have come.
    early: Option<Vec<LogLine>>,
}

impl Keeper {
    /// Store what comes over one connection.
    fn follow(&mut self, signals: &Signals) -> Result<End, CallError> {
        self.early = Some(Vec::new());
        let socket = connect().map_err(std::io::Error::from)?;
        // First the new lines, then those from before: so none is missed in between.
        ask(&socket, FOLLOW, InitRequest::Logs { unit: None, contains: None, limit: 0, follow: true })?;
        let all = InitRequest::Logs { unit: None, contains: None, limit: u32::MAX, follow: false };
        ask(&socket, EARLIER, all)?;
        let mut heard = false;
        loop {
            let mut fds = [PollFd::new(&socket, PollFlags::IN), PollFd::new(signals.fd(), PollFlags::IN)];
            poll(&mut fds, None).map_err(std::io::Error::from)?;
            let told = !fds[1].revents().is_empty();
            loop {
                match self.receive(&socket) {
                    Ok(true) => heard = true,
                    Ok(false) => break,
                    // One that never answered would be asked again for ever.
                    Err(error) if error.code == ErrorCode::Unavailable && heard => return Ok(End::Init),
                    Err(error) => return Err(error),
                }
            }
            // Not before: what was sent first is stored first.
            match if told { signals.next() } else { None } {
                Some(libc::SIGHUP) => self.store.rotate()?,
                Some(_) => return Ok(End::Own),
                None => {}
            }
        }
    }

    /// Take one packet, if one waits.
    fn receive(&mut self, socket: &OwnedFd) -> Result<bool, CallError> {
        let mut buffer = vec![0; frame::MAX_PACKET];
        let mut space = [MaybeUninit::uninit(); 64];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let length = match recvmsg(socket, &mut parts, &mut control, flags) {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(rustix::io::Errno::CONNRESET) => {
                return Err(CallError::unavailable("init closed the connection"));
            }
            Err(e) => return Err(std::io::Error::from(e).into()),
        };
        if length == 0 {
            return Err(CallError::unavailable("init closed the connection"));
        }
        let memory = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let mut frame: ServerFrame<InitEvent, InitReply> =
            frame::decode(buffer.get(..length).unwrap_or_default())?;
        if let (ServerFrame::Large { len, .. }, Some(memory)) = (&frame, memory) {
            frame = frame::decode(&aios_abi::sys::read_sealed(memory, *len)?)?;
        }
        match frame {
            ServerFrame::Event { event: InitEvent::Line(line), .. } => match &mut self.early {
                Some(early) => early.push(line),
                None => self.store.append(&line)?,
            },
            // Changes of services were not asked for.
            ServerFrame::Event { event: InitEvent::Service(_), .. } => {}
            ServerFrame::Reply { id: EARLIER, result } => {
                let mut lines = match result? {
                    InitReply::Logs { lines, .. } => lines,
                    _ => Vec::new(),
                };
                lines.extend(self.early.take().unwrap_or_default());
                lines.iter().try_for_each(|line| self.store.append(line))?;
            }
            ServerFrame::Reply { result, .. } => drop(result?),
            ServerFrame::Refused { error } => return Err(error),
            ServerFrame::Large { .. } => {
                return Err(CallError::failed("a long reply came without its memory"));
            }
        }
        Ok(true)
    }
}

/// The files of the log.
#[derive(Debug)]
struct Store {
    directory: PathBuf,
    file: File,
    bytes: u64,
    limit: u64,
    /// Sequence number of the newest line that is stored already.
    stored: u64,
}

impl Store {
    fn open(directory: &Path, limit: u64) -> std::io::Result<Self> {
        let mut store =
            Self { directory: directory.to_owned(), file: open(directory)?, bytes: 0, limit, stored: 0 };
        store.bytes = store.file.metadata()?.len();
        let boot = crate::device::line(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
        // After a restart within one boot the rings bring lines that are on the disk already.
        let text = std::fs::read(directory.join("current.log")).unwrap_or_default();
        store.stored = last_of_boot(&String::from_utf8_lossy(&text), &boot);
        // Power may have gone in the middle of a line.
        if text.last().is_some_and(|byte| *byte != b'\n') {
            store.write(b"\n")?;
        }
        if store.stored == 0 {
            store.write(format!("--- boot {boot}\n").as_bytes())?;
        }
        Ok(store)
    }

    fn append(&mut self, line: &LogLine) -> std::io::Result<()> {
        if line.seq <= self.stored {
            return Ok(());
        }
        self.stored = line.seq;
        self.write(format_line(line).as_bytes())?;
        if line.priority <= URGENT {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes < self.limit { Ok(()) } else { self.rotate() }
    }

    /// Begin a new file; the oldest goes.
    fn rotate(&mut self) -> std::io::Result<()> {
        self.file.sync_data()?;
        let name = |n: u32| self.directory.join(format!("{n}.log"));
        for n in (1..FILES - 1).rev() {
            // Those that do not exist yet.
            let _ = std::fs::rename(name(n), name(n + 1));
        }
        std::fs::rename(self.directory.join("current.log"), name(1))?;
        self.file = open(&self.directory)?;
        self.bytes = 0;
        let boot = crate::device::line(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
        let header = format!("--- boot {boot}\n");
        self.file.write_all(header.as_bytes())
    }
}

fn open(directory: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(directory.join("current.log"))
}

/// `2026-11-21T07:10:12.123Z 515 alpha <5> text`; a text with line ends stays one line.
fn format_line(line: &LogLine) -> String {
    let text = line.text.replace('\n', "\\n");
    format!("{} {} {} <{}> {text}\n", utc(line.time_ms), line.seq, line.unit, line.priority)
}

/// The newest sequence number behind the last heading, if that is of this boot.
fn last_of_boot(text: &str, boot: &str) -> u64 {
    let heading = format!("--- boot {boot}\n");
    let Some((_, lines)) = text.rsplit_once(&heading) else { return 0 };
    if boot.is_empty() || lines.lines().any(|l| l.starts_with("--- boot ")) {
        return 0;
    }
    lines.lines().rev().find_map(|l| l.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
}

/// RFC 3339 in UTC; the calendar after Howard Hinnant, "chrono-compatible low-level date algorithms".
fn utc(ms: u64) -> String {
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, ms) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, text: &str) -> LogLine {
        LogLine { seq, time_ms: 1_795_244_715_411, unit: "alpha".into(), priority: 5, text: text.into() }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_795_244_715_411), "2026-11-21T07:05:15.411Z");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(format_line(&line(7, "a\nb")), "2026-11-21T07:05:15.411Z 7 alpha <5> a\\nb\n");
    }

    #[test]
    fn files_are_rotated_and_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(directory.path(), 2000).expect("opens");
        for seq in 1..1000 {
            store.append(&line(seq, "some text that takes a few bytes")).expect("written");
        }
        let sizes: Vec<u64> = std::fs::read_dir(directory.path())
            .expect("lists")
            .map(|e| e.and_then(|e| e.metadata()).expect("is there").len())
            .collect();
        assert_eq!(sizes.len(), FILES as usize);
        assert!(sizes.iter().all(|bytes| *bytes < 2200), "{sizes:?}");
    }

    #[test]
    fn a_new_file_is_begun_when_somebody_asks_for_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(directory.path(), 1 << 20).expect("opens");
        for seq in 1..=20 {
            store.append(&line(seq, "text")).expect("written");
            store.rotate().expect("rotates");
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("reads");
        assert!(read("1.log").contains(" 20 alpha") && read("7.log").contains(" 14 alpha"));
        assert!(read("current.log").starts_with("--- boot ") && !directory.path().join("8.log").exists());
    }

    #[test]
    fn a_line_that_was_torn_by_a_power_cut_does_not_swallow_the_next_boot() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("current.log");
        std::fs::write(&file, "--- boot x\n2026-11-21T07:10").expect("written");
        drop(Store::open(directory.path(), 1 << 20).expect("opens"));
        let text = std::fs::read_to_string(file).expect("reads");
        assert!(text.starts_with("--- boot x\n2026-11-21T07:10\n--- boot "), "{text}");
    }

    #[test]
    fn after_a_restart_nothing_is_stored_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        for _ in 0..2 {
            let mut store = Store::open(directory.path(), 1 << 20).expect("opens");
            for seq in 1..4 {
                store.append(&line(seq, "text")).expect("written");
            }
        }
        let text = std::fs::read_to_string(directory.path().join("current.log")).expect("reads");
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
