//! A little work, to see whether and how fast kernels compute.

use crate::gpu::{self, Plan};
use aios_abi::engine::Offload;
use aios_engine::{Options, log_probability};
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// What is read. Which words they are does not matter; that they are the same for all kernels does.
const TEXT: &str = "The server answers slowly since this morning. Its disk is nearly full, and the log of the database \
                    grows by a gigabyte an hour. Somebody should find out which table it is and why.";
/// Tokens of the text that are read, and tokens that are written, at most.
const READ: usize = 32;
const WRITTEN: usize = 16;
/// Writing ends after this time, however many tokens it were: a large model shows its speed with few.
const ENOUGH: Duration = Duration::from_millis(400);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trial {
    /// Tokens a second, read.
    pub(crate) read: f64,
    /// Tokens a second, written.
    pub(crate) written: f64,
    /// Natural logarithm of the text's probability, a token in the mean: about the same for all kernels that compute right.
    pub(crate) likelihood: f64,
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "trial {:.3} {:.3} {:.5}", self.read, self.written, self.likelihood)
    }
}

impl std::str::FromStr for Trial {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = line.split_whitespace();
        if words.next() != Some("trial") {
            return Err(());
        }
        let mut number = || words.next()?.parse().ok().filter(|number: &f64| number.is_finite());
        match (number(), number(), number()) {
            (Some(read), Some(written), Some(likelihood)) => Ok(Self { read, written, likelihood }),
            _ => Err(()),
        }
    }
}

/// Load the model and compute.
///
/// # Errors
/// Why these kernels cannot be used, in a few words.
pub(crate) fn run(options: &Options, kernels: &str, most: Option<u64>) -> Result<Trial, String> {
    // Before the first instruction that might not be there.
    crate::kernels::claimed(kernels)?;
    let summary = aios_gguf::check(&options.model).map_err(|e| e.to_string())?;
    let mut backend = LlamaBackend::init().map_err(|e| e.to_string())?;
    backend.void_logs();
    let plan = Plan::now(&summary, options, most);
    if gpu::is_gpu(kernels) {
        match plan.as_ref().map(Plan::told) {
            None => return Err("there is no graphics processor that it can use".into()),
            Some(Offload { device, why: Some(why), .. }) => return Err(format!("{device}: {why}")),
            Some(_) => {}
        }
    }
    let parameters = Plan::parameters(plan.as_ref())?;
    let model = LlamaModel::load_from_file(&backend, &options.model, &parameters)
        .map_err(|e| format!("the model cannot be loaded: {e}"))?;
    let threads = i32::try_from(options.threads()).unwrap_or(1);
    let parameters = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(256))
        .with_n_threads(threads)
        .with_n_threads_batch(threads);
    let mut context = model.new_context(&backend, parameters).map_err(|e| e.to_string())?;
    let mut text = model.vocab().tokenize(TEXT.as_bytes(), true, false);
    text.truncate(READ);

    let mut likelihood = 0.0;
    let mut best = Duration::MAX;
    // The first time also reads the weights from the disk.
    for _ in 0..2 {
        context.clear_kv_cache();
        let mut batch = LlamaBatch::new(READ, 1);
        for (place, token) in (0..).zip(&text) {
            batch.add(*token, place, &[0], true).map_err(|e| e.to_string())?;
        }
        let start = Instant::now();
        context.decode(&mut batch).map_err(|e| e.to_string())?;
        // A graphics processor still computes when it has been told to: it is done when there is a result.
        let _ = context.get_logits_ith(0);
        best = best.min(start.elapsed());
        let next = text.iter().skip(1).zip(0..);
        likelihood = next.map(|(token, place)| f64::from(at(context.get_logits_ith(place), *token))).sum();
    }
    let read = text.len() as f64 / best.as_secs_f64();

    let mut place = i32::try_from(text.len()).unwrap_or(0);
    let start = Instant::now();
    let mut written = 0;
    while written < WRITTEN && (written == 0 || start.elapsed() < ENOUGH) {
        let token = text[written % text.len()];
        let mut batch = LlamaBatch::new(1, 1);
        batch.add(token, place, &[0], true).map_err(|e| e.to_string())?;
        context.decode(&mut batch).map_err(|e| e.to_string())?;
        let _ = context.get_logits_ith(0);
        (place, written) = (place + 1, written + 1);
    }
    let likelihood = likelihood / text.len().saturating_sub(1).max(1) as f64;
    if !likelihood.is_finite() {
        return Err("the kernels compute no numbers".into());
    }
    Ok(Trial { read, written: written as f64 / start.elapsed().as_secs_f64(), likelihood })
}

fn at(logits: &[f32], token: LlamaToken) -> f32 {
    log_probability(logits, u32::try_from(token.0).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_as_it_was_written_and_nothing_else_is_one() {
        let trial = Trial { read: 250.5, written: 101.125, likelihood: -3.25 };
        assert_eq!(trial.to_string().parse(), Ok(trial));
        for line in ["", "trial", "trial 1 2", "trial 1 2 NaN", "250 101 -3", "trial a b c"] {
            assert_eq!(line.parse::<Trial>(), Err(()), "{line}");
        }
    }
}
