//! The service of the supervisors that are measured beside each other: says when its `main` began,
//! that it is ready in each way that one of them understands, and then waits to be ended.
//!
//! `probe [NAME]`; without a name it takes that of its directory.

#![forbid(unsafe_code)]

use aios_tests::probe::{Kind, REPORTS, Report};
use rustix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// What `notification-fd` of an s6 service directory says.
const READY_FD: &str = "/proc/self/fd/3";

fn main() -> std::io::Result<()> {
    let began = clock_gettime(ClockId::Monotonic);
    let directory = std::env::current_dir().unwrap_or_default();
    let own = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = std::env::args().nth(1).unwrap_or(own);
    let socket = UnixDatagram::unbound()?;
    socket.send_to(&Report::bytes(Kind::Began, began, &name), REPORTS)?;
    println!("{name} is at work");
    if let Some(notify) = std::env::var_os("NOTIFY_SOCKET") {
        socket.send_to(b"READY=1\n", notify)?;
    } else if Path::new("notification-fd").exists() {
        std::fs::OpenOptions::new().write(true).open(READY_FD)?.write_all(b"\n")?;
    }
    socket.send_to(&Report::bytes(Kind::Ready, clock_gettime(ClockId::Monotonic), &name), REPORTS)?;
    drop(socket);
    loop {
        let _ = rustix::event::poll(&mut [], None);
    }
}
