//! The sockets that init holds for the services, and the files that it opens for them.

use aios_unit::{Access, Open, Place, Socket, Unit};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, chmod, chown, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Connections that wait in the kernel until the service takes them.
const BACKLOG: i32 = 128;

/// Make one socket. What it sends and accepts later is blocking, as sd_listen_fds(3) has it.
pub(crate) fn make(unit: &Unit, socket: &Socket) -> Result<OwnedFd, String> {
    let (made, place) = match &socket.place {
        Place::Seqpacket(path) => {
            (unix(unit, socket, path, SocketType::SEQPACKET), path.display().to_string())
        }
        Place::Stream(path) => (unix(unit, socket, path, SocketType::STREAM), path.display().to_string()),
        Place::Datagram(path) => (unix(unit, socket, path, SocketType::DGRAM), path.display().to_string()),
        Place::Tcp(address) => (internet(*address, SocketType::STREAM), address.to_string()),
        Place::Udp(address) => (internet(*address, SocketType::DGRAM), address.to_string()),
    };
    made.map_err(|e| format!("the socket \"{}\" cannot be opened at {place}: {e}", socket.name))
}

fn unix(unit: &Unit, socket: &Socket, path: &Path, kind: SocketType) -> Result<OwnedFd, Errno> {
    if let Some(parent) = path.parent() {
        let _ = std::fs::create_dir_all(parent);
    }
    let fd = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    // Left over from an earlier init; nobody else makes files here.
    match rustix::fs::unlink(path) {
        Err(e) if e != Errno::NOENT => return Err(e),
        _ => {}
    }
    bind(&fd, &SocketAddrUnix::new(path)?)?;
    chown(path, Some(Uid::from_raw(unit.user.uid)), Some(Gid::from_raw(unit.user.gid)))?;
    chmod(path, Mode::from_bits_truncate(socket.mode))?;
    if kind != SocketType::DGRAM {
        listen(&fd, BACKLOG)?;
    }
    Ok(fd)
}

/// `[::]` takes IPv4 as well; on a kernel without IPv6 it means all of IPv4. An address that the machine
/// does not have yet can be listened on already (`IP_FREEBIND`), so nobody waits for the network.
fn internet(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    match (bound(address, kind), address.ip()) {
        (Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL), IpAddr::V6(ip)) if ip.is_unspecified() => {
            bound(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), kind)
        }
        (result, _) => result,
    }
}

fn bound(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let fd = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, false)?;
        sockopt::set_ipv6_freebind(&fd, true)?;
    } else {
        sockopt::set_ip_freebind(&fd, true)?;
    }
    bind(&fd, &address)?;
    if kind == SocketType::STREAM {
        listen(&fd, BACKLOG)?;
    }
    Ok(fd)
}

/// Open a file for a service.
pub(crate) fn open(open: &Open) -> Result<OwnedFd, String> {
    let access = match open.access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    openat(CWD, &open.path, access | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
        .map_err(|e| format!("\"{}\" cannot be opened at {}: {e}", open.name, open.path.display()))
}
