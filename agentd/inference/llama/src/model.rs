//! One GGUF model and its context.

use crate::prompt;
use aios_abi::engine::{Generate, Message, ModelInfo};
use aios_abi::{CallError, ErrorCode};
use aios_engine::{Cost, Engine, Options, cancelled};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use std::num::NonZeroU32;

/// Tokens that are computed at once; between two batches a cancellation is noticed.
const BATCH: usize = 512;
/// The only sequence.
const SEQUENCE: i32 = 0;

/// A loaded model.
pub(crate) struct Llama {
    info: ModelInfo,
    model: &'static LlamaModel,
    context: LlamaContext<'static>,
    /// What the context remembers, token by token.
    past: Vec<LlamaToken>,
}

impl Llama {
    /// Check the file and load it.
    pub(crate) fn load(options: &Options, progress: Box<dyn Fn(u8) + Send>) -> Result<Self, String> {
        let summary = aios_gguf::check(&options.model).map_err(|e| e.to_string())?;
        let named = |what: String| format!("{}: {what}", options.model.display());
        let mut backend = LlamaBackend::init().map_err(|e| named(e.to_string()))?;
        backend.void_logs();
        let parameters =
            LlamaModelParams::default().with_n_gpu_layers(0).with_progress_callback(move |part| {
                // A fraction of 0 to 1; a percent is fine enough for people.
                progress((part.clamp(0.0, 1.0) * 100.0) as u8);
                true
            });
        let model = LlamaModel::load_from_file(&backend, &options.model, &parameters)
            .map_err(|e| named(format!("llama.cpp cannot load this model: {e}")))?;
        // The context borrows the model, and both live as long as the process.
        let model: &'static LlamaModel = Box::leak(Box::new(model));
        let backend: &'static LlamaBackend = Box::leak(Box::new(backend));
        let threads = options.threads();
        let context = options.context.min(model.n_ctx_train().max(1));
        let count = i32::try_from(threads).unwrap_or(1);
        let parameters = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(context))
            .with_n_batch(BATCH as u32)
            .with_n_threads(count)
            .with_n_threads_batch(count);
        let llama = model
            .new_context(backend, parameters)
            .map_err(|e| named(format!("there is no memory for a context of {context} tokens: {e}")))?;
        let info = ModelInfo {
            name: summary.name,
            parameters: model.n_params(),
            context,
            dimensions: u32::try_from(model.n_embd()).unwrap_or(0),
            threads,
        };
        Ok(Self { info, model, context: llama, past: Vec::new() })
    }

    /// Bring the context to exactly these tokens; what it has in common with them already is kept.
    /// Afterwards the logits of the last token are there. Returns how many tokens were kept.
    fn prefill(
        &mut self,
        tokens: &[LlamaToken],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<usize, CallError> {
        let Some(last) = tokens.len().checked_sub(1) else {
            return Err(CallError::invalid("the prompt is empty"));
        };
        let common = self.past.iter().zip(tokens).take_while(|(a, b)| a == b).count().min(last);
        self.forget_from(common)?;
        for (chunk, batch_tokens) in tokens[common..].chunks(BATCH).enumerate() {
            if is_cancelled() {
                return Err(cancelled());
            }
            let start = common + chunk * BATCH;
            let ends = start + batch_tokens.len() == tokens.len();
            self.decode(batch_tokens, start, |index| ends && index + 1 == batch_tokens.len())?;
        }
        Ok(common)
    }

    fn forget_from(&mut self, position: usize) -> Result<(), CallError> {
        if position < self.past.len() {
            let from = u32::try_from(position).map_err(|e| CallError::failed(e.to_string()))?;
            let done = self.context.clear_kv_cache_seq(Some(0), Some(from), None);
            if !matches!(done, Ok(true)) {
                // Some architectures cannot forget a part; then everything is computed anew.
                self.context.clear_kv_cache();
                self.past.clear();
                return Err(CallError::new(
                    ErrorCode::Failed,
                    "the context could not be shortened; ask once more",
                ));
            }
            self.past.truncate(position);
        }
        Ok(())
    }

    fn decode(
        &mut self,
        tokens: &[LlamaToken],
        start: usize,
        logits: impl Fn(usize) -> bool,
    ) -> Result<(), CallError> {
        let failed =
            |what: &dyn std::fmt::Display| CallError::failed(format!("llama.cpp could not compute: {what}"));
        let mut batch = LlamaBatch::new(tokens.len(), 1);
        for (index, token) in tokens.iter().enumerate() {
            let position = i32::try_from(start + index).map_err(|e| failed(&e))?;
            batch.add(*token, position, &[SEQUENCE], logits(index)).map_err(|e| failed(&e))?;
        }
        let result = self.context.decode(&mut batch).map_err(|e| failed(&e));
        if result.is_ok() {
            self.past.extend_from_slice(tokens);
        } else {
            self.context.clear_kv_cache();
            self.past.clear();
        }
        result
    }

    fn require_room(&self, prompt: usize, answer: u32) -> Result<(), CallError> {
        let needed = prompt + answer as usize;
        if needed > self.info.context as usize {
            return Err(CallError::invalid(format!(
                "the prompt has {prompt} tokens and the answer may have {answer}, but the model's context holds {}; ask with fewer words",
                self.info.context
            )));
        }
        Ok(())
    }

    fn sampler(&self, request: &Generate) -> Result<LlamaSampler, CallError> {
        let mut chain = Vec::new();
        if let Some(grammar) = &request.grammar {
            chain.push(
                LlamaSampler::grammar(self.model, grammar, "root")
                    .map_err(|e| CallError::invalid(format!("the grammar is not valid GBNF: {e}")))?,
            );
        }
        if request.temperature_milli == 0 {
            chain.push(LlamaSampler::greedy());
        } else {
            chain.push(LlamaSampler::top_p(0.95, 1));
            chain.push(LlamaSampler::temp(request.temperature_milli as f32 / 1000.0));
            chain.push(LlamaSampler::dist(request.seed));
        }
        Ok(LlamaSampler::chain_simple(chain))
    }
}

impl Engine for Llama {
    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn generate(
        &mut self,
        request: &Generate,
        on_text: &mut dyn FnMut(&str),
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Cost, CallError> {
        let tokens = prompt::tokens(self.model, &request.messages, &request.prefix)?;
        self.require_room(tokens.len(), request.max_tokens)?;
        let mut sampler = self.sampler(request)?;
        let reused = self.prefill(&tokens, is_cancelled)?;
        let vocab = self.model.vocab();
        let mut generated = 0;
        let mut bytes = Vec::new();
        while generated < request.max_tokens {
            if is_cancelled() {
                return Err(cancelled());
            }
            let token = sampler.sample(&self.context, -1);
            if vocab.is_eog(token) {
                break;
            }
            generated += 1;
            bytes.extend(vocab.token_to_piece(token, false, None));
            emit_whole_characters(&mut bytes, on_text);
            if generated < request.max_tokens {
                let position = self.past.len();
                self.decode(&[token], position, |_| true)?;
            }
        }
        if !bytes.is_empty() {
            on_text(&String::from_utf8_lossy(&bytes));
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Cost { prompt: count(tokens.len()), reused: count(reused), generated })
    }

    fn score(&mut self, messages: &[Message], continuations: &[String]) -> Result<Vec<f32>, CallError> {
        let tokens = prompt::tokens(self.model, messages, "")?;
        let longest = continuations.iter().map(String::len).max().unwrap_or(0);
        self.require_room(tokens.len(), u32::try_from(longest).unwrap_or(u32::MAX))?;
        self.prefill(&tokens, &|| false)?;
        let first = log_probabilities(self.context.get_logits());
        let mut scores = Vec::with_capacity(continuations.len());
        for continuation in continuations {
            let words = self.model.vocab().tokenize(continuation.as_bytes(), false, false);
            let mut sum = match words.first() {
                Some(token) => at(&first, *token),
                None => 0.0,
            };
            if words.len() > 1 {
                self.decode(&words[..words.len() - 1], tokens.len(), |_| true)?;
                for (index, token) in words[1..].iter().enumerate() {
                    let position = i32::try_from(index).unwrap_or(0);
                    sum += at(&log_probabilities(self.context.get_logits_ith(position)), *token);
                }
                self.forget_from(tokens.len())?;
            }
            scores.push(sum);
        }
        // The logits of the prompt's last token are gone; the next prompt must compute it again.
        self.forget_from(tokens.len() - 1)?;
        Ok(scores)
    }
}

/// Natural logarithm of the softmax of the logits.
fn log_probabilities(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - most).exp()).sum();
    let shift = most + sum.ln();
    logits.iter().map(|l| l - shift).collect()
}

fn at(probabilities: &[f32], token: LlamaToken) -> f32 {
    usize::try_from(token.0).ok().and_then(|i| probabilities.get(i)).copied().unwrap_or(f32::NEG_INFINITY)
}

/// Hand on what is valid UTF-8 so far; the beginning of a character waits for its rest.
fn emit_whole_characters(bytes: &mut Vec<u8>, on_text: &mut dyn FnMut(&str)) {
    loop {
        let (valid, broken) = match std::str::from_utf8(bytes) {
            Ok(text) => (text.len(), None),
            Err(error) => (error.valid_up_to(), error.error_len()),
        };
        if valid > 0 {
            on_text(&String::from_utf8_lossy(&bytes[..valid]));
        }
        bytes.drain(..valid);
        match broken {
            // Bytes that no further byte can make valid.
            Some(length) => {
                on_text("\u{fffd}");
                bytes.drain(..length);
            }
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_emitted_whole() {
        let mut out = Vec::new();
        let mut bytes = vec![b'a', 0xc3];
        emit_whole_characters(&mut bytes, &mut |t| out.push(t.to_owned()));
        bytes.extend([0xa4, 0xff, b'b']);
        emit_whole_characters(&mut bytes, &mut |t| out.push(t.to_owned()));
        assert_eq!(out.concat(), "aä\u{fffd}b");
        assert!(bytes.is_empty());
    }

    #[test]
    fn log_probabilities_sum_to_one() {
        let sum: f32 = log_probabilities(&[1.0, 2.0, 3.0]).iter().map(|p| p.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }
}
