//! What calls and audit records are measured beside.
//!
//! `aios-peers PEER COUNT FOLDER` prints so many times in µs, one a line; `aios-bench` starts it in each of its rounds.
//! A peer of calls is a process of its own, which is this program once more: `aios-peers serve PEER PLACE`.
//! The barest is `serve echo`, which answers packets on its standard input and is timed by `aios-bench` itself.
//! `aios-peers flood SOCKET` is no peer but the hostile client of toold's own test.

#![forbid(unsafe_code)]

mod audit;
mod dbus;
#[path = "../../../tools/tests/flood/mod.rs"]
mod flood;
mod grpc;
mod mcp;

use anyhow::{Context, Result, bail};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls that only warm up.
const WARM_UP: usize = 100;
/// About what a call and its answer weigh in bytes.
const ASKED: usize = 64;
const ANSWERED: usize = 256;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let times = match words.as_slice() {
        ["serve", "dbus", address] => return runtime.block_on(dbus::serve(address)),
        ["serve", "grpc", socket] => return runtime.block_on(grpc::serve(Path::new(socket))),
        ["serve", "mcp"] => return mcp::serve(),
        ["serve", "echo", file @ ..] => return echo(file.first().map(Path::new)),
        ["flood", socket] => {
            flood::all(Path::new(socket));
            return Ok(());
        }
        [peer, count, folder] => {
            let (count, folder) = (count.parse().context("how many?")?, Path::new(folder));
            match *peer {
                "dbus" => runtime.block_on(dbus::measure(count, folder))?,
                "grpc" => runtime.block_on(grpc::measure(count, folder))?,
                "mcp" => mcp::measure(count)?,
                "audit" => audit::chain(count, 1, folder)?,
                "audit-64" => audit::chain(count, 64, folder)?,
                "plain" => audit::plain(count, folder)?,
                "sqlite" => audit::sqlite(count, folder)?,
                other => bail!("there is no peer {other}"),
            }
        }
        _ => bail!("aios-peers PEER COUNT FOLDER, or aios-peers serve PEER PLACE"),
    };
    times.iter().for_each(|time| println!("{time}"));
    Ok(())
}

/// Answer bare packets on the standard input, which is a socket; with a file, append to it first and sync it.
fn echo(file: Option<&Path>) -> Result<()> {
    let socket = std::io::stdin();
    let mut file = file.map(File::create).transpose()?;
    let mut buffer = [0; ASKED];
    while recv(&socket, &mut buffer, RecvFlags::empty())?.0 > 0 {
        if let Some(file) = &mut file {
            file.write_all(&[0; ANSWERED])?;
            file.sync_data()?;
        }
        send(&socket, &[0; ANSWERED], SendFlags::empty())?;
    }
    Ok(())
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// A process that is ended with the measurement.
struct Peer(Child);

impl Peer {
    fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Ok(Self(child.with_context(|| format!("{name} cannot be started"))?))
    }

    /// This program as a server.
    fn serve(words: &[&str]) -> Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).arg("serve").args(words))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Try until it works: a server needs a moment.
async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Err(_) if begun.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}
