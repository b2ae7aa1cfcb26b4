//! Where a worker comes from: a virtio port, a socket, or a program that inferd starts itself.

use super::port::Port;
use aios_abi::infer::{EngineState, Place};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};

/// The adapter of the text model, in the folder of all models.
const ADAPTER: &str = "calls.gguf";

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writes text: llama.cpp with a GGUF file.
    Text,
    /// Embeds sentences: candle with a folder.
    Embed,
}

impl Kind {
    /// The word for sentences.
    pub fn what(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Embed => "embedding",
        }
    }

    /// Name of the virtio port.
    pub fn port(self) -> &'static str {
        match self {
            Self::Text => "aios.engine.text",
            Self::Embed => "aios.engine.embed",
        }
    }

    /// Name of the worker's program.
    fn program(self) -> &'static str {
        match self {
            Self::Text => "llama",
            Self::Embed => "candle",
        }
    }

    /// The model, in the folder of all models.
    fn model(self) -> &'static str {
        match self {
            Self::Text => "text.gguf",
            Self::Embed => "embed",
        }
    }
}

/// Where to look for a worker.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which engine.
    pub kind: Kind,
    /// A worker that listens on this socket; nothing else is tried then.
    pub socket: Option<PathBuf>,
    /// A worker outside: used when it is there.
    pub port: PathBuf,
    /// Folder of worker programs.
    pub engines: PathBuf,
    /// Folder of models.
    pub models: PathBuf,
    /// Threads that a worker started here may use; it decides itself without.
    pub threads: Option<u32>,
}

/// Two directions and, for a worker of our own, its process.
pub(crate) struct Stream {
    pub(crate) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) writer: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) child: Option<Child>,
    pub(crate) place: Place,
}

/// Why there is no worker.
pub(crate) struct Refusal {
    pub(crate) state: EngineState,
    pub(crate) why: String,
}

fn absent(why: String) -> Refusal {
    Refusal { state: EngineState::Absent, why }
}

/// A source in use: it remembers the port that it has open.
pub(crate) struct Opener {
    source: Source,
    port: Option<Port>,
}

impl Opener {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, port: None }
    }

    /// Find or start a worker. With a port this waits until somebody is connected at its other end;
    /// `waiting` is told first, so that the state does not claim anything else meanwhile.
    pub(crate) async fn open(&mut self, waiting: impl FnOnce(Refusal)) -> Result<Stream, Refusal> {
        if let Some(path) = &self.source.socket {
            return connect(path).await;
        }
        if self.port.is_some() || self.source.port.exists() {
            return self.open_port(waiting).await;
        }
        self.spawn()
    }

    async fn open_port(&mut self, waiting: impl FnOnce(Refusal)) -> Result<Stream, Refusal> {
        let path = self.source.port.display().to_string();
        let failed = |what: &str, error: std::io::Error| absent(format!("{path}: {what}: {error}"));
        let port = match &self.port {
            Some(port) => port.clone(),
            None => {
                let port = Port::open(&self.source.port)
                    .map_err(|e| failed("the virtio port to the engine worker cannot be opened", e))?;
                self.port.insert(port).clone()
            }
        };
        let what = self.source.kind.what();
        waiting(absent(format!(
            "the {what} engine worker outside of this machine is not connected to {path}; it is taken up as soon as it is"
        )));
        port.connected().await.map_err(|e| failed("the virtio port cannot be watched", e))?;
        let (reader, writer) = port.halves().map_err(|e| failed("the virtio port cannot be watched", e))?;
        Ok(Stream { reader: Box::new(reader), writer: Box::new(writer), child: None, place: Place::Outside })
    }

    /// Start a worker of our own.
    fn spawn(&self) -> Result<Stream, Refusal> {
        let Source { kind, engines, models, threads, .. } = &self.source;
        let program = engines.join(kind.program());
        let model = models.join(kind.model());
        let what = kind.what();
        if !model.exists() {
            return Err(absent(format!(
                "there is no {what} model: {} is not there; put one in the image",
                model.display()
            )));
        }
        if *kind == Kind::Text {
            // The engine trusts the numbers in the file, so it only sees a file whose numbers hold.
            aios_gguf::check(&model)
                .map_err(|e| Refusal { state: EngineState::Failed, why: e.to_string() })?;
        }
        let mut command = Command::new(&program);
        command
            .arg("--stdio")
            .arg("--model")
            .arg(&model)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let adapter = models.join(ADAPTER);
        if *kind == Kind::Text && adapter.exists() {
            command.arg("--adapter").arg(adapter);
        }
        if let Some(threads) = threads {
            command.arg("--threads").arg(threads.to_string());
        }
        let mut child = command.spawn().map_err(|e| {
            absent(format!("the {what} engine worker {} cannot be started: {e}", program.display()))
        })?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(absent(format!("the {what} engine worker has no standard streams")));
        };
        Ok(Stream {
            reader: Box::new(output),
            writer: Box::new(input),
            child: Some(child),
            place: Place::Machine,
        })
    }
}

async fn connect(path: &Path) -> Result<Stream, Refusal> {
    let stream = tokio::net::UnixStream::connect(path)
        .await
        .map_err(|e| absent(format!("no engine worker listens on {}: {e}", path.display())))?;
    let (reader, writer) = stream.into_split();
    Ok(Stream { reader: Box::new(reader), writer: Box::new(writer), child: None, place: Place::Outside })
}

/// How a process ended, in words.
pub(crate) fn ending(status: std::io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("it exited with status {code}"),
            (None, Some(signal)) => format!("it was killed by signal {signal}"),
            (None, None) => "it ended".into(),
        },
        Err(error) => format!("its end is not known: {error}"),
    }
}
