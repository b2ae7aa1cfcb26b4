//! `aios-inferd`: serves inference.

#![forbid(unsafe_code)]

use aios_abi::infer::Tier;
use aios_abi::{CallError, paths};
use aios_inferd::engine::{Engine, Kind, Source};
use aios_inferd::learn::{Learned, Place};
use aios_inferd::models::{Book, Limits, Models};
use aios_inferd::pressure::Watch;
use aios_inferd::serve::Server;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The name under which PID 1 hands over the kernel's file of memory pressure.
const PRESSURE: &str = "memory-pressure";
/// Which model each tier uses, in the folder of inferd's own state.
const BOOK: &str = "models.json";
/// What was learned on this machine, in the same folder.
const LEARNED: &str = "learned";
/// The program that learns, in the folder of engines.
const TRAINER: &str = "adapt";

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
    /// Folder of the models: `text.gguf`, `tactical.gguf` and `embed/`
    #[arg(long, value_name = "DIR", default_value = paths::MODELS)]
    models: PathBuf,
    /// Folder of the models that people imported
    #[arg(long, value_name = "DIR", default_value = paths::IMPORTED_MODELS)]
    imported: PathBuf,
    /// Folder in which it is remembered which model each tier uses: $STATE_DIRECTORY, or else that is forgotten
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Seconds for which a new model is on trial
    #[arg(long, value_name = "N", default_value_t = 60)]
    trial: u64,
    /// Use the text engine worker that listens on this socket
    #[arg(long, value_name = "PATH")]
    text_socket: Option<PathBuf>,
    /// Use the worker of the tactical tier that listens on this socket
    #[arg(long, value_name = "PATH")]
    tactical_socket: Option<PathBuf>,
    /// Where the worker of the strategic tier listens
    #[arg(long, value_name = "PATH", default_value = paths::STRATEGIC_SOCKET)]
    strategic_socket: PathBuf,
    /// Use the embedding engine worker that listens on this socket
    #[arg(long, value_name = "PATH")]
    embed_socket: Option<PathBuf>,
    /// Threads of each worker that is started here; a worker decides itself without
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// Mebibytes of memory that a model may take; without it what the machine has free
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
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
        let mut inherited = aios_abi::sys::inherited_fds();
        let pressure = aios_abi::daemon::take(&mut inherited, PRESSURE);
        let listener = aios_abi::daemon::listener_of(inherited, "inferd", arguments.socket.as_deref())?;
        let source = {
            let (engines, models) = (arguments.engines.clone(), arguments.models.clone());
            move |kind: Kind, socket: Option<&Path>| Source {
                kind,
                socket: socket.map(Path::to_owned),
                ports: PathBuf::from(paths::VIRTIO_PORTS),
                engines: engines.clone(),
                models: models.clone(),
                imported: None,
                learned: None,
                threads: arguments.threads,
                free: arguments.memory.map(|mib| mib << 20),
            }
        };
        let strategic = Engine::start(source(Kind::Text(Tier::Strategic), Some(&arguments.strategic_socket)));
        let state =
            arguments.state.clone().or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from));
        let (book, said) = match &state {
            Some(folder) => Book::open(&folder.join(BOOK)),
            None => (Book::in_memory(), Vec::new()),
        };
        said.iter().for_each(|why| tracing::warn!("{why}"));
        let (text, tactical) = (arguments.text_socket.clone(), arguments.tactical_socket.clone());
        let (text_source, embed_socket) = (source.clone(), arguments.embed_socket.clone());
        let embed = move |learned: Option<PathBuf>| {
            let source = source(Kind::Embed, embed_socket.as_deref().filter(|_| learned.is_none()));
            Engine::start(Source { learned, ..source })
        };
        let make = move |tier: Tier, imported: Option<PathBuf>| {
            let socket = match tier {
                Tier::Operational => text.as_deref(),
                _ => tactical.as_deref(),
            };
            let source = text_source(Kind::Text(tier), socket.filter(|_| imported.is_none()));
            Engine::start(Source { imported, ..source })
        };
        let limits = Limits { trial: Duration::from_secs(arguments.trial), ..Limits::default() };
        let models = Models::start(strategic, book, arguments.imported.clone(), Box::new(make), limits);
        let place = Place {
            folder: state.map(|folder| folder.join(LEARNED)),
            trainer: arguments.engines.join(TRAINER),
            models: arguments.models.clone(),
            free: arguments.memory.map(|mib| mib << 20),
            make: Box::new(embed),
        };
        let learned = Learned::start(place);
        if let Some(pressure) = pressure {
            match Watch::new(pressure) {
                Ok(watch) => drop(tokio::spawn(watch.give_way(models.clone(), learned.clone()))),
                Err(e) => tracing::warn!("nobody tells when the machine is short of memory: {e}"),
            }
        }
        // Ready means that questions are answered, if only with "still loading".
        aios_abi::daemon::ready();
        let mut end = signal(SignalKind::terminate())?;
        tokio::select! {
            result = aios_abi::server::serve(
                listener,
                Arc::new(Server::with_models(models.clone(), learned)),
            ) => Ok(result?),
            _ = end.recv() => {
                models.settle();
                tracing::info!("asked to stop");
                Ok(())
            }
        }
    })
}
