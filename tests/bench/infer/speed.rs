//! Prompt and generation beside llama.cpp's own `llama-bench`: same model, same threads, same flags, and in each round
//! exactly as many tokens, at the same depth of the context.
//!
//! The worker's time holds all that a request costs there: frames, chat template, tokens to text and sampling;
//! `llama-bench` only computes.

use super::Peers;
use super::worker::{Worker, messages};
use crate::report::{Bar, Row, median};
use aios_abi::engine::Generate;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};

/// What is measured with one model.
pub(crate) struct Plan {
    pub(crate) pp: &'static str,
    pub(crate) tg: &'static str,
    /// It has a chat template; one that has none goes on with the text.
    pub(crate) chats: bool,
    /// Words of the prompt; each is about two tokens.
    pub(crate) words: u64,
    /// Tokens of the answer.
    pub(crate) answer: u32,
    pub(crate) rounds: u64,
}

/// What was found.
pub(crate) struct Speed {
    pub(crate) rows: Vec<Row>,
    /// Tokens a second that were written, ours and llama-bench's.
    pub(crate) generation: (f64, f64),
    /// The most memory that the worker had in use, in MiB.
    pub(crate) peak: f64,
}

/// Measure one model.
pub(crate) fn measure(peers: &Peers<'_>, model: &Path, plan: &Plan) -> Result<Speed> {
    let threads = super::threads();
    // With the kernels that the peer was built with.
    let mut worker = Worker::start(peers.worker, model, &["--kernels", "base", "--threads", &threads])?;
    // llama-bench warms up by itself.
    worker.ask(plan.asking(&prompt(0, plan.words), 2))?;
    let (mut pp, mut tg, mut peer_pp, mut peer_tg) = (vec![], vec![], vec![], vec![]);
    let (mut asked, mut written) = (0, 0);
    for round in 1..=plan.rounds {
        let read = worker.ask(plan.asking(&prompt(round, plan.words), 1))?;
        asked = read.computed;
        pp.push(f64::from(read.computed) / read.whole.as_secs_f64());
        peer_pp.push(peer(
            peers.llama_bench,
            model,
            &threads,
            ["-p", &read.computed.to_string(), "-n", "0"],
        )?);

        let question = format!("{round}: Tell a very long story about the sea and its ships.");
        let told = worker.ask(plan.asking(&question, plan.answer))?;
        written = told.generated;
        // The first token comes with the prompt; each other one is a step of its own.
        let steps = told.generated.saturating_sub(1);
        tg.push(f64::from(steps) / told.after_first.as_secs_f64());
        let (steps, depth) = (steps.to_string(), told.prompt.to_string());
        peer_tg.push(peer(peers.llama_bench, model, &threads, ["-p", "0", "-n", &steps, "-d", &depth])?);
    }
    let flags = super::flags(&threads);
    let row =
        |id, what, ours, peers| Row::new(id, what, "tok/s", ours, "llama-bench", peers, Bar::AtLeast(0.97));
    let generation = (median(tg), median(peer_tg));
    Ok(Speed {
        rows: vec![
            row(plan.pp, format!("prompt of {asked} tokens, {flags}"), median(pp), median(peer_pp))?,
            row(plan.tg, format!("answer of {written} tokens, {flags}"), generation.0, generation.1)?,
        ],
        generation,
        peak: worker.peak()?,
    })
}

impl Plan {
    fn asking(&self, question: &str, max_tokens: u32) -> Generate {
        match self.chats {
            true => Generate { messages: messages(&[("user", question)]), max_tokens, ..Generate::default() },
            false => Generate { prefix: question.into(), max_tokens, ..Generate::default() },
        }
    }
}

/// A prompt that shares nothing with another round's, so that none of it is known already.
pub(crate) fn prompt(round: u64, words: u64) -> String {
    let words = (0..words).map(|n| format!("w{}", n.wrapping_mul(7919 + round * 104_729) % 997));
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
