//! `aios-toold [--socket PATH] [--data DIR]`: serves the tools.

#![forbid(unsafe_code)]

use aios_abi::{call::Meta, client::Client, paths, who::Peer};
use aios_toold::broker::{Broker, Setup};
use aios_toold::policy::Policy;
use aios_toold::{caller, serve::Server};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_seqpacket::UnixSeqpacketListener;

/// How long changes under way may take when the broker is to end.
const PATIENCE: Duration = Duration::from_secs(5);

struct Options {
    socket: Option<PathBuf>,
    data: PathBuf,
}

fn options(mut args: impl Iterator<Item = std::ffi::OsString>) -> Result<Options, String> {
    let mut options = Options { socket: None, data: PathBuf::from(paths::DATA).join("toold") };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{} needs a value", arg.display()));
        match arg.to_str() {
            Some("--socket") => options.socket = Some(value()?.into()),
            Some("--data") => options.data = value()?.into(),
            _ => {
                return Err(format!(
                    "{} is no option; there are --socket PATH and --data DIR",
                    arg.display()
                ));
            }
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    log_to_stderr();
    let result = options(std::env::args_os().skip(1)).and_then(|options| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
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

async fn run(options: Options) -> Result<(), String> {
    let listener = listener(options.socket)?;
    let broker = Broker::open(Setup {
        data: &options.data,
        policy: Policy::appliance(&options.data, std::process::id()),
        init: Client::default(),
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
    aios_abi::sys::notify("READY=1");
    tokio::select! {
        ended = aios_abi::server::serve(listener, server) => ended.map_err(|e| format!("the socket failed: {e}")),
        _ = terminate.recv() => {
            aios_abi::sys::notify("STOPPING=1");
            broker.settle(PATIENCE).await;
            Ok(())
        }
    }
}

fn listener(socket: Option<PathBuf>) -> Result<UnixSeqpacketListener, String> {
    let inherited = aios_abi::sys::inherited_fds().into_iter().find(|(name, _)| name == "toold");
    match (inherited, socket) {
        (Some((_, fd)), _) => {
            UnixSeqpacketListener::try_from(fd).map_err(|e| format!("the inherited socket: {e}"))
        }
        (None, Some(path)) => {
            // What an earlier run left behind; a socket in use is taken over, as by any restart.
            let _ = std::fs::remove_file(&path);
            UnixSeqpacketListener::bind(&path).map_err(|e| format!("{}: {e}", path.display()))
        }
        (None, None) => Err("no socket named toold was inherited; give one with --socket PATH".into()),
    }
}

/// One line a record with the priority that PID 1 reads (sd-daemon(3)); PID 1 adds the time.
fn log_to_stderr() {
    tracing_subscriber::fmt()
        .event_format(Line)
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
}

struct Line;

impl<S, N> tracing_subscriber::fmt::FormatEvent<S, N> for Line
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &tracing_subscriber::fmt::FmtContext<'_, S, N>,
        mut writer: tracing_subscriber::fmt::format::Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            tracing::Level::ERROR => 3,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 6,
            tracing::Level::DEBUG | tracing::Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        ctx.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
