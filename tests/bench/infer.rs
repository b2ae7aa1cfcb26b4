//! The engine worker against llama.cpp's own `llama-bench`: same model, same threads, same flags.

use crate::report::{Bar, Row, median};
use aios_abi::engine::{Decoder, EngineEvent, EngineRequest, Generate, Message, WorkerState, encode};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

const PROMPT_WORDS: usize = 480;
const GENERATED: u32 = 128;
const ROUNDS: u64 = 3;

struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    decoder: Decoder,
    pending: std::collections::VecDeque<EngineEvent>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn start(program: &Path, model: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["--stdio", "--threads", "1", "--model"])
            .arg(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let input = child.stdin.take().context("no stdin")?;
        let output = child.stdout.take().context("no stdout")?;
        let mut worker = Self { child, input, output, decoder: Decoder::default(), pending: Default::default() };
        worker.send(&EngineRequest::Hello { nonce: 1, version: aios_abi::frame::VERSION })?;
        loop {
            match worker.next()? {
                EngineEvent::Hello { state: WorkerState::Ready(_), .. } | EngineEvent::State(WorkerState::Ready(_)) => {
                    return Ok(worker);
                }
                EngineEvent::State(WorkerState::Failed(why)) => bail!("the worker cannot load the model: {why}"),
                _ => {}
            }
        }
    }

    fn send(&mut self, request: &EngineRequest) -> Result<()> {
        self.input.write_all(&encode(request)?)?;
        Ok(self.input.flush()?)
    }

    fn next(&mut self) -> Result<EngineEvent> {
        let mut buffer = [0; 65536];
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            let length = self.output.read(&mut buffer)?;
            anyhow::ensure!(length > 0, "the worker ended");
            let mut broken = None;
            self.decoder.feed(&buffer[..length], |frame| match frame {
                Ok(event) => self.pending.push_back(event),
                Err(e) => broken = Some(e),
            });
            if let Some(error) = broken {
                bail!("the worker sent a bad frame: {error}");
            }
        }
    }

    /// Prompt tokens a second and generated tokens a second of one request that shares nothing with
    /// an earlier one.
    fn measure(&mut self, round: u64) -> Result<(f64, f64)> {
        let words: Vec<String> =
            (0..PROMPT_WORDS).map(|n| format!("w{}", (n as u64).wrapping_mul(7919 + round * 104_729) % 997)).collect();
        let ask = |id, content: String, max_tokens| {
            EngineRequest::Generate(Generate {
                id,
                messages: vec![Message { role: "user".into(), content }],
                prefix: String::new(),
                grammar: None,
                max_tokens,
                temperature_milli: 0,
                seed: 0,
            })
        };
        let prompt = format!("{round} {}", words.join(" "));
        let start = Instant::now();
        self.send(&ask(round * 2, prompt, 1))?;
        let (read, _) = self.until_done()?;
        let pp = f64::from(read) / start.elapsed().as_secs_f64();

        let start = Instant::now();
        self.send(&ask(round * 2 + 1, format!("{round}: Tell a very long story about the sea and its ships."), GENERATED))?;
        let (_, first) = self.until_done()?;
        let (written, first_text) = first;
        let seconds = start.elapsed().as_secs_f64() - first_text.map_or(0.0, |t| (t - start).as_secs_f64());
        Ok((pp, f64::from(written.saturating_sub(1)) / seconds))
    }

    /// Prompt tokens that were read, tokens written and when the first came.
    fn until_done(&mut self) -> Result<(u32, (u32, Option<Instant>))> {
        let mut first = None;
        loop {
            match self.next()? {
                EngineEvent::Text { .. } => {
                    first.get_or_insert_with(Instant::now);
                }
                EngineEvent::Done { prompt_tokens, reused_tokens, generated_tokens, .. } => {
                    return Ok((prompt_tokens - reused_tokens, (generated_tokens, first)));
                }
                EngineEvent::Error { error, .. } => bail!("the worker failed: {error}"),
                _ => {}
            }
        }
    }
}

/// `infer.smol.pp` and `infer.smol.tg`.
pub(crate) fn measure(worker: &Path, llama_bench: &Path, model: &Path) -> Result<Vec<Row>> {
    let mut worker = Worker::start(worker, model)?;
    let (mut pp, mut tg, mut peer_pp, mut peer_tg) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let (prompt, generation) = worker.measure(round + 1)?;
        pp.push(prompt);
        tg.push(generation);
        let (prompt, generation) = peer(llama_bench, model)?;
        peer_pp.push(prompt);
        peer_tg.push(generation);
    }
    Ok(vec![
        Row::new(
            "infer.smol.pp",
            "prompt of about 1000 tokens, 1 thread",
            "tok/s",
            median(&mut pp),
            "llama-bench",
            median(&mut peer_pp),
            Bar::AtLeast(0.97),
        )?,
        Row::new(
            "infer.smol.tg",
            "generation of 128 tokens, 1 thread",
            "tok/s",
            median(&mut tg),
            "llama-bench",
            median(&mut peer_tg),
            Bar::AtLeast(0.97),
        )?,
    ])
}

fn peer(llama_bench: &Path, model: &Path) -> Result<(f64, f64)> {
    let output = Command::new(llama_bench)
        .args(["-p", "1024", "-n", "128", "-t", "1", "-r", "1", "-o", "json", "-m"])
        .arg(model)
        .stderr(Stdio::null())
        .output()
        .with_context(|| format!("{} cannot be started", llama_bench.display()))?;
    let tests: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).context("llama-bench printed no JSON")?;
    let speed = |field: &str| {
        tests
            .iter()
            .find(|t| t[field].as_u64().unwrap_or(0) > 0)
            .and_then(|t| t["avg_ts"].as_f64())
            .with_context(|| format!("llama-bench did not measure {field}"))
    };
    Ok((speed("n_prompt")?, speed("n_gen")?))
}
