//! Devices: kernel events, disks by what they are called, virtio ports by their names.

use crate::cmdline::Disk;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink, recvfrom};
use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel's announcements of devices that come and go (netlink(7), `NETLINK_KOBJECT_UEVENT`).
#[derive(Debug)]
pub(crate) struct Uevents {
    socket: OwnedFd,
    /// Announcements were thrown away while a disk was waited for.
    skipped: Cell<bool>,
}

/// One announcement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Uevent {
    pub(crate) action: String,
    pub(crate) subsystem: String,
    pub(crate) modalias: Option<String>,
}

impl Uevents {
    /// Listen from now on.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::KOBJECT_UEVENT),
        )?;
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 1))?;
        Ok(Self { socket, skipped: Cell::new(false) })
    }

    /// For the event loop.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether announcements were thrown away since the last call: then look for yourself.
    pub(crate) fn take_skipped(&self) -> bool {
        self.skipped.replace(false)
    }

    /// The next announcement, if one waits. After `Err` some were lost (ENOBUFS).
    pub(crate) fn next(&self) -> io::Result<Option<Uevent>> {
        let mut buffer = [0; 8192];
        loop {
            match recvfrom(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _, from)) => {
                    // Programs may send to this socket as well; only the kernel is believed.
                    let from = from.and_then(|from| netlink::SocketAddrNetlink::try_from(from).ok());
                    if from.is_some_and(|from| from.pid() == 0) {
                        return Ok(Some(parse(buffer.get(..length).unwrap_or_default())));
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Wait until something is announced. `false` when the time has passed.
    fn wait(&self, limit: Duration) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, poll};
        let timeout = rustix::event::Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let ready = match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            other => other?,
        };
        while let Ok(Some(_)) = self.next() {
            self.skipped.set(true);
        }
        Ok(ready > 0)
    }
}

pub(crate) fn parse(message: &[u8]) -> Uevent {
    let mut event = Uevent::default();
    for field in message.split(|byte| *byte == 0) {
        let field = String::from_utf8_lossy(field);
        match field.split_once('=') {
            Some(("ACTION", value)) => event.action = value.to_owned(),
            Some(("SUBSYSTEM", value)) => event.subsystem = value.to_owned(),
            Some(("MODALIAS", value)) => event.modalias = Some(value.to_owned()),
            _ => {}
        }
    }
    event
}

/// Wait until this disk is there. The error says which disks there are instead.
pub(crate) fn wait_for_disk(disk: &Disk, uevents: &Uevents, limit: Duration) -> Result<PathBuf, String> {
    let until = crate::clock::now() + limit;
    loop {
        if let Some(path) = find_disk(disk) {
            return Ok(path);
        }
        let left = until.saturating_sub(crate::clock::now());
        let failed = |what: String| {
            let seen = disks().into_iter().map(|d| d.to_string()).collect::<Vec<_>>().join(", ");
            let seen = if seen.is_empty() { "none".to_owned() } else { seen };
            format!("{disk} {what}; the disks that are there: {seen}")
        };
        match uevents.wait(left) {
            _ if left.is_zero() => {
                return Err(failed(format!("did not appear within {} s", limit.as_secs())));
            }
            Ok(_) => {}
            Err(e) => return Err(failed(format!("cannot be waited for: {e}"))),
        }
    }
}

/// This disk, if it is there.
pub(crate) fn find_disk(wanted: &Disk) -> Option<PathBuf> {
    let found = disks().into_iter().find(|found| match wanted {
        Disk::Name(name) => found.name == *name,
        Disk::Serial(serial) => found.serial.as_deref() == Some(serial),
        Disk::Label(label) => found.label.as_deref() == Some(label),
    })?;
    let path = Path::new("/dev").join(found.name);
    path.exists().then_some(path)
}

/// A disk or partition as the kernel shows it.
#[derive(Debug)]
struct Found {
    name: String,
    serial: Option<String>,
    label: Option<String>,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/dev/{}", self.name)?;
        if let Some(serial) = &self.serial {
            write!(f, " (SERIAL={serial})")?;
        }
        if let Some(label) = &self.label {
            write!(f, " (PARTLABEL={label})")?;
        }
        Ok(())
    }
}

fn disks() -> Vec<Found> {
    let mut found: Vec<Found> = std::fs::read_dir("/sys/class/block")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let at = entry.path();
            let serial = ["serial", "device/serial"].iter().find_map(|name| line(&at.join(name)));
            let uevent = std::fs::read_to_string(at.join("uevent")).unwrap_or_default();
            let label = uevent.lines().find_map(|l| l.strip_prefix("PARTNAME=")).map(str::to_owned);
            Found { name: entry.file_name().to_string_lossy().into_owned(), serial, label }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The first line of a small file, if it holds anything.
pub(crate) fn line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// Make `/dev/virtio-ports/NAME` for each port that has a name. Returns the new ones.
pub(crate) fn link_virtio_ports() -> Vec<PathBuf> {
    let directory = Path::new(aios_abi::paths::VIRTIO_PORTS);
    let mut made = Vec::new();
    for entry in std::fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
        let Some(name) = line(&entry.path().join("name")) else { continue };
        // The name comes from outside the machine.
        if name.contains('/') || name.starts_with('.') {
            continue;
        }
        let link = directory.join(&name);
        let target = Path::new("..").join(entry.file_name());
        if std::fs::read_link(&link).is_ok_and(|old| old == target) {
            continue;
        }
        let _ = std::fs::create_dir_all(directory);
        let _ = std::fs::remove_file(&link);
        if std::os::unix::fs::symlink(&target, &link).is_ok() {
            made.push(link);
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_read_field_by_field() {
        let message = b"add@/devices/x\0ACTION=add\0SUBSYSTEM=virtio-ports\0MODALIAS=a:b=c\0SEQNUM=1\0";
        let event = parse(message);
        assert_eq!((event.action.as_str(), event.subsystem.as_str()), ("add", "virtio-ports"));
        assert_eq!(event.modalias.as_deref(), Some("a:b=c"));
    }
}
