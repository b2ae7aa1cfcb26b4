//! Clients that do not keep to the protocol, and clients that are too many or too loud.

use crate::{Outcome, sys};
use aios_abi::call::{ClientFrame, Meta, Request, ServerFrame};
use aios_abi::frame;
use aios_abi::service::InitRequest;
use aios_abi::tool::ToolRequest;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Where services tell PID 1 of themselves (sd_notify(3)).
const NOTIFY: &str = "/run/aios/notify";

/// Send each daemon what is no request, and requests that are not allowed.
pub(crate) fn strange_packets() -> Outcome {
    for (name, path) in [
        ("init", aios_abi::paths::INIT_SOCKET),
        ("toold", aios_abi::paths::TOOLD_SOCKET),
        ("workshop", aios_abi::paths::WORKSHOP_SOCKET),
        ("agentd", aios_abi::paths::AGENTD_SOCKET),
        ("inferd", aios_abi::paths::INFERD_SOCKET),
        ("netd", aios_abi::paths::NETD_SOCKET),
        ("console", aios_abi::paths::CONSOLE_SOCKET),
    ] {
        println!(
            "hostile: {name} to an oversized packet: {}",
            answer(path, &vec![frame::VERSION; frame::MAX_PACKET + 1])
        );
        println!("hostile: {name} to another version: {}", answer(path, &[99, 1, 2, 3]));
        println!(
            "hostile: {name} to garbage: {}",
            answer(path, &[frame::VERSION, 0xff, 0xff, 0xff, 0xff, 0xff])
        );
    }
    let power_off = request(InitRequest::PowerOff);
    println!("hostile: init to a power-off: {}", answer(aios_abi::paths::INIT_SOCKET, &power_off));
    let call = request(ToolRequest::Call { tool: 1, args: "{}".into(), dry_run: false });
    println!("hostile: toold to a call: {}", answer(aios_abi::paths::TOOLD_SOCKET, &call));
    println!("hostile: done");
    Ok(())
}

/// Have PID 1 start another kernel.
pub(crate) fn kexec(kernel: &str, initramfs: &str) -> std::io::Result<()> {
    let body = InitRequest::Kexec {
        kernel: kernel.to_owned(),
        initramfs: Some(initramfs.to_owned()),
        cmdline: String::new(),
    };
    println!("<5>kexec: {}", answer(aios_abi::paths::INIT_SOCKET, &request(body)));
    Ok(())
}

fn request<T: serde::Serialize>(body: T) -> Vec<u8> {
    let frame = ClientFrame::Request(Request { id: 1, meta: Meta::why("because I say so"), body });
    frame::encode(&frame).unwrap_or_default()
}

/// What the server answers, in words; an end of the connection is an answer too.
fn answer(path: &str, packet: &[u8]) -> String {
    answer_or_error(path, packet).unwrap_or_else(|error| format!("no answer ({error})"))
}

fn answer_or_error(path: &str, packet: &[u8]) -> rustix::io::Result<String> {
    let socket: OwnedFd =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    send(&socket, packet, SendFlags::NOSIGNAL)?;
    let mut buffer = vec![0; frame::MAX_PACKET + 1];
    let (length, _) = recv(&socket, &mut buffer, RecvFlags::empty())?;
    if length == 0 {
        return Ok("closed".into());
    }
    // Only errors are of interest, so the types of events and results do not matter.
    Ok(match frame::decode::<ServerFrame<(), ()>>(buffer.get(..length).unwrap_or_default()) {
        Ok(ServerFrame::Refused { error } | ServerFrame::Reply { result: Err(error), .. }) => {
            format!("{}: {}", error.code.as_str(), error.message)
        }
        Ok(_) => "SUCCESS".into(),
        Err(error) => format!("not understood: {error}"),
    })
}

/// Hold so many connections to PID 1 and sockets to its notification socket, and say nothing. A connection
/// that PID 1 closes is opened again, for ever.
pub(crate) fn hold_connections(count: u32) -> Outcome {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = |kind, path: &str| -> rustix::io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    };
    let count = count as usize;
    let (mut held, mut notify, mut said) = (Vec::new(), Vec::new(), false);
    loop {
        while notify.len() < count {
            notify.push(open(SocketType::DGRAM, NOTIFY)?);
        }
        // Whom the kernel lets wait tries again as well.
        while held.len() < count
            && let Ok(socket) = open(SocketType::SEQPACKET, aios_abi::paths::INIT_SOCKET)
        {
            held.push(socket);
        }
        std::thread::sleep(Duration::from_millis(20));
        held.retain(|socket| {
            !matches!(recv(socket, &mut [0; 8][..], RecvFlags::empty()), Ok((_, 0)) | Err(Errno::CONNRESET))
        });
        if !std::mem::replace(&mut said, true) {
            println!("hostile: connections: {} of {count} tried are held", held.len());
        }
    }
}

/// Send PID 1 notifications, and write lines to the log, without end or pause; meanwhile ask it for its
/// status and say how long the slowest answer took.
pub(crate) fn chatter(seconds: u32) -> Outcome {
    let until = Instant::now() + Duration::from_secs(seconds.into());
    for talker in 0..3 {
        if sys::fork()?.is_some() {
            continue;
        }
        let notify = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        connect(&notify, &SocketAddrUnix::new(NOTIFY)?)?;
        let mut sent = 0_u64;
        while Instant::now() < until {
            if talker == 0 {
                println!("hostile: line {sent} of very many");
            } else {
                send(&notify, b"STATUS=talking", SendFlags::NOSIGNAL)?;
            }
            sent += 1;
        }
        println!("hostile: chatter: one of them was heard {sent} times");
        return Ok(());
    }
    let (mut asked, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < until {
        slowest = slowest.max(time_of_answer()?);
        asked += 1;
    }
    let slowest = slowest.as_millis();
    println!("hostile: chatter: {asked} answers meanwhile, the slowest after {slowest} ms");
    sys::reap();
    println!("hostile: chatter: done");
    Ok(())
}

/// How long PID 1 takes to tell about the machine.
pub(crate) fn time_of_answer() -> std::io::Result<Duration> {
    let begun = Instant::now();
    answer_or_error(aios_abi::paths::INIT_SOCKET, &request(InitRequest::Machine))?;
    Ok(begun.elapsed())
}
