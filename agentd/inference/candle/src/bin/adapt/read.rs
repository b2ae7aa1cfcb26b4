//! `aios-adapt read`: an adapter for a sentence encoder, and pointers from arguments to words of a question.

use aios_engine_candle::adapt::read::{self, Exercise, Missed, Readings, Score, Tools};
use aios_engine_candle::adapt::{Progress, Question};
use aios_engine_candle::encoder::{Encoder, Files, Reader};
use aios_words::schema::Arguments;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The sentence encoder: a folder
    #[arg(long)]
    model: PathBuf,
    /// The tools: one JSON object a line, with `name` and the JSON Schema of its arguments as `args_schema`
    #[arg(long)]
    tools: PathBuf,
    #[command(flatten)]
    files: crate::Files,
    /// Go on from this file
    #[arg(long)]
    from: Option<PathBuf>,
    /// Rows of the adapter's thin matrices
    #[arg(long, default_value_t = 32)]
    rank: usize,
    /// How often each question is learned from
    #[arg(long, default_value_t = 6)]
    epochs: usize,
    /// Questions of one step
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    /// Seed of the order and the first matrices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Say which held-back questions were not read as they should be
    #[arg(long)]
    missed: bool,
}

/// A tool of the file.
#[derive(Deserialize)]
struct Tool {
    name: String,
    args_schema: String,
}

fn tools(path: &Path) -> Result<Tools> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let tool = |line: &str| {
        let Tool { name, args_schema } = serde_json::from_str(line)?;
        let arguments = Arguments::parse(&args_schema).map_err(|e| anyhow!("{name}: {e}"))?;
        Ok((name, arguments))
    };
    text.lines().map(tool).collect()
}

pub(super) fn learn(options: &Options) -> Result<()> {
    let files = Files::read(&options.model, &|_| {}).map_err(|e| anyhow!(e))?;
    let encoder = Encoder::of(&files.config, &files.tensors)?;
    let tokenizer = &files.tokenizer;
    let tools = tools(&options.tools)?;
    let questions = crate::questions(&options.files.learn)?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let start = match &options.from {
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            let read = Reader::read(&encoder, &bytes).map_err(|e| anyhow!("{}: {e}", path.display()))?;
            read.1.learning()?
        }
        None => Reader::new(&encoder, options.rank, read::implied(&questions, &tools), &mut random)?,
    };
    let exercise = |question| Exercise::of(tokenizer, question, &tools, &start.implied).transpose();
    let exercises: Vec<Exercise> =
        questions.iter().filter_map(exercise).collect::<Result<_, _>>().map_err(|e| anyhow!(e))?;
    let tokens: usize = exercises.iter().map(Exercise::tokens).sum();
    eprintln!("{} exercises of {tokens} tokens; implied: {:?}", exercises.len(), start.implied);
    let held: Vec<Vec<Question>> = options
        .files
        .hold
        .iter()
        .map(|path| crate::questions(std::slice::from_ref(path)))
        .collect::<Result<_>>()?;
    let how = Readings { epochs: options.epochs, batch: options.batch, rate: options.rate };
    let (began, out) = (Instant::now(), &options.files.out);
    let mut mean = 0.0;
    let learned = read::learn(&encoder, &start, &exercises, &how, &mut random, &mut |progress| {
        let Progress { step, steps, loss, learned: now } = progress;
        mean = if step == 1 { loss } else { 0.98 * mean + 0.02 * loss };
        if step % 20 == 0 || step == steps {
            crate::tell(began, step, steps, mean);
        }
        if let Some(now) = now {
            if let Some(held) = held.first() {
                let score = read::measure(&encoder, tokenizer, now, held, &tools, &mut |_| {})?;
                eprintln!("{}", told(&score));
            }
            read::write(now, &encoder, &tools, out)?;
        }
        Ok(())
    })?;
    read::write(&learned, &encoder, &tools, out)?;
    for (path, held) in options.files.hold.iter().zip(&held) {
        let score = read::measure(
            &encoder,
            tokenizer,
            &learned,
            held,
            &tools,
            &mut |Missed { question, args, sure }| {
                if options.missed {
                    let (wanted, got) = (serde_json::json!(question.args), serde_json::json!(args));
                    println!("{} | {} | {wanted} | {got} | {sure:.2}", question.name(), question.ask);
                }
            },
        )?;
        println!("{}: {}", path.display(), told(&score));
        for (n, (all, right)) in score.tenths.iter().enumerate() {
            println!("  probability from {:.1}: {right} of {all} right", n as f64 / 10.0);
        }
    }
    Ok(())
}

fn told(score: &Score) -> String {
    let percent = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
    format!(
        "{} questions, all arguments {:.1} %, of {} blanks {:.1} %",
        score.count,
        percent(score.whole, score.count),
        score.blanks.0,
        percent(score.blanks.1, score.blanks.0)
    )
}
