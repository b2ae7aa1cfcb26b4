//! `aios-adapt approved`: a machine learns how its own people ask, beside what its image has learned.
//!
//! inferd starts it. What it says are JSON objects, one a line: how far it is, and at the end what came of it.

use aios_abi::infer::{Learning, Lesson};
use aios_engine_candle::adapt::{self, Course, Learned, Progress, Question, Score};
use aios_engine_candle::encoder::{Encoder, Files};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

/// Of so many approved calls one is held back.
const HELD: usize = 4;
/// How often an approved call is taken in an epoch.
const TIMES: usize = 2;
/// Questions of the image that are learned again for each approved call, and in any case, so that they are not forgotten.
const AGAIN: usize = 4;
const LEAST_AGAIN: usize = 1024;
/// Questions of the image that show what any question is like.
const ANY: usize = 256;
/// Questions of the image that measure what must not be forgotten.
const OLD: usize = 200;
const EPOCHS: usize = 3;
/// A fifth of what the image was learned with: with more of it questions of the image are forgotten.
const RATE: f64 = 2e-4;
const HEAD_RATE: f64 = 2e-3;
/// How far to go towards what was learned; the first that is better than what was known counts. Less far forgets less.
const SHARES: [f64; 4] = [1.0, 0.75, 0.5, 0.35];

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The sentence encoder: a folder
    #[arg(long)]
    model: PathBuf,
    /// What is known: layer and adapter
    #[arg(long)]
    from: PathBuf,
    /// A file of approved calls, one JSON object a line: `ask` and `tool`
    #[arg(long)]
    lessons: PathBuf,
    /// A file of questions that the image was learned from
    #[arg(long)]
    again: PathBuf,
    /// A file of questions that measure what must not be forgotten
    #[arg(long)]
    old: PathBuf,
    /// Write what was learned here
    #[arg(long)]
    out: PathBuf,
    /// Seed of the order and the noise
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn learn(options: &Options) -> Result<()> {
    // The machine's work goes first. Whoever may not be nicer still learns.
    let _ = rustix::process::nice(19);
    let text =
        std::fs::read_to_string(&options.lessons).with_context(|| options.lessons.display().to_string())?;
    let mut lessons: Vec<Lesson> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| options.lessons.display().to_string()))
        .collect::<Result<_>>()?;
    // Which ones are held back is the same each time: what was learned from once measures nothing later.
    lessons.sort_by_key(|lesson| {
        let mut hasher = DefaultHasher::new();
        lesson.ask.hash(&mut hasher);
        hasher.finish()
    });
    let held = lessons.split_off(lessons.len() - lessons.len() / HELD);
    ensure!(!held.is_empty(), "there are too few approved calls to hold one back");
    let (again, old) = (crate::questions(std::slice::from_ref(&options.again))?, &options.old);
    let old = crate::questions(std::slice::from_ref(old))?;
    let mut random = fastrand::Rng::with_seed(options.seed);

    let files = Files::read(&options.model, &|_| {}).map_err(|e| anyhow!(e))?;
    let (encoder, tokenizer) = (Encoder::of(&files.config, &files.tensors)?, &files.tokenizer);
    let before = crate::mean::learned(&encoder, &options.from)?;

    let masked = |lesson: &Lesson| (aios_words::mask(&lesson.ask), lesson.tool.clone());
    let mut again: Vec<(String, String)> = choose(again, usize::MAX, &mut random);
    again.truncate((lessons.len() * AGAIN).max(LEAST_AGAIN));
    let old = choose(old, OLD, &mut random);
    let held: Vec<(String, String)> = held.iter().map(masked).collect();
    let own: Vec<(String, String)> = lessons.iter().map(masked).collect();

    // A tool that the image does not know gets a row of its own.
    let mut more: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (text, tool) in own.iter().filter(|(_, tool)| before.head.place(tool).is_none()) {
        more.entry(tool).or_default().push(text.clone());
    }
    let more: Vec<(&str, Vec<Vec<f32>>)> = more
        .into_iter()
        .map(|(tool, texts)| Ok((tool, adapt::vectors(&encoder, tokenizer, &before.adapter, &texts)?)))
        .collect::<Result<_>>()?;
    let any: Vec<String> = again.iter().take(ANY).map(|(text, _)| text.clone()).collect();
    let any = adapt::vectors(&encoder, tokenizer, &before.adapter, &any)?;
    let head = before.head.clone().with_more(&more, &any)?;
    let start = Learned { adapter: before.adapter.clone(), head };
    let measure = |learned: &Learned, questions: &[(String, String)]| -> Result<Score> {
        let placed: Vec<(String, Option<u32>)> =
            questions.iter().map(|(text, tool)| (text.clone(), learned.head.place(tool))).collect();
        Ok(adapt::measure(&encoder, tokenizer, learned, &placed)?)
    };
    let (knew, old_knew) = (measure(&before, &held)?, measure(&before, &old)?);

    let questions: Vec<(String, u32)> = (0..TIMES)
        .flat_map(|_| &own)
        .chain(&again)
        .filter_map(|(text, tool)| Some((text.clone(), start.head.place(tool)?)))
        .collect();
    let course = Course { epochs: EPOCHS, rate: RATE, head_rate: HEAD_RATE, ..Course::default() };
    let steps = EPOCHS * questions.len().div_ceil(course.batch);
    // Of few steps the mean over many would be what was known before.
    let course = Course { average: (steps as f64 / 4.0).max(1.0), ..course };
    let learned = adapt::learn(
        &encoder,
        tokenizer,
        &start.learning()?,
        &questions,
        &course,
        &mut random,
        &mut |Progress { step, steps, .. }| {
            println!("{}", json!({"step": step, "steps": steps}));
            Ok(())
        },
    )?;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut came: Option<Learning> = None;
    for share in SHARES {
        let learned = start.towards(&learned, share)?;
        let (knows, old_knows) = (measure(&learned, &held)?, measure(&learned, &old)?);
        let now = Learning {
            at_ms: 0,
            lessons: count(own.len()),
            held: count(held.len()),
            knew: count(knew.first),
            knows: count(knows.first),
            old: count(old.len()),
            old_knew: count(old_knew.first),
            old_knows: count(old_knows.first),
            kept: false,
        };
        let is_better = now.is_better();
        if is_better || came.is_none() {
            learned.write(&encoder, &options.out)?;
            came = Some(now);
        }
        if is_better {
            break;
        }
    }
    println!("{}", json!({"learned": came}));
    Ok(())
}

/// So many of them, masked, in any order.
fn choose(mut all: Vec<Question>, most: usize, random: &mut fastrand::Rng) -> Vec<(String, String)> {
    random.shuffle(&mut all);
    all.iter()
        .take(most)
        .map(|question| (aios_words::mask(&question.ask), question.name().to_owned()))
        .collect()
}
