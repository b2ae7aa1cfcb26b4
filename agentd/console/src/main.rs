//! The console daemon.

#![forbid(unsafe_code)]

use aios_abi::CallError;
use aios_console::state::{App, Daemons, Screen};
use aios_console::store::Store;
use aios_console::{accounts, address, api, cert, listen, local, machine};
use clap::Parser;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_seqpacket::UnixSeqpacketListener;

/// Serve the console over HTTPS.
#[derive(Debug, Parser)]
#[command(name = "aios-console", version)]
struct Arguments {
    /// Listen on this address when no listening socket is inherited
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Directory of the certificate and the accounts
    #[arg(long, value_name = "DIR", default_value = "/data/console")]
    data: PathBuf,
    /// Directory in which the network daemon writes when something has changed
    #[arg(long, value_name = "DIR", default_value = "/run/aios-netd")]
    network: PathBuf,
    /// Serve the tools at this local socket when none is inherited
    #[arg(long, value_name = "PATH")]
    mcp: Option<PathBuf>,
    /// Answer the tool broker about accounts at this local socket when none is inherited
    #[arg(long, value_name = "PATH")]
    accounts: Option<PathBuf>,
    /// Directory of the daemons' sockets
    #[arg(long, value_name = "DIR", default_value = "/run/aios")]
    run: PathBuf,
}

fn main() -> ExitCode {
    aios_abi::daemon::log_to_stderr();
    // The default provider is for libraries that ask for one; ours is named where it is used.
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), CallError> {
    let (mut listener, mut tty, mut mcp, mut broker) = (None, None, None, None);
    let mut inherited = false;
    for (name, fd) in aios_abi::sys::inherited_fds() {
        inherited = true;
        match name.as_str() {
            "https" => listener = Some(TcpListener::from(fd)),
            "tty" => tty = Some(fd),
            "accounts" => broker = Some(fd),
            "mcp" => mcp = Some(UnixListener::from(fd)),
            other => tracing::warn!("the descriptor {other:?} is not known here and is closed"),
        }
    }
    let listener = match listener {
        Some(listener) => listener,
        None => TcpListener::bind(arguments.listen).map_err(|e| {
            CallError::unavailable(format!("{} cannot be listened on: {e}", arguments.listen))
        })?,
    };
    listener.set_nonblocking(true)?;
    if let (None, Some(path)) = (&mcp, &arguments.mcp) {
        // What an earlier run left behind.
        let _ = std::fs::remove_file(path);
        let made = UnixListener::bind(path);
        mcp =
            Some(made.map_err(|e| {
                CallError::unavailable(format!("{} cannot be listened on: {e}", path.display()))
            })?);
    }
    let port = listener.local_addr()?.port();

    std::fs::create_dir_all(&arguments.data)
        .map_err(|e| CallError::failed(format!("{} cannot be made: {e}", arguments.data.display())))?;
    let store = Store::open(&arguments.data.join("console.redb"))?;
    let identity = cert::Holder::open(&arguments.data, store.identity()?.as_ref(), &machine::hostname())?;
    let broker = match (broker, &arguments.accounts) {
        (None, Some(path)) => Some(aios_abi::daemon::listening("accounts", Some(path))?),
        (inherited, _) => inherited,
    };

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Two hashes, the account file, the screen; the service may have 64 processes in all.
        .max_blocking_threads(8)
        .thread_keep_alive(std::time::Duration::from_secs(10))
        .build()?;
    runtime.block_on(async {
        let screen = screen(tty, inherited)?;
        let daemons = Daemons::at(&arguments.run);
        let app = App::new(store, daemons, identity.clone(), screen)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        aios_abi::daemon::ready();
        let shown = address::current(port);
        app.show(format!("aios: console ready https://{shown}/"));
        app.show(format!("aios: certificate sha256 {}", identity.fingerprint()));
        app.show(app.claim_line());
        if let Some(mcp) = mcp {
            mcp.set_nonblocking(true)?;
            let (mcp, app) = (tokio::net::UnixListener::from_std(mcp)?, app.clone());
            tokio::spawn(async move {
                if let Err(error) = local::serve(mcp, app).await {
                    tracing::error!("the local socket of the tools failed: {error}");
                }
            });
        }
        if let Some(broker) = broker {
            let broker = UnixSeqpacketListener::try_from(broker)?;
            let server = Arc::new(accounts::Server::new(app.clone()));
            tokio::spawn(async move {
                if let Err(error) = aios_abi::server::serve(broker, server).await {
                    tracing::error!("the local socket of the accounts failed: {error}");
                }
            });
        }
        tokio::spawn(announce(app.clone(), arguments.network, port, shown));
        let serving = listen::serve(listener, identity.config()?, api::router(app));
        let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = serving => Ok(result?),
            _ = end.recv() => {
                tracing::info!("asked to stop");
                Ok(())
            }
        }
    })
}

/// Where lines go that only somebody in front of the machine may read. A thread of its own writes them:
/// a serial line may block. By hand that is stderr; in the image stderr is a log, which others read.
fn screen(tty: Option<OwnedFd>, inherited: bool) -> std::io::Result<Screen> {
    let mut file: Box<dyn Write + Send> = match tty {
        Some(fd) => Box::new(File::from(fd)),
        None if inherited => {
            tracing::error!("no `tty` was inherited: a claim code cannot be shown on this machine");
            Box::new(std::io::sink())
        }
        None => Box::new(std::io::stderr()),
    };
    let (lines, waiting) = std::sync::mpsc::channel::<String>();
    std::thread::Builder::new().name("screen".into()).spawn(move || {
        for line in waiting {
            // One write a line, so that lines of others do not come between.
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    })?;
    let lines = std::sync::Mutex::new(lines);
    Ok(Box::new(move |line| {
        if let Ok(lines) = lines.lock() {
            let _ = lines.send(line);
        }
    }))
}

/// Show the new address whenever it is another one: at the first lease, or after a change of network.
async fn announce(app: Arc<App>, network: PathBuf, port: u16, mut shown: String) {
    let result = address::follow(&network, || {
        let now = address::current(port);
        if now != shown {
            app.show(format!("aios: console address https://{now}/"));
            shown = now;
        }
    });
    if let Err(error) = result.await {
        tracing::warn!("{} cannot be watched, a new address will not be shown: {error}", network.display());
    }
}
