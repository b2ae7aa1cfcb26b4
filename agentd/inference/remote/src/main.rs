//! The worker of the strategic tier.

#![forbid(unsafe_code)]

use aios_abi::CallError;
use aios_engine_remote::serve::{Places, Worker, serve};
use clap::Parser;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Ask a model somewhere else, within a budget.
#[derive(Debug, Parser)]
#[command(name = "aios-engine-remote", version)]
struct Arguments {
    /// The settings; without this file nothing is asked
    #[arg(long, value_name = "FILE", default_value = "/data/config/strategic.toml")]
    config: PathBuf,
    /// Folder of the budget's book
    #[arg(long, value_name = "DIR", default_value = "/data/strategic")]
    state: PathBuf,
    /// Listen on this Unix socket when none is inherited
    #[arg(long, value_name = "PATH")]
    listen: Option<PathBuf>,
    /// Files in which name servers stand; the first that has some counts
    #[arg(long, value_name = "FILE", default_values = ["/run/aios-netd/resolv.conf", "/etc/resolv.conf"])]
    resolv_conf: Vec<PathBuf>,
}

fn main() -> ExitCode {
    aios_abi::daemon::log_to_stderr();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), CallError> {
    let listener = listener(arguments.listen)?;
    listener.set_nonblocking(true)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    runtime.block_on(async {
        let places =
            Places { config: arguments.config, state: arguments.state, name_servers: arguments.resolv_conf };
        let worker = Arc::new(Worker::new(places));
        let listener = tokio::net::UnixListener::from_std(listener)?;
        aios_abi::daemon::ready();
        let mut end = signal(SignalKind::terminate())?;
        tokio::select! {
            result = worker.follow() => Ok(result?),
            result = serve(listener, worker.clone()) => Ok(result?),
            _ = end.recv() => {
                tracing::info!("asked to stop");
                Ok(())
            }
        }
    })
}

/// The socket that PID 1 opened or, by hand, a new one.
fn listener(path: Option<PathBuf>) -> Result<UnixListener, CallError> {
    let inherited = aios_abi::sys::inherited_fds().into_iter().find(|(name, _)| name == "strategic");
    match (inherited, path) {
        (Some((_, socket)), _) => Ok(UnixListener::from(socket)),
        (None, Some(path)) => {
            // What an earlier run left behind.
            let _ = std::fs::remove_file(&path);
            let failed = |e| CallError::unavailable(format!("{} cannot be listened on: {e}", path.display()));
            UnixListener::bind(&path).map_err(failed)
        }
        (None, None) => {
            Err(CallError::invalid("no socket named strategic was inherited; give one with --listen PATH"))
        }
    }
}
