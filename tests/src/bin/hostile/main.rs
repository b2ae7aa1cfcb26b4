//! A hostile program inside the appliance: as a service it does one thing that a broken or malicious
//! program would do, or an honest one in a way of its own, and prints what came of it; the whole-machine
//! tests read that in its log.
//!
//! `aios-hostile FAULT [ARGUMENT]`, see [`main`] for the faults.

#![deny(unsafe_code)]

mod clock;
mod disk;
mod files;
mod memory;
mod pid1;
mod processes;
mod sandbox;
mod services;
mod shop;
mod sockets;
#[allow(unsafe_code)]
mod sys;

use std::process::ExitCode;

/// What a fault needs of the system may be refused: then it says so and the test fails.
type Outcome = std::io::Result<()>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["strange-packets"] => sockets::strange_packets(),
        ["connections", count] => sockets::hold_connections(number(count)),
        ["chatter", seconds] => sockets::chatter(number(seconds)),
        ["fork-bomb"] => processes::fork_bomb(),
        ["orphans", count] => processes::orphans(number(count)),
        ["stop"] => processes::stop_itself(),
        ["stop-watched"] => processes::stop_while_watched(),
        ["eat", times] => memory::eat(number(times)),
        ["crowd", left] => memory::crowd(number(left)),
        ["narrow", mebibytes] => memory::narrow(number(mebibytes)),
        ["open", processes] => files::open_all(number(processes)),
        ["fill", seconds] => disk::fill(number(seconds)),
        ["scribble"] => disk::scribble(),
        ["clock", seconds] => clock::jump(seconds.parse().unwrap_or(0)),
        ["signal", name, count] => pid1::signal(name, number(count)),
        ["seize"] => pid1::seize(),
        ["spawner", name] => pid1::spawner(name),
        ["kexec", kernel, initramfs] => sockets::kexec(kernel, initramfs),
        ["escape"] => sandbox::escape(),
        ["idle"] => services::idle(),
        ["say", text] => services::say(text),
        ["ready", descriptor] => services::ready(descriptor),
        ["answer"] => services::answer(),
        ["fetch", address] => services::fetch(address),
        ["knock", path] => services::knock(path),
        ["shop", "serve", port] => shop::serve(number(port)),
        ["shop", what] => shop::act(what),
        ["kill", prefix, count] => services::kill(prefix, number(count)),
        _ => Err(std::io::Error::other("unknown fault")),
    };
    if let Err(error) = outcome {
        println!("<3>hostile: {}: {error}", words.join(" "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}
