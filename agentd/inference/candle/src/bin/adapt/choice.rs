//! `aios-adapt choice`: an adapter for a sentence encoder, and a layer over its vectors.

use aios_engine_candle::adapt::{self, Course, Head, Learned, Progress, Question, Score};
use aios_engine_candle::encoder::{Adapter, Encoder, Files};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Questions that show what any question is like.
const ANY: usize = 256;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The sentence encoder: a folder
    #[arg(long)]
    model: PathBuf,
    #[command(flatten)]
    files: crate::Files,
    /// Go on from this file
    #[arg(long)]
    from: Option<PathBuf>,
    /// Rows of the adapter's thin matrices
    #[arg(long, default_value_t = 32)]
    rank: usize,
    /// How often each question is learned from
    #[arg(long, default_value_t = 8)]
    epochs: usize,
    /// Questions of one step
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Highest learning rate of the adapter
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    /// Seed of the order, the noise and the first matrices
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn learn(options: &Options) -> Result<()> {
    let files = Files::read(&options.model, &|_| {}).map_err(|e| anyhow!(e))?;
    let encoder = Encoder::of(&files.config, &files.tensors)?;
    let tokenizer = &files.tokenizer;
    let masked = |questions: &[Question]| -> Vec<String> {
        questions.iter().map(|question| aios_words::mask(&question.ask)).collect()
    };
    let questions = crate::questions(&options.files.learn)?;
    let texts = masked(&questions);
    let mut random = fastrand::Rng::with_seed(options.seed);
    let start = match &options.from {
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            let known = Adapter::read(&encoder, &bytes).map_err(|e| anyhow!("{}: {e}", path.display()))?;
            let adapter = match known {
                Some((_, adapter)) => adapter.learning()?,
                None => Adapter::new(&encoder, options.rank, &mut random)?,
            };
            let head = Head::read(&bytes)?;
            let mut more: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (question, text) in questions.iter().zip(&texts) {
                if head.place(question.name()).is_none() {
                    more.entry(question.name()).or_default().push(text.clone());
                }
            }
            let more: Vec<(&str, Vec<Vec<f32>>)> = more
                .into_iter()
                .map(|(name, texts)| Ok((name, adapt::vectors(&encoder, tokenizer, &adapter, &texts)?)))
                .collect::<candle_core::Result<_>>()?;
            let any: Vec<String> = texts.iter().step_by(texts.len() / ANY + 1).cloned().collect();
            let any = adapt::vectors(&encoder, tokenizer, &adapter, &any)?;
            Learned { adapter, head: head.with_more(&more, &any)? }
        }
        None => {
            let adapter = Adapter::new(&encoder, options.rank, &mut random)?;
            eprintln!("{} questions are being embedded", questions.len());
            let vectors = adapt::vectors(&encoder, tokenizer, &adapter, &texts)?;
            let tools: Vec<&str> = questions.iter().map(Question::name).collect();
            let head = Head::learn(vectors, &tools, &mut |step, loss| {
                if step % 50 == 0 {
                    eprintln!("step {step}: loss {loss:.4}");
                }
            })?;
            Learned { adapter, head }
        }
    };
    let held = |path: &PathBuf| {
        let questions = crate::questions(std::slice::from_ref(path))?;
        let places = questions.iter().map(|question| start.head.place(question.name()));
        Ok::<Vec<_>, anyhow::Error>(masked(&questions).into_iter().zip(places).collect())
    };
    let held = options.files.hold.iter().map(held).collect::<Result<Vec<_>>>()?;
    let lesson = |(text, question): (String, &Question)| Some((text, start.head.place(question.name())?));
    let lessons: Vec<(String, u32)> = texts.into_iter().zip(&questions).filter_map(lesson).collect();
    let (epochs, batch, rate) = (options.epochs, options.batch, options.rate);
    let course = Course { epochs, batch, rate, ..Course::default() };
    let (began, out) = (Instant::now(), &options.files.out);
    let mut mean = 0.0;
    let learned =
        adapt::learn(&encoder, tokenizer, &start, &lessons, &course, &mut random, &mut |progress| {
            let Progress { step, steps, loss, learned: now } = progress;
            mean = if step == 1 { loss } else { 0.98 * mean + 0.02 * loss };
            if step % 50 == 0 || step == steps {
                crate::tell(began, step, steps, mean);
            }
            if let Some(now) = now {
                if let Some(held) = held.first() {
                    eprintln!("{}", told(&adapt::measure(&encoder, tokenizer, now, held)?));
                }
                now.write(&encoder, out)?;
            }
            Ok(())
        })?;
    let learned = match held.first() {
        Some(held) => adapt::calibrate(&encoder, tokenizer, learned, held)?,
        None => learned,
    };
    learned.write(&encoder, out)?;
    for (path, held) in options.files.hold.iter().zip(&held) {
        let score = adapt::measure(&encoder, tokenizer, &learned, held)?;
        println!("{}: {}", path.display(), told(&score));
        for (n, (all, right)) in score.tenths.iter().enumerate() {
            println!("  probability from {:.1}: {right} of {all} right", n as f64 / 10.0);
        }
    }
    Ok(())
}

fn told(score: &Score) -> String {
    let percent = |part: usize| 100.0 * part as f64 / score.count.max(1) as f64;
    format!(
        "{} questions, tool {:.1} %, among the first eight {:.1} %, loss {:.4}",
        score.count,
        percent(score.first),
        percent(score.eighth),
        score.loss
    )
}
