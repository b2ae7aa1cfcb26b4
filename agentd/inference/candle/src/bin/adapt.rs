//! Learns an adapter for a small text model from questions and the calls that they mean.

#![forbid(unsafe_code)]

use aios_engine_candle::adapt::{Adapter, Base, Lessons, Plan, judge, train};
use aios_engine_candle::vocabulary::Vocabulary;
use anyhow::{Context, Result, anyhow};
use candle_core::quantized::gguf_file::Content;
use clap::Parser;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Learn an adapter from questions and the calls that they mean
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The model: a GGUF file
    #[arg(long)]
    model: PathBuf,
    /// Files of questions to learn from, one JSON object a line
    #[arg(long, num_args = 1..)]
    learn: Vec<PathBuf>,
    /// Files of questions that measure what was learned
    #[arg(long, num_args = 1..)]
    hold: Vec<PathBuf>,
    /// Go on from this adapter
    #[arg(long)]
    from: Option<PathBuf>,
    /// Write the adapter here, also every hundred steps
    #[arg(long)]
    out: PathBuf,
    /// How often each question is learned from
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Questions of one step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    /// Seed of the order and of the first matrices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after so many steps
    #[arg(long)]
    steps: Option<usize>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut file = File::open(&options.model).with_context(|| options.model.display().to_string())?;
    let content = Content::read(&mut file)?;
    let vocabulary = Vocabulary::of(&content).map_err(|e| anyhow!(e))?;
    let base = Base::read(&content, &mut file)?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let adapter = match &options.from {
        Some(from) => Adapter::read(&base, &mut File::open(from)?)?,
        None => Adapter::new(&base, &mut random)?,
    };
    let lessons = read(&vocabulary, &options.learn)?;
    let tools: Vec<String> = lessons.tools.into_iter().collect();
    let lessons = lessons.all;
    let plan = Plan { epochs: options.epochs, batch: options.batch, rate: options.rate, warm_up: 0.05 };
    let began = Instant::now();
    let mut mean = 0.0;
    train(&base, &adapter, &lessons, &plan, &mut random, &mut |step, steps, loss| {
        mean = if step == 1 { loss } else { 0.95 * mean + 0.05 * loss };
        if step % 10 == 0 || step == steps {
            let took = began.elapsed().as_secs_f64();
            let left = took / step as f64 * (steps - step) as f64;
            eprintln!("step {step} of {steps}: loss {mean:.4}, {took:.0} s, {left:.0} s left");
        }
        if step % 100 == 0 {
            if let Err(error) = write(&adapter, &tools, &options.out) {
                eprintln!("the adapter cannot be written: {error:#}");
            }
        }
    })?;
    write(&adapter, &tools, &options.out)?;
    for path in &options.hold {
        let held = read(&vocabulary, std::slice::from_ref(path))?;
        let outcome = judge(&base, &adapter, &held.all, 32)?;
        let percent = |part: usize| 100.0 * part as f64 / outcome.count.max(1) as f64;
        println!(
            "{}: {} questions, tool {:.1} %, whole {:.1} %, loss {:.4}",
            path.display(),
            outcome.count,
            percent(outcome.tools),
            percent(outcome.whole),
            outcome.loss
        );
    }
    Ok(())
}

fn read(vocabulary: &Vocabulary, paths: &[PathBuf]) -> Result<Lessons> {
    let mut lessons = Lessons::default();
    for path in paths {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        lessons.add(vocabulary, &text).map_err(|e| anyhow!("{}: {e}", path.display()))?;
    }
    Ok(lessons)
}

fn write(adapter: &Adapter, tools: &[String], path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    adapter.write("aiOS calls", tools, &mut File::create(&part)?)?;
    std::fs::rename(&part, path)?;
    Ok(())
}
