//! Learns to make calls of words, from questions and the calls that they mean.

#![forbid(unsafe_code)]

mod approved;
mod calls;
mod choice;
mod mean;
mod read;

use aios_engine_candle::adapt::Question;
use anyhow::{Context, Result, anyhow};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Learn to make calls of words, from questions and the calls that they mean
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// More of the layer and the adapter of `choice`, from calls that people of a machine approved
    Approved(approved::Options),
    /// An adapter for a text model, which names tools and writes their arguments
    Calls(calls::Options),
    /// An adapter for a sentence encoder, and a layer over its vectors, which says which tool is meant
    Choice(choice::Options),
    /// What lies between two files of `choice`, one learned from the other
    Mean(mean::Options),
    /// An adapter for a sentence encoder, and pointers from a tool's arguments to the words of a question
    Read(read::Options),
}

#[derive(Debug, Args)]
struct Files {
    /// Files of questions to learn from, one JSON object a line
    #[arg(long, num_args = 1..)]
    learn: Vec<PathBuf>,
    /// Files of questions that measure what was learned
    #[arg(long, num_args = 1..)]
    hold: Vec<PathBuf>,
    /// Write what was learned here
    #[arg(long)]
    out: PathBuf,
}

fn main() -> Result<()> {
    match Options::parse().what {
        What::Approved(options) => approved::learn(&options),
        What::Calls(options) => calls::learn(&options),
        What::Choice(options) => choice::learn(&options),
        What::Mean(options) => mean::write(&options),
        What::Read(options) => read::learn(&options),
    }
}

fn questions(paths: &[PathBuf]) -> Result<Vec<Question>> {
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        all.extend(Question::all(&text).map_err(|e| anyhow!("{}: {e}", path.display()))?);
    }
    Ok(all)
}

/// How far it is, after this step of so many.
fn tell(began: Instant, step: usize, steps: usize, loss: f64) {
    let took = began.elapsed();
    let left = took.div_f64(step as f64).mul_f64((steps - step) as f64);
    let seconds = |time: Duration| time.as_secs();
    eprintln!("step {step} of {steps}: loss {loss:.4}, {} s, {} s left", seconds(took), seconds(left));
}
