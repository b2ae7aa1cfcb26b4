//! Learns to make calls of words, from questions and the calls that they mean.

#![forbid(unsafe_code)]

use aios_engine_candle::adapt::{Adapter, Base, Head, Lesson, Plan, Question, judge, train};
use aios_engine_candle::minilm::MiniLm;
use aios_engine_candle::vocabulary::Vocabulary;
use anyhow::{Context, Result, anyhow};
use candle_core::quantized::gguf_file::Content;
use clap::{Args, Parser, Subcommand};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Learn to make calls of words, from questions and the calls that they mean
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// An adapter for a text model, which names tools and writes their arguments
    Calls(Calls),
    /// A layer over a sentence encoder's vectors, which says which tool is meant
    Choice(Choice),
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

#[derive(Debug, Args)]
struct Calls {
    /// The model: a GGUF file
    #[arg(long)]
    model: PathBuf,
    #[command(flatten)]
    files: Files,
    /// Go on from this adapter
    #[arg(long)]
    from: Option<PathBuf>,
    /// How often each question is learned from
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Questions of one step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 8e-4)]
    rate: f64,
    /// Seed of the order and of the first matrices
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct Choice {
    /// The sentence encoder: a folder
    #[arg(long)]
    model: PathBuf,
    #[command(flatten)]
    files: Files,
}

fn main() -> Result<()> {
    match Options::parse().what {
        What::Calls(options) => calls(&options),
        What::Choice(options) => choice(&options),
    }
}

fn calls(options: &Calls) -> Result<()> {
    let mut file = File::open(&options.model).with_context(|| options.model.display().to_string())?;
    let content = Content::read(&mut file)?;
    let vocabulary = Vocabulary::of(&content).map_err(|e| anyhow!(e))?;
    let base = Base::read(&content, &mut file)?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let adapter = match &options.from {
        Some(from) => Adapter::read(&base, &mut File::open(from)?)?,
        None => Adapter::new(&base, &mut random)?,
    };
    let questions = read(&options.files.learn)?;
    let tools: BTreeSet<String> = questions.iter().filter_map(|question| question.tool.clone()).collect();
    let tools: Vec<String> = tools.into_iter().collect();
    let learned = lessons(&vocabulary, &questions)?;
    let plan = Plan { epochs: options.epochs, batch: options.batch, rate: options.rate, warm_up: 0.05 };
    let (began, out) = (Instant::now(), &options.files.out);
    let mut mean = 0.0;
    train(&base, &adapter, &learned, &plan, &mut random, &mut |step, steps, loss| {
        mean = if step == 1 { loss } else { 0.95 * mean + 0.05 * loss };
        if step % 10 == 0 || step == steps {
            let took = began.elapsed().as_secs_f64();
            let left = took / step as f64 * (steps - step) as f64;
            eprintln!("step {step} of {steps}: loss {mean:.4}, {took:.0} s, {left:.0} s left");
        }
        // Hours of work; what is there so far is kept.
        if step % 100 == 0
            && let Err(error) = write(&adapter, &tools, out)
        {
            eprintln!("the adapter cannot be written: {error:#}");
        }
    })?;
    write(&adapter, &tools, out)?;
    for path in &options.files.hold {
        let held = lessons(&vocabulary, &read(std::slice::from_ref(path))?)?;
        let outcome = judge(&base, &adapter, &held, 32)?;
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

fn choice(options: &Choice) -> Result<()> {
    let model = options.model.to_string_lossy().into_owned();
    let encoder = aios_engine::Options::parse_from(["adapt", "--model", &model]);
    let encoder = MiniLm::load(&encoder, Box::new(|_| {})).map_err(|e| anyhow!(e))?;
    let vectors = |questions: &[Question]| {
        let masked: Vec<String> = questions.iter().map(|question| aios_words::mask(&question.ask)).collect();
        encoder.vectors(&masked).map_err(|e| anyhow!(e))
    };
    let questions = read(&options.files.learn)?;
    eprintln!("{} questions are being embedded", questions.len());
    let tools: Vec<&str> = questions.iter().map(Question::name).collect();
    let head = Head::learn(vectors(&questions)?, &tools, &mut |step, loss| {
        if step % 50 == 0 {
            eprintln!("step {step}: loss {loss:.4}");
        }
    })?;
    head.write(&options.files.out)?;
    for path in &options.files.hold {
        let held = read(std::slice::from_ref(path))?;
        let likeliest = head.likeliest(vectors(&held)?)?;
        let right = likeliest.iter().zip(&held).filter(|(tool, question)| **tool == question.name()).count();
        let percent = 100.0 * right as f64 / held.len().max(1) as f64;
        println!("{}: {} questions, tool {percent:.1} %", path.display(), held.len());
    }
    Ok(())
}

fn read(paths: &[PathBuf]) -> Result<Vec<Question>> {
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        all.extend(Question::all(&text).map_err(|e| anyhow!("{}: {e}", path.display()))?);
    }
    Ok(all)
}

fn lessons(vocabulary: &Vocabulary, questions: &[Question]) -> Result<Vec<Lesson>> {
    let lessons = questions.iter().filter_map(|q| Lesson::of(vocabulary, q).transpose());
    lessons.collect::<Result<_, _>>().map_err(|e| anyhow!(e))
}

fn write(adapter: &Adapter, tools: &[String], path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    adapter.write("aiOS calls", tools, &mut File::create(&part)?)?;
    std::fs::rename(&part, path)?;
    Ok(())
}
