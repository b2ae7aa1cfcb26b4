//! Where a worker comes from: a virtio port, a socket, or a program that inferd starts itself.

use super::port::Port;
use aios_abi::infer::{EngineState, Place, Tier};
use aios_gguf::{Free, Memory, Summary};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};

/// A worker that is started again within this time did not live.
const SHORT_LIFE: Duration = Duration::from_secs(60);

/// The model of the operational tier, in the folder of all models.
const TINY: &str = "text.gguf";
/// With a model of more bytes kernels are not tried: each would have to load it. The tiny one shows their speed as well.
const LARGE: u64 = 1 << 30;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writes text: a model of one of the tiers.
    Text(Tier),
    /// Embeds sentences.
    Embed,
}

impl Kind {
    /// The word for sentences.
    pub fn what(self) -> &'static str {
        match self {
            Self::Text(Tier::Operational) => "text",
            Self::Text(tier) => tier.name(),
            Self::Embed => "embedding",
        }
    }

    /// Name of the virtio port.
    fn port(self) -> Option<&'static str> {
        match self {
            Self::Text(Tier::Operational) => Some("aios.engine.text"),
            Self::Text(Tier::Tactical) => Some("aios.engine.tactical"),
            Self::Text(Tier::Strategic) => None,
            Self::Embed => Some("aios.engine.embed"),
        }
    }

    /// The worker's program and its model, in the folders of all; nothing for one that is a service of its own.
    fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Text(Tier::Operational) => Some(("llama", TINY)),
            Self::Text(Tier::Tactical) => Some(("llama", "tactical.gguf")),
            Self::Text(Tier::Strategic) => None,
            Self::Embed => Some(("candle", "embed")),
        }
    }

    /// What an encoder learned to read arguments with, in the folder of all models.
    fn reader(self) -> Option<&'static str> {
        (self == Self::Embed).then_some("arguments.safetensors")
    }

    /// What the model learned beside its own weights, in the folder of all models.
    fn adapter(self) -> Option<&'static str> {
        match self {
            Self::Text(Tier::Operational) => Some("calls.gguf"),
            Self::Text(_) => None,
            Self::Embed => Some("choice.safetensors"),
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
    /// Folder of the virtio ports; a worker that is connected to the engine's port is used when the port is there.
    pub ports: PathBuf,
    /// Folder of worker programs.
    pub engines: PathBuf,
    /// Folder of models.
    pub models: PathBuf,
    /// A model that was imported, instead of the one in the folder. A worker outside of the machine does not see its file,
    /// so it is always one of our own that loads it.
    pub imported: Option<PathBuf>,
    /// What was learned on this machine, instead of the adapter in the folder. Like an imported model it is for a worker of our own.
    pub learned: Option<PathBuf>,
    /// Threads that a worker started here may use; it decides itself without.
    pub threads: Option<u32>,
    /// Bytes of memory that a model may take; without it what the machine has free.
    pub free: Option<u64>,
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
    /// When a worker of our own was started last.
    started: Option<Instant>,
}

impl Opener {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, port: None, started: None }
    }

    /// Find or start a worker. With a port this waits until somebody is connected at its other end;
    /// `waiting` is told first, so that the state does not claim anything else meanwhile.
    pub(crate) async fn open(&mut self, waiting: impl FnOnce(Refusal)) -> Result<Stream, Refusal> {
        if let Some(path) = &self.source.socket {
            return connect(path).await;
        }
        let is_ours = self.source.imported.is_some() || self.source.learned.is_some();
        let port = self.source.kind.port().filter(|_| !is_ours);
        let port = port.map(|name| self.source.ports.join(name));
        match port.filter(|port| self.port.is_some() || port.exists()) {
            Some(port) => self.open_port(&port, waiting).await,
            None => self.spawn(),
        }
    }

    async fn open_port(&mut self, at: &Path, waiting: impl FnOnce(Refusal)) -> Result<Stream, Refusal> {
        let path = at.display().to_string();
        let failed = |what: &str, error: std::io::Error| absent(format!("{path}: {what}: {error}"));
        let port = match &self.port {
            Some(port) => port.clone(),
            None => {
                let port = Port::open(at)
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
    fn spawn(&mut self) -> Result<Stream, Refusal> {
        let Source { kind, engines, models, imported, learned, threads, .. } = &self.source;
        let what = kind.what();
        let Some((program, model)) = kind.program() else {
            return Err(absent(format!("the {what} tier has no worker")));
        };
        let (program, own) = (engines.join(program), models.join(model));
        let model = imported.as_ref().unwrap_or(&own);
        if !model.exists() {
            return Err(absent(format!(
                "there is no {what} model: {} is not there; put one in the image",
                model.display()
            )));
        }
        let summary = match kind {
            // The engine trusts the numbers in the file, so it only sees a file whose numbers hold.
            Kind::Text(_) => Some(
                aios_gguf::check(model)
                    .map_err(|e| Refusal { state: EngineState::Failed, why: e.to_string() })?,
            ),
            Kind::Embed => None,
        };
        let mut command = Command::new(&program);
        command
            .arg("--stdio")
            .arg("--model")
            .arg(model)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(summary) = &summary {
            let room = self.source.room(&model.display().to_string(), &summary.memory());
            if let Some(remembers) = room.map_err(absent)? {
                command.args(["--memory", remembers]);
            }
            let memory = std::env::temp_dir().join(format!("kernels-{what}.json"));
            let soon = self.started.replace(Instant::now()).is_some_and(|at| at.elapsed() < SHORT_LIFE);
            if soon {
                // It may be these kernels that it dies of: all are tried again.
                let _ = std::fs::remove_file(&memory);
            }
            command.arg("--remember").arg(memory);
            let tiny = models.join(TINY);
            if summary.bytes > LARGE && tiny.exists() {
                command.arg("--try-with").arg(tiny);
            }
        }
        // What one model learned makes nonsense of another.
        let is_kin = |summary: &Summary| aios_gguf::check(&own).is_ok_and(|own| summary.is_kin_of(&own));
        let fits = imported.is_none() || summary.as_ref().is_some_and(is_kin);
        let adapter = kind.adapter().filter(|_| fits);
        if !fits && let Some(name) = kind.adapter() {
            tracing::warn!(
                "{} works without {name}, which was learned for another model: tools and arguments are chosen less well",
                model.display()
            );
        }
        let adapter = learned.clone().or(adapter.map(|name| models.join(name)));
        let reader = kind.reader().map(|name| models.join(name));
        for (option, path) in [("--adapter", adapter), ("--reader", reader)] {
            if let Some(path) = path.filter(|path| path.exists()) {
                command.arg(option).arg(path);
            }
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

impl Source {
    /// Whether a model has room in memory; the word for how a worker that has less of it is to remember conversations.
    fn room(&self, name: &str, memory: &Memory) -> Result<Option<&'static str>, String> {
        let free = match self.free {
            Some(bytes) => Free { total: bytes, available: bytes },
            None => Free::now().map_err(|e| format!("/proc/meminfo: {e}"))?,
        };
        match memory.has_room(name, free) {
            Ok(()) => Ok(None),
            Err(_) if memory.small().has_room(name, free).is_ok() => Ok(Some("q8")),
            Err(why) => Err(why),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_with_little_room_remembers_in_8_bits_and_one_with_none_is_not_loaded() {
        let memory = Memory { weights: 600 << 20, cache: 100 << 20, work: 40 << 20 };
        let with = |mib: u64| {
            let source = Source {
                kind: Kind::Text(Tier::Tactical),
                socket: None,
                ports: PathBuf::new(),
                engines: PathBuf::new(),
                models: PathBuf::new(),
                imported: None,
                learned: None,
                threads: None,
                free: Some(mib << 20),
            };
            source.room("x.gguf", &memory)
        };
        assert_eq!(with(2000), Ok(None));
        assert_eq!(with(860), Ok(Some("q8")), "740 and the 160 of the machine itself would be needed");
        let why = with(500).expect_err("no room");
        assert!(
            why.starts_with("x.gguf needs about 740 MiB of memory and this machine has 340 MiB"),
            "{why}"
        );
    }
}
