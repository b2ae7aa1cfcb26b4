//! `aios-inferd`: serves inference.

#![forbid(unsafe_code)]

mod log;

use aios_abi::{CallError, paths};
use aios_inferd::engine::{Engine, Kind, Source};
use aios_inferd::serve::Server;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_seqpacket::UnixSeqpacketListener;

/// Serve inference: choice of tools, arguments, text, embeddings.
#[derive(Debug, Parser)]
#[command(name = "aios-inferd", version)]
struct Arguments {
    /// Listen here when no socket is inherited
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Folder of the engine workers `llama` and `candle`
    #[arg(long, value_name = "DIR", default_value = paths::ENGINES)]
    engines: PathBuf,
    /// Folder of the models: `text.gguf` and `embed/`
    #[arg(long, value_name = "DIR", default_value = paths::MODELS)]
    models: PathBuf,
    /// Use the text engine worker that listens on this socket
    #[arg(long, value_name = "PATH")]
    text_socket: Option<PathBuf>,
    /// Use the embedding engine worker that listens on this socket
    #[arg(long, value_name = "PATH")]
    embed_socket: Option<PathBuf>,
    /// Threads of each worker that is started here; a worker decides itself without
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
}

fn main() -> ExitCode {
    log::set_up();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("inferd cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), CallError> {
    let inherited = aios_abi::sys::inherited_fds().into_iter().find(|(name, _)| name == "inferd");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    runtime.block_on(async {
        let listener = match (inherited, &arguments.socket) {
            (Some((_, fd)), _) => UnixSeqpacketListener::try_from(fd)
                .map_err(|e| CallError::failed(format!("the inherited socket cannot be used: {e}")))?,
            (None, Some(path)) => listen(path)?,
            (None, None) => {
                return Err(CallError::invalid(
                    "no socket named inferd was inherited; give a place for one with --socket PATH",
                ));
            }
        };
        let engine = |kind: Kind, socket: &Option<PathBuf>| {
            Engine::start(Source {
                kind,
                socket: socket.clone(),
                port: Path::new(paths::VIRTIO_PORTS).join(kind.port()),
                engines: arguments.engines.clone(),
                models: arguments.models.clone(),
                threads: arguments.threads,
            })
        };
        let text = engine(Kind::Text, &arguments.text_socket);
        let embed = engine(Kind::Embed, &arguments.embed_socket);
        // Ready means that questions are answered, if only with "still loading".
        aios_abi::sys::notify("READY=1");
        let mut end = signal(SignalKind::terminate())?;
        tokio::select! {
            result = aios_abi::server::serve(listener, Arc::new(Server::new(text, embed))) => Ok(result?),
            _ = end.recv() => {
                tracing::info!("asked to stop");
                Ok(())
            }
        }
    })
}

fn listen(path: &Path) -> Result<UnixSeqpacketListener, CallError> {
    // What an earlier run left behind; a socket in use is taken over, as by any restart.
    let _ = std::fs::remove_file(path);
    UnixSeqpacketListener::bind(path)
        .map_err(|e| CallError::failed(format!("{} cannot be listened on: {e}", path.display())))
}
