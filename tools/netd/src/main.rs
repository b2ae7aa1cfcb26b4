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
//! | [`kernel`] | addresses and routes of links, over rtnetlink(7) |
//! | [`routes`], [`mtu`] | routes and sizes of packets that tools have set |
//! | [`resolver`] | `resolv.conf` |
//! | [`firewall`] | who may reach this machine, in the kernel and on disk |
//! | [`vpn`], [`keys`] | WireGuard tunnels that tools have set, and their secrets |
//! | [`serve`] | the daemon's socket |
//! | [`trial`] | changes that are taken back unless somebody confirms them |
//! | [`names`], [`probe`], [`trace`] | ask the name servers and other machines for those daemons that have no network |
//!
//! IPv6 is the kernel's: an interface that is up configures itself from router advertisements (SLAAC, RFC
//! 4862). The daemon owns the IPv4 addresses of the links that it looks after, and removes others from
//! them. It leaves everything in place when it ends, so that a restart costs no connection; a leased
//! address carries its lifetime in the kernel and expires there if nobody renews it. Files are read at the
//! start: restart the service after a change. What tools set ([`config::Kept`]) counts at once, on trial.

#![deny(unsafe_code)]

mod arp;
mod config;
mod dhcp;
mod firewall;
mod kernel;
mod keys;
mod link;
mod linklocal;
mod mtu;
mod names;
mod packet;
mod probe;
mod resolver;
mod rng;
mod routes;
mod serve;
#[allow(unsafe_code)]
mod sys;
mod trace;
mod trial;
mod vpn;
mod watch;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: aios-netd [--config FILE]... [--settings FILE] [--resolv-conf FILE] [--state FOLDER] [--socket PATH]";

/// What this daemon writes.
const RESOLV_CONF: &str = "/run/aios-netd/resolv.conf";
/// What tools have set.
const SETTINGS: &str = "/data/netd/settings.toml";

struct Arguments {
    /// Configuration files; a later one's links replace an earlier one's.
    configs: Vec<PathBuf>,
    resolv_conf: Option<PathBuf>,
    /// What it keeps.
    state: PathBuf,
    settings: Option<PathBuf>,
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
    let (mut settings, mut resolv_conf, mut socket) = (None, None, None);
    let mut state = PathBuf::from("/data/netd");
    while let Some(option) = given.next() {
        let mut value = || given.next().map(PathBuf::from).ok_or_else(|| USAGE.to_owned());
        match option.to_str() {
            Some("--config") => configs.push(value()?),
            Some("--settings") => settings = Some(value()?),
            Some("--resolv-conf") => resolv_conf = Some(value()?),
            Some("--state") => state = value()?,
            Some("--socket") => socket = Some(value()?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if configs.is_empty() {
        configs = vec!["/etc/aios/net.toml".into(), "/data/config/net.toml".into()];
        settings = settings.or_else(|| Some(SETTINGS.into()));
    }
    Ok(Arguments { configs, settings, resolv_conf, state, socket })
}

fn run(arguments: Arguments) -> Result<(), String> {
    let (base, refused) = config::load(&arguments.configs);
    for error in refused {
        eprintln!("<3>{error}; the file is ignored");
    }
    let (files, own) = match arguments.resolv_conf {
        Some(own) => (vec![own.clone()], own),
        // Name servers that somebody wrote down come before those that the network gave.
        None => {
            // Init has made the folder for this daemon alone; name servers are everybody's.
            let opened = std::fs::set_permissions("/run/aios-netd", Permissions::from_mode(0o755));
            if let Err(error) = opened {
                eprintln!("<4>others cannot read {RESOLV_CONF}: {error}");
            }
            (vec!["/etc/resolv.conf".into(), RESOLV_CONF.into()], RESOLV_CONF.into())
        }
    };
    // Before any link is switched on.
    let firewall = Arc::new(firewall::Firewall::start(&arguments.state));
    let keys = keys::Keys::beside(arguments.settings.as_deref());
    let (kept, settings) = config::Kept::open(arguments.settings);
    let sizes = mtu::Before(own.parent().unwrap_or(Path::new("/run")).into());
    let configured = watch::Configured { base, settings, kept, mtu: sizes, keys };
    let (control, orders) = watch::Control::new();
    let trials = trial::Trials::default();
    let served = serve::Served { resolv_conf: files, trials: trials.clone(), firewall, control };
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
            ended = watch::run(configured, resolver, orders) => ended,
            ended = aios_abi::server::serve(listener, Arc::new(served)) => {
                ended.map_err(|e| format!("the socket failed: {e}"))
            }
            // A part of it, because those others do what is to be done.
            () = stopped(&trials) => Ok(()),
        }
    })
}

/// Until the supervisor ends this daemon. What is on trial is taken back first: nobody would be there to do it later.
async fn stopped(trials: &trial::Trials) {
    let Ok(mut stop) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    stop.recv().await;
    match trials.take_back().await {
        Ok(what) => eprintln!("<4>stopped in the middle of a trial: {what}"),
        Err(error) if error.code == aios_abi::ErrorCode::NotFound => {}
        Err(error) => eprintln!("<3>what is on trial was not taken back: {error}"),
    }
}
