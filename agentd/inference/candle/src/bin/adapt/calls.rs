//! `aios-adapt calls`: an adapter for a text model.

use aios_engine_candle::adapt::{Adapter, Base, Lesson, Plan, Question, judge, train};
use aios_engine_candle::vocabulary::Vocabulary;
use anyhow::{Context, Result, anyhow};
use candle_core::quantized::gguf_file::Content;
use clap::Args;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The model: a GGUF file
    #[arg(long)]
    model: PathBuf,
    #[command(flatten)]
    files: crate::Files,
    /// Files of questions of which only the tool is learned, in half the time
    #[arg(long, num_args = 1..)]
    names: Vec<PathBuf>,
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

pub(super) fn learn(options: &Options) -> Result<()> {
    let mut file = File::open(&options.model).with_context(|| options.model.display().to_string())?;
    let content = Content::read(&mut file)?;
    let vocabulary = Vocabulary::of(&content).map_err(|e| anyhow!(e))?;
    let base = Base::read(&content, &mut file)?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let adapter = match &options.from {
        Some(from) => Adapter::read(&base, &mut File::open(from)?)?,
        None => Adapter::new(&base, &mut random)?,
    };
    let (questions, named) = (crate::questions(&options.files.learn)?, crate::questions(&options.names)?);
    let tools = questions.iter().chain(&named).filter_map(|question| question.tool.clone());
    let tools: Vec<String> = tools.collect::<BTreeSet<_>>().into_iter().collect();
    let mut learned = lessons(&vocabulary, &questions, true)?;
    learned.extend(lessons(&vocabulary, &named, false)?);
    let plan = Plan { epochs: options.epochs, batch: options.batch, rate: options.rate, warm_up: 0.05 };
    let (began, out) = (Instant::now(), &options.files.out);
    let mut mean = 0.0;
    train(&base, &adapter, &learned, &plan, &mut random, &mut |step, steps, loss| {
        mean = if step == 1 { loss } else { 0.95 * mean + 0.05 * loss };
        if step % 10 == 0 || step == steps {
            crate::tell(began, step, steps, mean);
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
        let held = lessons(&vocabulary, &crate::questions(std::slice::from_ref(path))?, true)?;
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

fn lessons(vocabulary: &Vocabulary, questions: &[Question], whole: bool) -> Result<Vec<Lesson>> {
    let lessons = questions.iter().filter_map(|question| Lesson::of(vocabulary, question, whole).transpose());
    lessons.collect::<Result<_, _>>().map_err(|e| anyhow!(e))
}

fn write(adapter: &Adapter, tools: &[String], path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    adapter.write("aiOS calls", tools, &mut File::create(&part)?)?;
    std::fs::rename(&part, path)?;
    Ok(())
}
