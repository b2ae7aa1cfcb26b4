//! Packet sockets (packet(7)), which neither the standard library nor rustix knows.
//!
//! This is the only module of the crate with `unsafe`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// What a packet socket hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IPv4 packets for UDP port 68.
    Dhcp,
    /// ARP.
    Arp,
}

impl Kind {
    fn protocol(self) -> u16 {
        match self {
            Self::Dhcp => libc::ETH_P_IP as u16,
            Self::Arp => libc::ETH_P_ARP as u16,
        }
    }
}

/// UDP to port 68 and nothing else reaches us; the rest is dropped in the kernel, because this socket
/// sees every packet of the interface (bpf(4): `ip proto udp and dst port 68`).
const ONLY_DHCP: [libc::sock_filter; 8] = [
    // protocol == UDP?
    filter(0x30, 0, 0, 9),
    filter(0x15, 0, 5, 17),
    // not a later fragment?
    filter(0x28, 0, 0, 6),
    filter(0x45, 3, 0, 0x1fff),
    // destination port, after a header of any length
    filter(0xb1, 0, 0, 0),
    filter(0x48, 0, 0, 2),
    filter(0x15, 1, 0, 68),
    filter(0x06, 0, 0, 0),
];

const ACCEPT: libc::sock_filter = filter(0x06, 0, 0, 0x4_0000);

const fn filter(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn address(interface: u32, kind: Kind, mac: Option<[u8; 6]>) -> libc::sockaddr_ll {
    let mut sll_addr = [0; 8];
    if let (Some(mac), Some(place)) = (mac, sll_addr.get_mut(..6)) {
        place.copy_from_slice(&mac);
    }
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: kind.protocol().to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr,
    }
}

/// A packet socket on one interface, without link headers.
pub(crate) fn packet_socket(interface: u32, kind: Kind) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes no pointers. Protocol 0: nothing arrives before the filter is in place.
    let raw = unsafe { libc::socket(libc::AF_PACKET, flags, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    if kind == Kind::Dhcp {
        attach(&fd)?;
    }
    let to = address(interface, kind, None);
    // SAFETY: the pointer and the length describe one `sockaddr_ll` that lives across the call.
    let done = unsafe {
        libc::bind(fd.as_raw_fd(), (&raw const to).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

fn attach(fd: &OwnedFd) -> io::Result<()> {
    let mut program = ONLY_DHCP.to_vec();
    program.push(ACCEPT);
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the pointer and the length describe one `sock_fprog`, whose own pointer and length describe
    // the vector above; the kernel copies both before the call returns.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Broadcast on the link.
pub(crate) fn broadcast(fd: &OwnedFd, interface: u32, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let to = address(interface, kind, Some([0xff; 6]));
    // SAFETY: both pointers come with the length of what they point to, and both live across the call.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
