//! The engine worker against llama.cpp's own `llama-bench`: same model, same threads, same flags, and
//! in each round exactly as many tokens, at the same depth of the context.
//!
//! The worker's time holds all that a request costs there: frames, chat template, tokens to text and
//! sampling; `llama-bench` only computes.

use crate::report::{Bar, Row, median};
use aios_abi::engine::{EngineEvent, EngineRequest, Frames, Generate, Message, WorkerState, encode};
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const PROMPT_WORDS: u64 = 80;
const GENERATED: u32 = 128;
const ROUNDS: u64 = 9;

struct Worker {
    child: Child,
    input: ChildStdin,
    events: Frames<ChildStdout, EngineEvent>,
}

/// One request as the worker told of it.
struct Answered {
    /// Tokens of the prompt, and of these the ones that were computed.
    prompt: u32,
    computed: u32,
    generated: u32,
    /// From the request to the end.
    whole: Duration,
    /// From the first piece of text to the end.
    after_first: Duration,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn start(program: &Path, model: &Path, threads: &str) -> Result<Self> {
        let mut child = Command::new(program)
            // With the kernels that the peer was built with.
            .args(["--stdio", "--kernels", "base", "--threads", threads, "--model"])
            .arg(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let input = child.stdin.take().context("no stdin")?;
        let output = child.stdout.take().context("no stdout")?;
        let mut worker = Self { child, input, events: Frames::new(output) };
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

    fn send(&mut self, request: &EngineRequest) -> Result<()> {
        self.input.write_all(&encode(request)?)?;
        Ok(self.input.flush()?)
    }

    fn next(&mut self) -> Result<EngineEvent> {
        Ok(self.events.next().context("the worker ended")??)
    }

    fn ask(&mut self, id: u64, content: String, max_tokens: u32) -> Result<Answered> {
        let messages = vec![Message { role: "user".into(), content }];
        let start = Instant::now();
        self.send(&EngineRequest::Generate(Generate { id, messages, max_tokens, ..Generate::default() }))?;
        let mut first = None;
        loop {
            match self.next()? {
                EngineEvent::Text { .. } => {
                    first.get_or_insert_with(Instant::now);
                }
                EngineEvent::Done { cost, .. } => {
                    return Ok(Answered {
                        prompt: cost.prompt,
                        computed: cost.prompt - cost.reused,
                        generated: cost.generated,
                        whole: start.elapsed(),
                        after_first: first.context("the worker wrote no text")?.elapsed(),
                    });
                }
                EngineEvent::Error { error, .. } => bail!("the worker failed: {error}"),
                _ => {}
            }
        }
    }
}

/// `infer.smol.pp` and `infer.smol.tg`.
pub(crate) fn measure(worker: &Path, llama_bench: &Path, model: &Path) -> Result<Vec<Row>> {
    // As many as the worker takes by itself: one core stays free for everybody else.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1);
    let threads = threads.to_string();
    let mut worker = Worker::start(worker, model, &threads)?;
    // llama-bench warms up by itself.
    worker.ask(0, prompt(0), 2)?;
    let (mut pp, mut tg, mut peer_pp, mut peer_tg) = (vec![], vec![], vec![], vec![]);
    let (mut asked, mut written) = (0, 0);
    for round in 1..=ROUNDS {
        let read = worker.ask(round * 2, prompt(round), 1)?;
        asked = read.computed;
        pp.push(f64::from(read.computed) / read.whole.as_secs_f64());
        peer_pp.push(peer(llama_bench, model, &threads, ["-p", &read.computed.to_string(), "-n", "0"])?);

        let question = format!("{round}: Tell a very long story about the sea and its ships.");
        let told = worker.ask(round * 2 + 1, question, GENERATED)?;
        written = told.generated;
        // The first token comes with the prompt; each other one is a step of its own.
        let steps = told.generated.saturating_sub(1);
        tg.push(f64::from(steps) / told.after_first.as_secs_f64());
        let (steps, depth) = (steps.to_string(), told.prompt.to_string());
        peer_tg.push(peer(llama_bench, model, &threads, ["-p", "0", "-n", &steps, "-d", &depth])?);
    }
    let flags = format!("{threads} thread{}", if threads == "1" { "" } else { "s" });
    let row = |id, what, ours, peers| {
        Row::new(id, what, "tok/s", median(ours), "llama-bench", median(peers), Bar::AtLeast(0.97))
    };
    Ok(vec![
        row("infer.smol.pp", format!("prompt of {asked} tokens, {flags}"), pp, peer_pp)?,
        row("infer.smol.tg", format!("answer of {written} tokens, {flags}"), tg, peer_tg)?,
    ])
}

/// A prompt that shares nothing with another round's, so that none of it is known already.
fn prompt(round: u64) -> String {
    let words = (0..PROMPT_WORDS).map(|n| format!("w{}", n.wrapping_mul(7919 + round * 104_729) % 997));
    format!("{round} {}", words.collect::<Vec<_>>().join(" "))
}

/// Tokens a second of one test of llama-bench.
fn peer<const N: usize>(program: &Path, model: &Path, threads: &str, test: [&str; N]) -> Result<f64> {
    let output = Command::new(program)
        .args(["-t", threads, "-r", "1", "-o", "json", "-m"])
        .arg(model)
        .args(test)
        .stderr(Stdio::null())
        .output()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let tests: Vec<serde_json::Value> =
        serde_json::from_slice(&output.stdout).context("llama-bench printed no JSON")?;
    let speed = tests.first().and_then(|test| test["avg_ts"].as_f64());
    speed.with_context(|| format!("llama-bench did not measure {}", test.join(" ")))
}
