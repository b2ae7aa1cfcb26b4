//! `aios-toold [--socket PATH] [--data DIR] [--workshop PATH] [--console PATH]`: serves the tools.
//! `aios-toold --be-workshop [--socket PATH]`: makes the processes in which they run.
//! `aios-toold --reference`: prints what they are.

#![forbid(unsafe_code)]

use aios_abi::{call::Meta, client::Client, paths, who::Peer};
use aios_toold::broker::{Broker, Setup};
use aios_toold::policy::Policy;
use aios_toold::worker::{self, hire::Workshop};
use aios_toold::{caller, schedule, serve::Server};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long changes under way may take when the broker is to end.
const PATIENCE: Duration = Duration::from_secs(5);

struct Options {
    socket: Option<PathBuf>,
    data: PathBuf,
    workshop: PathBuf,
    console: PathBuf,
    /// Be the workshop, not the broker.
    is_workshop: bool,
    /// Print the reference page and end.
    is_reference: bool,
}

fn options(mut args: impl Iterator<Item = std::ffi::OsString>) -> Result<Options, String> {
    let mut options = Options {
        socket: None,
        data: PathBuf::from(paths::DATA).join("toold"),
        workshop: paths::WORKSHOP_SOCKET.into(),
        console: paths::CONSOLE_SOCKET.into(),
        is_workshop: false,
        is_reference: false,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{} needs a value", arg.display()));
        match arg.to_str() {
            Some("--socket") => options.socket = Some(value()?.into()),
            Some("--data") => options.data = value()?.into(),
            Some("--workshop") => options.workshop = value()?.into(),
            Some("--console") => options.console = value()?.into(),
            Some("--be-workshop") => options.is_workshop = true,
            Some("--reference") => options.is_reference = true,
            _ => {
                return Err(format!(
                    "{} is no option; there are --socket PATH, --data DIR, --workshop PATH, --console PATH, --be-workshop and --reference",
                    arg.display()
                ));
            }
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    aios_abi::daemon::log_to_stderr();
    let result = options(std::env::args_os().skip(1)).and_then(|options| {
        if options.is_reference {
            print!("{}", aios_toold::reference::page("aios-toold --reference"));
            return Ok(());
        }
        if options.is_workshop {
            return be_workshop(options.socket.as_deref());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // What waits for a disk or for a worker waits on a thread of its own; a second one here would only be woken in vain.
            .worker_threads(1)
            .max_blocking_threads(64)
            .enable_all()
            .build()
            .map_err(|e| format!("no threads: {e}"))?;
        let result = runtime.block_on(run(options));
        // A thread that waits for the kernel must not keep the program from ending.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("toold cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread, no runtime: see [`worker::shop`].
fn be_workshop(socket: Option<&Path>) -> Result<(), String> {
    let listener = aios_abi::daemon::listening("workshop", socket).map_err(|e| e.to_string())?;
    let alive = aios_abi::daemon::ready_and_alive_every();
    Err(worker::shop::serve(&listener, alive).to_string())
}

async fn run(options: Options) -> Result<(), String> {
    let listener =
        aios_abi::daemon::listener("toold", options.socket.as_deref()).map_err(|e| e.to_string())?;
    let broker = Broker::open(Setup {
        data: &options.data,
        policy: Policy::appliance(&options.data, std::process::id()),
        init: Client::default(),
        net: Client::default(),
        accounts: Client::at(&options.console),
        infer: Client::default(),
        workshop: Workshop::at(&options.workshop),
        version: &aios_toold::tool::image_version(),
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim(),
    })
    .map_err(|e| e.to_string())?;
    let broker = Arc::new(broker);
    let own = rustix::process::geteuid().as_raw();
    let identify = move |peer: &Peer, meta: &Meta| caller::identify(own, peer, meta);
    let server = Arc::new(Server::new(broker.clone(), Box::new(identify)));
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| format!("no signals: {e}"))?;
    tracing::info!("{} tools are served", aios_toold::tool::all().len());
    aios_abi::daemon::ready();
    tokio::spawn(broker.tidy());
    schedule::run::keep(&broker).map_err(|e| format!("no schedule: {e}"))?;
    tokio::select! {
        ended = aios_abi::server::serve(listener, server) => ended.map_err(|e| format!("the socket failed: {e}")),
        _ = terminate.recv() => {
            aios_abi::sys::notify("STOPPING=1");
            broker.settle(PATIENCE).await;
            Ok(())
        }
    }
}
