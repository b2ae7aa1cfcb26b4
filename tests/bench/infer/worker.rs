//! A worker that is asked directly, as inferd does.

use crate::process::Running;
use aios_abi::engine::{EngineEvent, EngineRequest, Frames, Generate, Message, WorkerState, encode};
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Worker {
    process: Running,
    input: ChildStdin,
    events: Frames<ChildStdout, EngineEvent>,
    last: u64,
}

/// One request as the worker told of it.
pub(crate) struct Answered {
    /// Tokens of the prompt, and of these the ones that were computed.
    pub(crate) prompt: u32,
    pub(crate) computed: u32,
    pub(crate) generated: u32,
    /// From the request to the end.
    pub(crate) whole: Duration,
    /// From the request to the first piece of text, and from there to the end.
    pub(crate) first: Duration,
    pub(crate) after_first: Duration,
}

/// A conversation of these: role and words.
pub(crate) fn messages(all: &[(&str, &str)]) -> Vec<Message> {
    all.iter().map(|(role, content)| Message { role: (*role).into(), content: (*content).into() }).collect()
}

impl Worker {
    /// Start it with these arguments beside `--stdio` and the model's, and wait until it takes requests.
    pub(crate) fn start(program: &Path, model: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("--stdio").args(arguments).arg("--model").arg(model);
        let mut process = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let input = process.0.stdin.take().context("no stdin")?;
        let output = process.0.stdout.take().context("no stdout")?;
        let mut worker = Self { process, input, events: Frames::new(output), last: 0 };
        worker.send(&EngineRequest::Hello { nonce: 1, version: aios_abi::frame::VERSION })?;
        loop {
            match worker.next()? {
                EngineEvent::Hello { state: WorkerState::Ready(_), .. }
                | EngineEvent::State(WorkerState::Ready(_)) => {
                    return Ok(worker);
                }
                EngineEvent::State(WorkerState::Failed(why)) => {
                    bail!("the worker cannot load the model: {why}")
                }
                _ => {}
            }
        }
    }

    /// The most memory that it ever had in use, in MiB.
    pub(crate) fn peak(&self) -> Result<f64> {
        super::memory(self.process.id(), "VmHWM:")
    }

    fn send(&mut self, request: &EngineRequest) -> Result<()> {
        self.input.write_all(&encode(request)?)?;
        Ok(self.input.flush()?)
    }

    fn next(&mut self) -> Result<EngineEvent> {
        Ok(self.events.next().context("the worker ended")??)
    }

    fn begin(&mut self, request: Generate) -> Result<u64> {
        self.last += 1;
        let id = self.last;
        self.send(&EngineRequest::Generate(Generate { id, ..request }))?;
        Ok(id)
    }

    /// Ask for a text.
    pub(crate) fn ask(&mut self, request: Generate) -> Result<Answered> {
        let start = Instant::now();
        self.begin(request)?;
        let mut first = None;
        loop {
            match self.next()? {
                EngineEvent::Text { .. } => {
                    first.get_or_insert_with(Instant::now);
                }
                EngineEvent::Done { cost, .. } => {
                    let first = first.context("the worker wrote no text")?;
                    return Ok(Answered {
                        prompt: cost.prompt,
                        computed: cost.prompt - cost.reused,
                        generated: cost.generated,
                        whole: start.elapsed(),
                        first: first - start,
                        after_first: first.elapsed(),
                    });
                }
                EngineEvent::Error { error, .. } => bail!("the worker failed: {error}"),
                _ => {}
            }
        }
    }

    /// Ask for several texts together: tokens written, all together, and how long it took.
    pub(crate) fn ask_together(&mut self, requests: Vec<Generate>) -> Result<(u32, Duration)> {
        let start = Instant::now();
        let mut open = requests.len();
        for request in requests {
            self.begin(request)?;
        }
        let mut generated = 0;
        while open > 0 {
            match self.next()? {
                EngineEvent::Done { cost, .. } => {
                    generated += cost.generated;
                    open -= 1;
                }
                EngineEvent::Error { error, .. } => bail!("the worker failed: {error}"),
                _ => {}
            }
        }
        Ok((generated, start.elapsed()))
    }

    /// Embed sentences.
    pub(crate) fn embed(&mut self, texts: Vec<String>) -> Result<Duration> {
        self.last += 1;
        let start = Instant::now();
        self.send(&EngineRequest::Embed { id: self.last, texts, adapted: false })?;
        loop {
            match self.next()? {
                EngineEvent::Embeddings { .. } => return Ok(start.elapsed()),
                EngineEvent::Error { error, .. } => bail!("the worker failed: {error}"),
                _ => {}
            }
        }
    }
}
