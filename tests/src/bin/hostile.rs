//! A hostile program inside the appliance: it runs as a service without any right and does to the
//! daemons' sockets what a broken or malicious client would do. It prints one line a finding;
//! the whole-machine tests read them in the log.

use aios_abi::call::{ClientFrame, Meta, Request, ServerFrame};
use aios_abi::frame;
use aios_abi::service::InitRequest;
use aios_abi::tool::ToolRequest;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};
use std::os::fd::OwnedFd;

fn main() {
    for (name, path) in [
        ("init", aios_abi::paths::INIT_SOCKET),
        ("toold", aios_abi::paths::TOOLD_SOCKET),
        ("agentd", aios_abi::paths::AGENTD_SOCKET),
        ("inferd", aios_abi::paths::INFERD_SOCKET),
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
}

fn request<T: serde::Serialize>(body: T) -> Vec<u8> {
    let frame = ClientFrame::Request(Request { id: 1, meta: Meta::why("because I say so"), body });
    frame::encode(&frame).unwrap_or_default()
}

/// What the server answers, in words; an end of the connection is an answer too.
fn answer(path: &str, packet: &[u8]) -> String {
    exchange(path, packet).unwrap_or_else(|error| format!("no answer ({error})"))
}

fn exchange(path: &str, packet: &[u8]) -> rustix::io::Result<String> {
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
