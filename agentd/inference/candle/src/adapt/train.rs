//! The loop that learns, and the measure of what was learned.

use super::lessons::Lesson;
use super::model::{Adapter, Base};
use candle_core::{D, Device, Result, Tensor};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};

/// How to learn.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How often each lesson is taken.
    pub epochs: usize,
    /// Lessons of one step.
    pub batch: usize,
    /// Highest learning rate.
    pub rate: f64,
    /// Part of the steps over which the rate rises to it.
    pub warm_up: f64,
}

/// What held-back questions say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// How many there were.
    pub count: usize,
    /// For how many each token of the tool's name was the likeliest.
    pub tools: usize,
    /// For how many all tokens of the answer were.
    pub whole: usize,
    /// Mean of the natural logarithm of the probability of a token of an answer, negated.
    pub loss: f64,
}

/// Lessons side by side, filled up to one length.
struct Batch {
    tokens: Tensor,
    /// Rows of the hidden states that say a token of an answer.
    rows: Tensor,
    /// These tokens.
    targets: Tensor,
    /// Tokens of the name, and of the whole answer, by lesson.
    counts: Vec<(usize, usize)>,
}

impl Batch {
    fn of(lessons: &[&Lesson]) -> Result<Self> {
        let length = lessons.iter().map(|l| l.tokens.len()).max().unwrap_or(0);
        let (mut tokens, mut rows, mut targets, mut counts) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (n, lesson) in lessons.iter().enumerate() {
            for place in lesson.answer..lesson.tokens.len() {
                rows.push((n * length + place - 1) as u32);
                targets.push(lesson.tokens[place]);
            }
            tokens.extend(&lesson.tokens);
            tokens.resize((n + 1) * length, 0);
            counts.push((lesson.name - lesson.answer, lesson.tokens.len() - lesson.answer));
        }
        let count = rows.len();
        Ok(Self {
            tokens: Tensor::from_vec(tokens, (lessons.len(), length), &Device::Cpu)?,
            rows: Tensor::from_vec(rows, count, &Device::Cpu)?,
            targets: Tensor::from_vec(targets, count, &Device::Cpu)?,
            counts,
        })
    }

    /// Logits of each token of the answers.
    fn logits(&self, base: &Base, adapter: &Adapter) -> Result<Tensor> {
        base.logits(&base.hidden(adapter, &self.tokens)?.index_select(&self.rows, 0)?)
    }

    /// Natural logarithm of the probability of each token of the answers, negated.
    fn losses(&self, logits: &Tensor) -> Result<Tensor> {
        let all = candle_nn::ops::log_softmax(logits, D::Minus1)?;
        all.gather(&self.targets.unsqueeze(1)?, 1)?.squeeze(1)?.neg()
    }
}

/// Learn from lessons; `told` hears the step, how many there are, and the loss of each.
///
/// # Errors
/// Those of the arithmetic: too little memory, most likely.
pub fn train(
    base: &Base,
    adapter: &Adapter,
    lessons: &[Lesson],
    plan: &Plan,
    random: &mut fastrand::Rng,
    told: &mut dyn FnMut(usize, usize, f64),
) -> Result<()> {
    let parameters = ParamsAdamW { lr: plan.rate, beta2: 0.98, weight_decay: 0.01, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(adapter.variables(), parameters)?;
    let steps = plan.epochs * lessons.len().div_ceil(plan.batch.max(1));
    let mut step = 0;
    for _ in 0..plan.epochs {
        for batch in batches(lessons, plan.batch, random) {
            optimizer.set_learning_rate(plan.rate * schedule(step as f64 / steps as f64, plan.warm_up));
            let batch = Batch::of(&batch)?;
            let loss = batch.losses(&batch.logits(base, adapter)?)?.mean_all()?;
            optimizer.backward_step(&loss)?;
            step += 1;
            told(step, steps, f64::from(loss.to_scalar::<f32>()?));
        }
    }
    Ok(())
}

/// Lessons of about one length together, the groups in any order.
fn batches<'a>(lessons: &'a [Lesson], size: usize, random: &mut fastrand::Rng) -> Vec<Vec<&'a Lesson>> {
    let mut order: Vec<&Lesson> = lessons.iter().collect();
    random.shuffle(&mut order);
    order.sort_by_key(|lesson| lesson.tokens.len());
    let mut batches: Vec<Vec<&Lesson>> = order.chunks(size.max(1)).map(<[&Lesson]>::to_vec).collect();
    random.shuffle(&mut batches);
    batches
}

/// Up in a line, down in half a cosine.
pub(super) fn schedule(part: f64, warm_up: f64) -> f64 {
    if part < warm_up {
        (part / warm_up).max(0.01)
    } else {
        0.5 * (1.0 + (std::f64::consts::PI * (part - warm_up) / (1.0 - warm_up)).cos())
    }
}

/// How well held-back lessons are known.
///
/// # Errors
/// As [`train`].
pub fn judge(base: &Base, adapter: &Adapter, lessons: &[Lesson], batch: usize) -> Result<Outcome> {
    let mut outcome = Outcome { count: lessons.len(), ..Outcome::default() };
    let (mut sum, mut tokens) = (0.0, 0);
    for batch in lessons.chunks(batch.max(1)) {
        let batch = Batch::of(&batch.iter().collect::<Vec<_>>())?;
        let logits = batch.logits(base, adapter)?;
        let losses = batch.losses(&logits)?.to_vec1::<f32>()?;
        tokens += losses.len();
        sum += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        let likeliest = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let right: Vec<bool> =
            likeliest.iter().zip(batch.targets.to_vec1::<u32>()?).map(|(is, target)| *is == target).collect();
        let mut from = 0;
        for (name, all) in &batch.counts {
            outcome.tools += usize::from(right[from..from + name].iter().all(|right| *right));
            outcome.whole += usize::from(right[from..from + all].iter().all(|right| *right));
            from += all;
        }
    }
    outcome.loss = sum / (tokens.max(1) as f64);
    Ok(outcome)
}
