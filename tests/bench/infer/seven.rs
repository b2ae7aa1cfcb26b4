//! A model of seven billion parameters: its speed, what it takes of the memory's bandwidth, and of the memory.
//!
//! No trained one can be had from a package registry, so one is written that has everything but words: real size, real types,
//! random weights.

use super::Peers;
use super::speed::{Plan, measure as speed};
use crate::report::{Bar, Row};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Bytes of its table of tokens, of which one row is read for a token: 49,152 rows of 4096 weights, 256 weights in 144 bytes.
const TABLE: u64 = 49_152 * 4096 / 256 * 144;
/// Bytes that are read to measure the memory: far more than any cache holds.
const READ: usize = 1 << 30;
const PASSES: usize = 6;
/// Places at which each thread reads by turns, a block at each: the processor fetches ahead at all of them, which one alone does
/// not use up.
const STREAMS: usize = 8;
const BLOCK: usize = 512;

/// `infer.7b.pp`, `infer.7b.tg`, `infer.7b.bandwidth` and `infer.7b.memory`.
pub(crate) fn measure(peers: &Peers<'_>) -> Result<Vec<Row>> {
    let model = model(peers)?;
    let bytes = std::fs::metadata(&model)?.len();
    let plan = Plan { pp: "infer.7b.pp", tg: "infer.7b.tg", chats: true, words: 24, answer: 12, rounds: 3 };
    let before = bandwidth()?;
    let mut found = speed(peers, &model, &plan)?;
    // The better of two: nobody else was in the way then.
    let bandwidth = before.max(bandwidth()?);
    let share = |tokens: f64| 100.0 * tokens * (bytes - TABLE) as f64 / bandwidth;
    let what =
        format!("of the {:.1} GB/s that {} can read", bandwidth / 1e9, super::flags(&super::threads()));
    let (ours, theirs) = (share(found.generation.0), share(found.generation.1));
    found.rows.push(Row::new(
        "infer.7b.bandwidth",
        what,
        "%",
        ours,
        "llama-bench",
        theirs,
        Bar::AtLeast(1.0),
    )?);
    let file = bytes as f64 / f64::from(1 << 20);
    let what = "the most memory that the worker had";
    found.rows.push(Row::new("infer.7b.memory", what, "MiB", found.peak, "the file", file, Bar::None)?);
    Ok(found.rows)
}

/// The model, which is written once.
fn model(peers: &Peers<'_>) -> Result<PathBuf> {
    let path = peers.cache.join("7b-shaped.gguf");
    if !path.exists() {
        println!("writing a model of seven billion parameters (once, 4.1 GB)");
        let written = Command::new(peers.gguf)
            .args(["shape", "7b", "--vocabulary"])
            .arg(peers.models.join("text.gguf"))
            .arg(&path)
            .status()
            .with_context(|| format!("{} cannot be started", peers.gguf.display()))?;
        ensure!(written.success(), "{} was not written", path.display());
    }
    Ok(path)
}

/// Bytes a second that as many threads as the worker has read from memory.
fn bandwidth() -> Result<f64> {
    let threads: usize = super::threads().parse()?;
    let bytes = vec![1_u8; READ];
    let part = bytes.len().div_ceil(threads);
    let mut best = 0.0_f64;
    for _ in 0..PASSES {
        let start = Instant::now();
        // A search for what is not there reads everything, as fast as the processor's widest instructions can.
        let found = std::thread::scope(|scope| {
            let search = |part: &'_ [u8]| {
                let streams: Vec<_> = part.chunks(part.len().div_ceil(STREAMS)).collect();
                let blocks = streams.iter().map(|stream| stream.len().div_ceil(BLOCK)).max().unwrap_or(0);
                let block =
                    |stream: &[u8], n: usize| stream.chunks(BLOCK).nth(n).and_then(|b| memchr::memchr(0, b));
                (0..blocks).find_map(|n| streams.iter().find_map(|stream| block(stream, n)))
            };
            let search = |part| scope.spawn(move || search(part));
            let parts: Vec<_> = bytes.chunks(part).map(search).collect();
            parts.into_iter().filter_map(|part| part.join().ok().flatten()).count()
        });
        ensure!(found == 0, "a byte was found that is not there");
        best = best.max(READ as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
}
