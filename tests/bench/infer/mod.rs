//! The engines beside their peers: single streams, four streams, a second question, a call under a grammar, a busy machine,
//! and a model of seven billion parameters.

mod daemon;
mod eval;
mod guest;
mod serving;
mod seven;
mod shared;
mod speed;
mod worker;

use crate::process::field;
use crate::report::{Bar, Row, median};
use anyhow::{Result, bail};
pub(crate) use shared::spin;
use speed::Plan;
use std::path::Path;
use worker::Worker;

/// Programs and models that are measured.
pub(crate) struct Peers<'a> {
    /// The text engine's worker, with the kernels that every machine has.
    pub(crate) worker: &'a Path,
    /// The worker that embeds sentences.
    pub(crate) embedder: &'a Path,
    pub(crate) inferd: &'a Path,
    pub(crate) gguf: &'a Path,
    /// The client of inferd for the command line.
    pub(crate) client: &'a Path,
    pub(crate) llama_bench: &'a Path,
    pub(crate) llama_server: &'a Path,
    /// The models of the image.
    pub(crate) models: &'a Path,
    /// Where what is written once is kept.
    pub(crate) cache: &'a Path,
}

/// What can be measured alone, in the order of the table.
pub(crate) const GROUPS: [&str; 8] =
    ["single", "gemma", "serving", "embed", "shared", "guest", "seven", "eval"];

/// The rows of these groups.
pub(crate) fn measure(peers: &Peers<'_>, groups: &[&str]) -> Result<Vec<Row>> {
    let text = peers.models.join("text.gguf");
    let mut rows = Vec::new();
    for group in groups {
        println!("bench: the engines, {group}");
        rows.extend(match *group {
            "single" => {
                let smol = Plan {
                    pp: "infer.smol.pp",
                    tg: "infer.smol.tg",
                    chats: true,
                    words: 80,
                    answer: 128,
                    rounds: 9,
                };
                speed::measure(peers, &text, &smol)?.rows
            }
            "gemma" => {
                let plan = Plan {
                    pp: "infer.gemma.pp",
                    tg: "infer.gemma.tg",
                    chats: false,
                    words: 80,
                    answer: 128,
                    rounds: 5,
                };
                speed::measure(peers, &crate::peer::gemma(peers.cache)?, &plan)?.rows
            }
            "serving" => serving::measure(peers, &text)?,
            "embed" => vec![embed(peers)?],
            "shared" => shared::measure(peers, &text)?,
            "guest" => guest::measure(peers, &text)?,
            "seven" => seven::measure(peers)?,
            "eval" => eval::measure(peers)?,
            other => bail!("there is no group {other}; name some of {}", GROUPS.join(", ")),
        });
    }
    Ok(rows)
}

/// As many threads as leave one core to everybody else: the same for both sides.
fn threads() -> String {
    std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1).to_string()
}

fn flags(threads: &str) -> String {
    format!("{threads} thread{}", if threads == "1" { "" } else { "s" })
}

/// What a process has of memory, by a line of proc_pid_status(5), in MiB.
fn memory(pid: u32, line: &str) -> Result<f64> {
    Ok(field(&format!("/proc/{pid}/status"), line)? / 1024.0)
}

/// `infer.embed`: sentences together, beside the same one by one.
fn embed(peers: &Peers<'_>) -> Result<Row> {
    const SENTENCES: u64 = 32;
    const ROUNDS: u64 = 5;
    let threads = threads();
    let mut worker = Worker::start(peers.embedder, &peers.models.join("embed"), &["--threads", &threads])?;
    let sentence =
        |n: u64| format!("the service web-{n} has been using {} percent of the memory since noon", n % 90);
    worker.embed(vec![sentence(0)])?;
    let (mut together, mut single) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let all: Vec<String> = (0..SENTENCES).map(|n| sentence(round * SENTENCES + n)).collect();
        together.push(SENTENCES as f64 / worker.embed(all.clone())?.as_secs_f64());
        let mut took = 0.0;
        for one in all {
            took += worker.embed(vec![one])?.as_secs_f64();
        }
        single.push(SENTENCES as f64 / took);
    }
    let what = format!("sentences of a dozen words, {SENTENCES} together, {}", flags(&threads));
    Row::new("infer.embed", what, "1/s", median(together), "one by one", median(single), Bar::None)
}
