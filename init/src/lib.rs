//! PID 1 of aiOS: mounts, supervises, reaps and shuts the machine down.
//!
//! The kernel starts it as `/init` of the initramfs, from where it finds the root file system and
//! executes itself again as `/sbin/init`. It has one thread and one place where it waits ([`poll`]);
//! what is to become of the services is decided by a state machine without I/O ([`supervisor`]).

#![deny(unsafe_code)]

mod boot;
mod cgroup;
mod clock;
mod cmdline;
mod control;
mod crc;
mod device;
mod foreign;
mod logs;
mod modules;
mod notify;
mod poll;
mod power;
mod resume;
mod run;
mod sandbox;
mod socket;
mod spawn;
mod spawner;
mod store;
mod supervisor;
#[allow(unsafe_code)]
mod sys;

pub use foreign::FOREIGN;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "aios-init is process 1 of the machine: the kernel starts it";

/// The program: PID 1 when the kernel started it, a small tool otherwise.
pub fn main() -> ExitCode {
    if std::process::id() == 1 {
        pid1();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--version"] => {
            println!("aios-init {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        ["--store-logs", directory] => match store::run(Path::new(directory)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("<3>{directory}: {e}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Never returns: a PID 1 that ends takes the kernel with it.
fn pid1() -> ! {
    let started = clock::now();
    std::panic::set_hook(Box::new(|panic| {
        run::fail(&panic.to_string());
        power::last_resort(&format!("internal error in init: {panic}"));
    }));
    raise_file_limit();
    let arguments: Vec<String> = std::env::args().collect();
    let machine = match arguments.as_slice() {
        [_, word, page] if word == "--resume" => {
            let resumed = run::Machine::resume(page.parse().unwrap_or(-1));
            resumed.and_then(|mut machine| machine.run_on().map_err(run::waiting_failed))
        }
        _ => boot_and_run(started, arguments.first().map_or("", String::as_str)),
    };
    match machine {
        Ok(()) => power::last_resort("the machine did not go down"),
        Err(fatal) => run::give_up(*fatal),
    }
}

fn boot_and_run(started: Duration, stage: &str) -> Result<(), logs::Fatal> {
    // A hang before the loop is one that the watchdog ends; without /dev it cannot be armed yet.
    let mut watchdog = power::Watchdog::arm();
    // Ctrl-Alt-Del is a signal from now on, and a way to restart in order.
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    let booted = boot::boot(started, stage, &mut watchdog)?;
    let watchdog = watchdog.or_else(power::Watchdog::arm);
    let mut machine = run::Machine::new(booted, watchdog)?;
    machine.run().map_err(run::waiting_failed)
}

/// Sockets of all services and connections of all clients are open at once.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    const FILES: u64 = 65_536;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum: Some(FILES) });
}
