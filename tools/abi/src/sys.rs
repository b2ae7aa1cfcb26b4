//! The few kernel objects that pass between processes: inherited sockets, sealed memory files, watched sockets.
//!
//! This is the only module of the crate with `unsafe`.

use crate::error::CallError;
use rustix::fs::{MemfdFlags, SealFlags};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// First inherited descriptor (sd_listen_fds(3)).
const LISTEN_FDS_START: i32 = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors that the supervisor opened for this process, with their names: `LISTEN_FDS` and
/// `LISTEN_FDNAMES` of sd_listen_fds(3). They are given out once; a second call finds none.
pub fn inherited_fds() -> Vec<(String, OwnedFd)> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let var = |name| std::env::var(name).unwrap_or_default();
    if var("LISTEN_PID").parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    let count: i32 = var("LISTEN_FDS").parse().unwrap_or(0);
    let names = var("LISTEN_FDNAMES");
    let mut names = names.split(':');
    (LISTEN_FDS_START..LISTEN_FDS_START + count)
        .map(|number| {
            let name = names.next().unwrap_or("unknown").to_owned();
            // SAFETY: the supervisor opened these descriptors for this very process (LISTEN_PID was
            // checked), and `TAKEN` makes sure that each is owned once.
            let fd = unsafe { OwnedFd::from_raw_fd(number) };
            // Children must not inherit them; a descriptor that is not open cannot be set, nor leak.
            let _ = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC);
            (name, fd)
        })
        .collect()
}

/// A memory file with these bytes that nobody can change any more (memfd_create(2), F_SEAL_*).
pub fn sealed_memfd(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("aios-reply", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file.into())
}

/// Read a memory file that a peer sent, after checking that it is sealed and as long as was said.
pub fn read_sealed(fd: OwnedFd, len: u64) -> Result<Vec<u8>, CallError> {
    let seals = rustix::fs::fcntl_get_seals(fd.as_fd())
        .map_err(|_| CallError::invalid("the descriptor that came with a long reply is no memory file"))?;
    if !seals.contains(SealFlags::SHRINK | SealFlags::WRITE) {
        return Err(CallError::invalid("the memory file that came with a long reply is not sealed"));
    }
    if len > crate::frame::MAX_LARGE as u64 {
        return Err(CallError::invalid(format!(
            "the reply has {len} bytes, more than the {} that are accepted; ask for less at once",
            crate::frame::MAX_LARGE
        )));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len {
        return Err(CallError::invalid("the memory file of a long reply is shorter than was said"));
    }
    Ok(bytes)
}

/// Have the runtime tell what comes of this descriptor.
#[cfg(feature = "tokio")]
pub(crate) fn watch(
    fd: OwnedFd,
    interest: tokio::io::Interest,
) -> std::io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and stays the same for as long as it lives, which is in the `AsyncFd`.
    let watched = unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, interest) };
    Ok(watched?)
}

/// Tell the supervisor something: `READY=1`, `STATUS=…`, `WATCHDOG=1` (sd_notify(3)). Without a
/// supervisor nothing happens; a supervisor that cannot be reached is no reason to stop.
pub fn notify(message: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() {
        let _ = socket.send_to(message.as_bytes(), path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_reply_arrives_and_cannot_be_changed() {
        let fd = sealed_memfd(b"hello").expect("memfd");
        let mut copy = std::fs::File::from(fd.try_clone().expect("dup"));
        assert!(copy.write_all(b"x").is_err());
        assert_eq!(read_sealed(fd, 5).expect("reads"), b"hello");
    }

    #[test]
    fn an_unsealed_or_short_file_is_refused() {
        let plain = rustix::fs::memfd_create("t", MemfdFlags::CLOEXEC).expect("memfd");
        assert!(read_sealed(plain, 0).is_err());
        assert!(read_sealed(sealed_memfd(b"abc").expect("memfd"), 4).is_err());
        assert!(read_sealed(sealed_memfd(b"abc").expect("memfd"), u64::MAX).is_err());
    }
}
