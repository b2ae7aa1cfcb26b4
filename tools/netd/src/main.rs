//! The network daemon: brings every Ethernet link up, gets or sets its IPv4 address and says which name
//! servers there are.
//!
//! | Module | What |
//! |---|---|
//! | [`config`] | `net.toml`: which link gets its address how |
//! | [`watch`] | links come, go and get a cable |
//! | [`link`] | one link's life: the state machines below, fed with packets and time |
//! | [`dhcp`], [`linklocal`], [`arp`] | the protocols, pure |
//! | [`packet`], [`sys`] | packet sockets |
//! | [`kernel`] | addresses and routes, over rtnetlink(7) |
//! | [`resolver`] | `resolv.conf` |
//! | [`names`], [`probe`] | ask the name servers and other machines for those daemons that have no network |
//!
//! IPv6 is the kernel's: an interface that is up configures itself from router advertisements (SLAAC, RFC
//! 4862). The daemon owns the IPv4 addresses of the links that it looks after, and removes others from
//! them. It leaves everything in place when it ends, so that a restart costs no connection; a leased
//! address carries its lifetime in the kernel and expires there if nobody renews it. Configuration is
//! read at the start: restart the service after a change.

#![deny(unsafe_code)]

mod arp;
mod config;
mod dhcp;
mod kernel;
mod link;
mod linklocal;
mod names;
mod packet;
mod probe;
mod resolver;
mod rng;
#[allow(unsafe_code)]
mod sys;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const USAGE: &str = "usage: aios-netd [--config FILE]... [--resolv-conf FILE] [--socket PATH]";

/// What this daemon writes.
const RESOLV_CONF: &str = "/run/aios-netd/resolv.conf";

struct Arguments {
    /// Configuration files; a later one's links replace an earlier one's.
    configs: Vec<PathBuf>,
    resolv_conf: Option<PathBuf>,
    /// Where it listens when PID 1 gave it no socket.
    socket: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = arguments(std::env::args_os().skip(1)).and_then(run);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>{error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = std::ffi::OsString>) -> Result<Arguments, String> {
    let mut configs = Vec::new();
    let (mut resolv_conf, mut socket) = (None, None);
    while let Some(option) = given.next() {
        let mut value = || given.next().map(PathBuf::from).ok_or_else(|| USAGE.to_owned());
        match option.to_str() {
            Some("--config") => configs.push(value()?),
            Some("--resolv-conf") => resolv_conf = Some(value()?),
            Some("--socket") => socket = Some(value()?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if configs.is_empty() {
        configs = vec!["/etc/aios/net.toml".into(), "/data/config/net.toml".into()];
    }
    Ok(Arguments { configs, resolv_conf, socket })
}

fn run(arguments: Arguments) -> Result<(), String> {
    let (config, refused) = config::load(&arguments.configs);
    for error in refused {
        eprintln!("<3>{error}; the file is ignored");
    }
    let (files, own) = match arguments.resolv_conf {
        Some(own) => (vec![own.clone()], own),
        // Name servers that somebody wrote down come before those that the network gave.
        None => (vec!["/etc/resolv.conf".into(), RESOLV_CONF.into()], RESOLV_CONF.into()),
    };
    let names = names::Names { files };
    let resolver = resolver::Resolver::new(own);
    // One thread: there is little to do, and it is all waiting.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("the event loop cannot start: {e}"))?;
    runtime.block_on(async {
        let listener = aios_abi::daemon::listener("netd", arguments.socket.as_deref());
        let listener = listener.map_err(|e| e.to_string())?;
        tokio::select! {
            ended = watch::run(config, resolver) => ended,
            ended = aios_abi::server::serve(listener, Arc::new(names)) => {
                ended.map_err(|e| format!("the socket failed: {e}"))
            }
        }
    })
}
