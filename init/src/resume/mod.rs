//! Init survives an error of its own: all that it has to know stands in a memory file, the *state page*. On a
//! panic, a fault or a turn of the loop that does not end, it executes its own program again, which reads the
//! page and goes on with the same processes, sockets and pipes. Each record of the page has a checksum; what
//! is not whole is treated as unknown, and what is unknown and runs is ended.

#[allow(unsafe_code)]
mod sys;

use crate::crc::crc32c;
use crate::run::Plan;
use crate::supervisor::{Common, Memory};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;
pub(crate) use sys::Crash;

/// Bytes of one record.
const RECORD: u64 = 4096;
/// Crashes within ten minutes of each other after which executing anew does not help and the machine restarts.
pub(crate) const TOO_MANY: u32 = 4;
/// A turn of the loop that takes longer does not end.
const TURN_SECONDS: u32 = 30;
/// Reading everything again takes longer than a turn.
const RESUME_SECONDS: u32 = 120;

/// What init knows besides services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) started_ms: u64,
    pub(crate) hostname: String,
    /// `/data` is a disk.
    pub(crate) data_on_disk: bool,
    pub(crate) console_ready: Option<Duration>,
    /// How often init was executed anew.
    pub(crate) resumed: u32,
    /// Number of the newest log line.
    pub(crate) seq: u64,
    pub(crate) common: Common,
    /// The machine is to go down later.
    pub(crate) plan: Option<Plan>,
    /// Services that have a record.
    pub(crate) services: u32,
    pub(crate) control: RawFd,
    pub(crate) notify: RawFd,
    pub(crate) watchdog: Option<RawFd>,
}

/// What init knows of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) memory: Memory,
    pub(crate) status: Option<String>,
    /// The sockets that are held for it, by name.
    pub(crate) sockets: Vec<(String, RawFd)>,
    /// The process that waits to take over.
    pub(crate) standby: Option<i32>,
    /// The pipe that its output comes through.
    pub(crate) output: Option<RawFd>,
    /// The pipe by which it says that it is ready.
    pub(crate) ready: Option<RawFd>,
}

/// The memory file.
#[derive(Debug)]
pub(crate) struct Page {
    file: std::fs::File,
}

impl Page {
    /// An empty page; from now on an error executes init anew.
    pub(crate) fn new() -> io::Result<Self> {
        let fd = rustix::fs::memfd_create(c"aios-init", MemfdFlags::CLOEXEC)?;
        sys::arm(fd.as_raw_fd())?;
        Ok(Self { file: fd.into() })
    }

    /// The page that an earlier init left behind at this descriptor, and how it ended.
    pub(crate) fn inherit(fd: RawFd) -> io::Result<(Self, Option<Crash>)> {
        sys::arm(fd)?;
        let page = Self { file: take(fd)?.into() };
        let mut record = [0; sys::CRASH_BYTES];
        page.file.read_exact_at(&mut record, sys::CRASH_AT)?;
        Ok((page, Crash::read(&record)))
    }

    /// Store what is not of one service.
    pub(crate) fn store(&self, header: &Header) -> io::Result<()> {
        self.write(RECORD, header)
    }

    /// Store what is known of the service with this number.
    pub(crate) fn store_service(&self, index: usize, record: &Record) -> io::Result<()> {
        self.write((index as u64 + 2) * RECORD, record)
    }

    /// What was stored last, if it is whole.
    pub(crate) fn header(&self) -> Option<Header> {
        self.read(RECORD)
    }

    /// What was stored last about this service, if it is whole.
    pub(crate) fn service(&self, index: usize) -> Option<Record> {
        self.read((index as u64 + 2) * RECORD)
    }

    fn write(&self, at: u64, value: &impl Serialize) -> io::Result<()> {
        let body = postcard::to_stdvec(value).map_err(io::Error::other)?;
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if u64::from(length) + 8 > RECORD {
            return Err(io::Error::other("a record of the state page is too long"));
        }
        let mut bytes = Vec::with_capacity(body.len() + 8);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32c(!0, &body).to_le_bytes());
        bytes.extend_from_slice(&body);
        self.file.write_all_at(&bytes, at)
    }

    fn read<T: DeserializeOwned>(&self, at: u64) -> Option<T> {
        let mut bytes = [0; RECORD as usize];
        let mut filled = 0;
        // The last record of the file may be shorter.
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at + filled as u64) {
                Ok(0) | Err(_) => break,
                Ok(length) => filled += length,
            }
        }
        let (length, rest) = bytes.get(..filled)?.split_first_chunk::<4>()?;
        let (sum, rest) = rest.split_first_chunk::<4>()?;
        let body = rest.get(..u32::from_le_bytes(*length) as usize)?;
        (crc32c(!0, body) == u32::from_le_bytes(*sum)).then(|| postcard::from_bytes(body).ok())?
    }
}

/// Init is being executed anew: that has to end, too.
pub(crate) fn resuming() {
    sys::alarm(RESUME_SECONDS);
}

/// While one turn of the loop is under way its time is limited; while init waits it is not.
pub(crate) fn turn(under_way: bool) {
    sys::alarm(if under_way { TURN_SECONDS } else { 0 });
}

/// An error that cannot be gone on after. Comes back only if there is nothing to go on with.
pub(crate) fn execute_anew() {
    sys::execute_anew(libc::SIGABRT);
}

/// Own a descriptor that an earlier init left open, and close it at the next exec again.
pub(crate) fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // It has to be open, and not one that belongs to somebody else already.
    if fd < 3 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    sys::adopt(fd)
}

/// Close a descriptor that an earlier init left open and that nobody took: what is owned is closed at exec.
pub(crate) fn close_if_inherited(fd: RawFd) {
    let inherited = sys::flags(fd).is_ok_and(|flags| !flags.contains(rustix::io::FdFlags::CLOEXEC));
    if inherited {
        drop(sys::adopt(fd));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_damaged_is_not_believed() {
        let fd = rustix::fs::memfd_create(c"test", MemfdFlags::CLOEXEC).expect("a memory file");
        let page = Page { file: fd.into() };
        assert_eq!(page.header(), None);
        let header = Header {
            started_ms: 5,
            hostname: "box".into(),
            data_on_disk: true,
            console_ready: None,
            resumed: 1,
            seq: 77,
            common: Common::default(),
            plan: None,
            services: 3,
            control: 4,
            notify: 5,
            watchdog: None,
        };
        page.store(&header).expect("stored");
        assert_eq!(page.header(), Some(header));
        page.file.write_all_at(&[0xff], RECORD + 12).expect("written");
        assert_eq!(page.header(), None);
    }
}
