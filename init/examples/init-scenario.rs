//! Drives init inside a virtual machine: once as the services that are supervised, once as the client
//! that stops, kills and asks, and says on the console what it saw. Used by boot tests of init alone.

use aios_abi::call::{ClientFrame, Meta, Request, ServerFrame};
use aios_abi::service::{InitEvent, InitReply, InitRequest, ServiceState, ServiceStatus};
use aios_abi::{CallError, frame, paths};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket,
};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("daemon") => daemon(),
        Some("hog") => hog(),
        Some("crash") => std::process::exit(3),
        Some("denied") => denied(),
        Some("scenario") => scenario(),
        _ => eprintln!("usage: init-scenario daemon|hog|crash|denied|scenario"),
    }
}

/// A well-behaved daemon: says what it was given and that it is ready, and waits for SIGTERM.
fn daemon() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    let names: Vec<String> = aios_abi::sys::inherited_fds().into_iter().map(|(name, _)| name).collect();
    let interfaces = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default().lines().count() - 2;
    eprintln!(
        "<5>uid {} effective {} bounding {} ambient {} nnp {} fds {names:?} interfaces {interfaces}",
        of("Uid:"),
        of("CapEff:"),
        of("CapBnd:"),
        of("CapAmb:"),
        of("NoNewPrivs:"),
    );
    for entry in std::fs::read_dir(paths::VIRTIO_PORTS).into_iter().flatten().flatten() {
        use std::os::unix::fs::MetadataExt;
        let owner = std::fs::metadata(entry.path()).map(|m| m.uid());
        eprintln!("<5>port {:?} → {:?} owner {owner:?}", entry.path(), std::fs::read_link(entry.path()));
    }
    aios_abi::sys::notify("READY=1\nSTATUS=waiting");
    loop {
        std::thread::park();
    }
}

/// Takes memory until the kernel ends it.
fn hog() {
    let mut held = Vec::new();
    loop {
        held.push(vec![1u8; 1 << 20]);
    }
}

/// What somebody who is not root may ask for.
fn denied() {
    let error = ask(InitRequest::PowerOff).expect_err("must be refused");
    eprintln!("<5>power-off as another user: {:?}: {error}", error.code);
    let reply = ask(InitRequest::List);
    eprintln!("<5>list as another user: {}", reply.is_ok());
}

fn connection() -> OwnedFd {
    let fd = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    connect(&fd, &SocketAddrUnix::new(paths::INIT_SOCKET).expect("a path")).expect("init listens");
    fd
}

fn ask(body: InitRequest) -> Result<InitReply, CallError> {
    let fd = connection();
    let request = ClientFrame::Request(Request { id: 1, meta: Meta::why("scenario"), body });
    send(&fd, &frame::encode(&request).expect("encodes"), SendFlags::empty()).expect("sent");
    receive(&fd)
}

fn receive(fd: &OwnedFd) -> Result<InitReply, CallError> {
    let mut buffer = vec![0; frame::MAX_PACKET];
    let (length, _) = recv(fd, &mut buffer[..], RecvFlags::empty()).expect("an answer");
    match frame::decode::<ServerFrame<InitEvent, InitReply>>(&buffer[..length])? {
        ServerFrame::Reply { result, .. } => result,
        ServerFrame::Refused { error } => Err(error),
        other => panic!("not expected: {other:?}"),
    }
}

fn status(name: &str) -> ServiceStatus {
    match ask(InitRequest::Status { name: name.to_owned() }) {
        Ok(InitReply::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

/// Wait until a service is as wanted.
fn until(name: &str, what: &str, met: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
    let began = Instant::now();
    loop {
        let now = status(name);
        if met(&now) {
            return now;
        }
        if began.elapsed() > Duration::from_secs(20) {
            say(&format!("FAILED: {name} is not {what}: {now:?}"));
            std::process::exit(1);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn say(text: &str) {
    let mut console = std::fs::OpenOptions::new().write(true).open("/dev/console").expect("a console");
    write!(console, "scenario: {text}\r\n").expect("written");
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

fn scenario() {
    let state = ServiceState::Running;
    let first = until("alpha", "running", |s| s.state == state);
    say(&format!("{first:?}"));
    for round in 0..3 {
        let before = status("alpha");
        let began = Instant::now();
        kill(before.pid.expect("runs"));
        let after = until("alpha", "again", |s| s.state == state && s.pid != before.pid);
        say(&format!("kill {round}: ready again after {:?}, restarts {}", began.elapsed(), after.restarts));
    }
    for (what, request) in [
        ("stop", InitRequest::Stop { name: "alpha".into() }),
        ("start", InitRequest::Start { name: "alpha".into() }),
        ("restart", InitRequest::Restart { name: "alpha".into() }),
        ("status of nothing", InitRequest::Status { name: "nothing".into() }),
        ("machine", InitRequest::Machine),
    ] {
        let began = Instant::now();
        say(&format!("{what}: {:?} in {:?}", ask(request), began.elapsed()));
    }
    let hog =
        until("hog", "killed for memory", |s| s.last_exit.as_deref().is_some_and(|e| e.contains("memory")));
    say(&format!("hog: {:?}", hog.last_exit));
    let crash = until("crash", "degraded", |s| s.degraded);
    say(&format!("crash: {:?} {:?} restarts {}", crash.state, crash.last_exit, crash.restarts));
    say(&format!("missing: {:?}", status("missing")));
    say(&format!(
        "refused: {:?}",
        ask(InitRequest::List).map(|r| match r {
            InitReply::List { services, refused } => (services.len(), refused),
            _ => (0, vec![]),
        })
    ));
    for unit in ["alpha", "beta", "gamma", "denied"] {
        let logs = InitRequest::Logs { unit: Some(unit.into()), contains: None, limit: 3, follow: false };
        say(&format!("logs of {unit}: {:?}", ask(logs)));
    }
    let kernel = InitRequest::Logs {
        unit: Some("kernel".into()),
        contains: Some("CPU".into()),
        limit: 1,
        follow: false,
    };
    say(&format!("kernel: {:?}", ask(kernel)));
    let fd = connection();
    send(&fd, &[9, 9, 9], SendFlags::empty()).expect("sent");
    say(&format!("nonsense: {:?}", receive(&fd)));
    send(&fd, &vec![1; 70_000], SendFlags::empty()).expect("sent");
    say(&format!("oversized: {:?}", receive(&fd)));
    say(&format!("power-off: {:?}", ask(InitRequest::PowerOff)));
}
