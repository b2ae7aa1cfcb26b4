//! The loop in which an encoder learns to tell tools apart, and the measure of what it learned.

use super::average::Average;
use super::head::{Head, Score};
use super::train::schedule;
use crate::encoder::{Adapter, Encoder, Tokens};
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use std::path::Path;
use tokenizers::Tokenizer;

/// Sentences that are measured at once.
const MEASURED: usize = 64;

/// How to learn.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// How often each question is taken.
    pub epochs: usize,
    /// Questions of one step.
    pub batch: usize,
    /// Highest learning rate of the adapter.
    pub rate: f64,
    /// Highest learning rate of the layer.
    pub head_rate: f64,
    /// Part of the steps over which the rates rise to them.
    pub warm_up: f64,
    /// Part of the encoder's numbers that is dropped in each step.
    pub dropout: f32,
    /// Part of the probability that is spread over all tools.
    pub smoothing: f64,
    /// Part of the words that is left out or misspelt.
    pub noise: f32,
    /// How much the adapter's weights shrink, times the rate.
    pub decay: f64,
    /// Weight of the layer's squared weights.
    pub head_decay: f64,
    /// Steps over which weights are averaged.
    pub average: f64,
}

/// What the file in `trained` was learned with. These are usual numbers; they were not searched for.
impl Default for Course {
    fn default() -> Self {
        Self {
            epochs: 8,
            batch: 32,
            rate: 1e-3,
            head_rate: 1e-2,
            warm_up: 0.05,
            dropout: 0.1,
            smoothing: 0.1,
            noise: 0.05,
            decay: 0.01,
            head_decay: 0.025,
            average: 200.0,
        }
    }
}

/// How far it is.
pub struct Progress<'a, T> {
    /// Steps that are done.
    pub step: usize,
    /// Steps that there are.
    pub steps: usize,
    /// Loss of the last one.
    pub loss: f64,
    /// At the end of an epoch what was learned until then.
    pub learned: Option<&'a T>,
}

/// An adapter and the layer over its vectors.
pub struct Learned {
    /// The adapter.
    pub adapter: Adapter,
    /// The layer.
    pub head: Head,
}

impl Learned {
    fn variables(&self) -> Vec<Var> {
        self.adapter.variables().iter().cloned().chain(self.head.variables()).collect()
    }

    /// Write both as safetensors. Of the layer: `weight`, `bias`, and the tools' names, in the order of the rows, as
    /// `tools`. Of the adapter: for each matrix `.lora_a` and `.lora_b`, of which `b · a` is added to it, in 16-bit
    /// numbers; its name as `encoder`, and what tells the encoder that it belongs to from others as `base`.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, encoder: &Encoder, path: &Path) -> Result<()> {
        let (mut tensors, mut about) = (self.adapter.written()?, self.adapter.about(encoder)?);
        tensors.extend(self.head.written());
        about.insert("tools".to_owned(), self.head.tools().join(" "));
        let part = path.with_extension("part");
        safetensors::serialize_to_file(tensors, Some(about), &part).map_err(candle_core::Error::wrap)?;
        Ok(std::fs::rename(part, path)?)
    }

    /// The same numbers once more, to be learned on: these stay what they are.
    ///
    /// # Errors
    /// Too little memory.
    pub fn learning(&self) -> Result<Self> {
        Ok(Self { adapter: self.adapter.clone().learning()?, head: self.head.times(1.0)? })
    }

    /// So far on the way from these numbers to others that were learned from them: 0 are these, 1 the others. What lies
    /// between has forgotten less than the others and knows most of what they know (Wortsman et al., "Robust
    /// fine-tuning of zero-shot models", 2022).
    ///
    /// # Errors
    /// Other tools, or matrices of another size.
    pub fn towards(&self, other: &Self, share: f64) -> Result<Self> {
        if self.head.tools() != other.head.tools() {
            candle_core::bail!("they are for other tools than each other")
        }
        let numbers = |learned: &Self| {
            let of_head = learned.head.variables();
            let all = learned.adapter.tensors().cloned().chain(of_head.iter().map(|n| n.as_tensor().clone()));
            all.collect::<Vec<Tensor>>()
        };
        let (own, others) = (numbers(self), numbers(other));
        let between: Vec<Tensor> = own
            .iter()
            .zip(&others)
            .map(|(own, other)| Ok(((own * (1.0 - share))? + (other * share)?)?.detach()))
            .collect::<Result<_>>()?;
        self.with(&between)
    }

    fn with(&self, tensors: &[Tensor]) -> Result<Self> {
        let Some((of_adapter, [weight, bias])) = tensors.split_last_chunk::<2>() else {
            candle_core::bail!("there is nothing to learn")
        };
        Ok(Self { adapter: self.adapter.with(of_adapter), head: self.head.with([weight, bias])? })
    }
}

/// Learn from masked questions and the rows of the tools that they mean; `told` hears of each step.
///
/// # Errors
/// Those of the arithmetic: too little memory, most likely.
pub fn learn(
    encoder: &Encoder,
    tokenizer: &Tokenizer,
    learned: &Learned,
    questions: &[(String, u32)],
    course: &Course,
    random: &mut fastrand::Rng,
    told: &mut dyn FnMut(Progress<'_, Learned>) -> Result<()>,
) -> Result<Learned> {
    let parameters =
        |lr, weight_decay| ParamsAdamW { lr, beta2: 0.98, weight_decay, ..ParamsAdamW::default() };
    let mut optimizer =
        AdamW::new(learned.adapter.variables().to_vec(), parameters(course.rate, course.decay))?;
    let mut of_head = AdamW::new(learned.head.variables().to_vec(), parameters(course.head_rate, 0.0))?;
    let mut average = Average::of(learned.variables(), course.average)?;
    let each = questions.len().div_ceil(course.batch.max(1));
    let (mut step, steps) = (0, course.epochs * each);
    let mut order: Vec<&(String, u32)> = questions.iter().collect();
    for _ in 0..course.epochs {
        random.shuffle(&mut order);
        for batch in order.chunks(course.batch.max(1)) {
            let part = schedule(step as f64 / steps as f64, course.warm_up);
            optimizer.set_learning_rate(course.rate * part);
            of_head.set_learning_rate(course.head_rate * part);
            let texts: Vec<String> =
                batch.iter().map(|(text, _)| noisy(text, course.noise, random)).collect();
            let targets: Vec<u32> = batch.iter().map(|(_, target)| *target).collect();
            let tokens = Tokens::of(tokenizer, &texts).map_err(candle_core::Error::msg)?;
            let vectors = encoder.vectors(&learned.adapter, &tokens, Some((course.dropout, random)))?;
            let likely = learned.head.logarithms(&vectors)?;
            let targets = Tensor::from_vec(targets, (batch.len(), 1), &Device::Cpu)?;
            let right = likely.gather(&targets, 1)?.mean_all()?;
            let loss = ((right * (course.smoothing - 1.0))? - (likely.mean_all()? * course.smoothing)?)?;
            let weight = learned.head.variables()[0].clone();
            let all = (&loss + (weight.sqr()?.sum_all()? * (course.head_decay / questions.len() as f64))?)?;
            let gradients = all.backward()?;
            optimizer.step(&gradients)?;
            of_head.step(&gradients)?;
            step += 1;
            average.add()?;
            let now = if step % each == 0 { Some(learned.with(average.mean())?) } else { None };
            let loss = f64::from(loss.to_scalar::<f32>()?);
            told(Progress { step, steps, loss, learned: now.as_ref() })?;
        }
    }
    learned.with(average.mean())
}

/// The sentence with some words left out and some misspelt.
fn noisy(sentence: &str, part: f32, random: &mut fastrand::Rng) -> String {
    let mut words = Vec::new();
    for word in sentence.split(' ') {
        let letters = word.chars().count();
        if random.f32() >= part {
            words.push(word.to_owned());
        } else if letters > 3 && word.chars().all(char::is_alphabetic) && random.bool() {
            let mut letters: Vec<char> = word.chars().collect();
            let place = random.usize(1..letters.len() - 1);
            match random.u8(..3) {
                0 => letters.swap(place, place + 1),
                1 => drop(letters.remove(place)),
                _ => letters.insert(place, letters[place]),
            }
            words.push(letters.into_iter().collect());
        }
    }
    if words.is_empty() { sentence.to_owned() } else { words.join(" ") }
}

/// How well held-back questions are known; none as a row is a tool that the layer does not know.
///
/// # Errors
/// Those of the arithmetic.
pub fn measure(
    encoder: &Encoder,
    tokenizer: &Tokenizer,
    learned: &Learned,
    questions: &[(String, Option<u32>)],
) -> Result<Score> {
    let (texts, targets): (Vec<String>, Vec<Option<u32>>) = questions.iter().cloned().unzip();
    learned.head.judged(vectors(encoder, tokenizer, &learned.adapter, &texts)?, &targets)
}

/// The same with the layer's numbers as many times larger as makes its probabilities fit these questions best: what
/// was learned with some of the probability spread is less sure than it may be (Guo et al., "On Calibration of Modern
/// Neural Networks", 2017). The order of the tools stays.
///
/// # Errors
/// Those of the arithmetic.
pub fn calibrate(
    encoder: &Encoder,
    tokenizer: &Tokenizer,
    learned: Learned,
    questions: &[(String, Option<u32>)],
) -> Result<Learned> {
    let (texts, targets): (Vec<String>, Vec<Option<u32>>) = questions.iter().cloned().unzip();
    let vectors = vectors(encoder, tokenizer, &learned.adapter, &texts)?;
    let mut best = (f64::INFINITY, learned.head.clone());
    for tenths in 5..=30 {
        let head = learned.head.times(f64::from(tenths) / 10.0)?;
        let loss = head.judged(vectors.clone(), &targets)?.loss;
        if loss < best.0 {
            best = (loss, head);
        }
    }
    Ok(Learned { head: best.1, adapter: learned.adapter })
}

/// The vectors of sentences.
///
/// # Errors
/// Those of the arithmetic.
pub fn vectors(
    encoder: &Encoder,
    tokenizer: &Tokenizer,
    adapter: &Adapter,
    texts: &[String],
) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::with_capacity(texts.len());
    for batch in texts.chunks(MEASURED) {
        let tokens = Tokens::of(tokenizer, batch).map_err(candle_core::Error::msg)?;
        all.extend(encoder.vectors(adapter, &tokens, None)?.to_vec2::<f32>()?);
    }
    Ok(all)
}
