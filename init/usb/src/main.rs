//! Sticks: what is plugged in by USB and is formatted with FAT or exFAT can be read at `/run/usb` (a second one at
//! `/run/usb2`, and so on) until it is pulled out.
//!
//! Nothing is ever written to it, started from it, or followed out of it: it is mounted read-only, without programs,
//! device nodes, set-uid bits and symbolic links. Other file systems are not mounted at all: the kernel's code for them is
//! not made for what an enemy has written (for ext4 its developers say so).
//!
//! What there is stands in sysfs (the kernel's Documentation/ABI/stable/sysfs-block); the kernel's announcements
//! (netlink(7), `NETLINK_KOBJECT_UEVENT`) only say when to look again. A service of its own, because a damaged stick can hold
//! up whoever mounts it for as long as it likes.

mod disks;
mod sticks;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink, recv};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::ExitCode;
use sticks::Sticks;

fn main() -> ExitCode {
    match run() {
        Ok(never) => match never {},
        Err(e) => {
            eprintln!("<3>the kernel does not say what is plugged in: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<std::convert::Infallible, Errno> {
    let announcements = listen()?;
    let mut sticks = Sticks::take_over(Path::new("/run"), sticks::enter);
    let plugged_in = || disks::plugged_in(Path::new("/sys"));
    let mut ready = false;
    loop {
        // A disk whose partitions were found while it was tried itself is not in the list any more, but they are.
        for _ in 0..2 {
            for line in sticks.compare(&plugged_in(), |stick| plugged_in().contains(stick)) {
                println!("{line}");
            }
        }
        if !std::mem::replace(&mut ready, true) {
            say_ready();
        }
        wait(&announcements)?;
    }
}

/// What was plugged in at the start is mounted (sd_notify(3)).
fn say_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let said = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", path));
    if let Err(e) = said {
        eprintln!("<4>init does not hear that all is ready: {e}");
    }
}

fn listen() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = netlink::KOBJECT_UEVENT;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(family))?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 1))?;
    Ok(socket)
}

/// Wait until something was announced, and forget what: sysfs says how it is.
fn wait(announcements: &OwnedFd) -> Result<(), Errno> {
    match poll(&mut [PollFd::new(announcements, PollFlags::IN)], None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e),
    }
    let mut buffer = [0; 8192];
    loop {
        match recv(announcements, &mut buffer[..], RecvFlags::empty()) {
            // Some were lost (ENOBUFS): there is something to look at all the more.
            Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}
