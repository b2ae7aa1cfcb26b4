//! `aios-inferd`: serves inference.

#![forbid(unsafe_code)]

use aios_abi::{CallError, paths};
use aios_inferd::choose::Head;
use aios_inferd::engine::{Engine, Kind, Source};
use aios_inferd::serve::Server;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// The trained layer that chooses tools, in the folder of models.
const CHOICE: &str = "choice.safetensors";

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
    aios_abi::daemon::log_to_stderr();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("inferd cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), CallError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    runtime.block_on(async {
        let listener = aios_abi::daemon::listener("inferd", arguments.socket.as_deref())?;
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
        let head = Head::read(&arguments.models.join(CHOICE)).unwrap_or_else(|why| {
            tracing::warn!("tools are chosen by their sentences alone: {why}");
            None
        });
        // Ready means that questions are answered, if only with "still loading".
        aios_abi::daemon::ready();
        let mut end = signal(SignalKind::terminate())?;
        tokio::select! {
            result = aios_abi::server::serve(listener, Arc::new(Server::new(text, embed, head))) => Ok(result?),
            _ = end.recv() => {
                tracing::info!("asked to stop");
                Ok(())
            }
        }
    })
}
