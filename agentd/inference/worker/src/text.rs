//! One answer while it is written: the same for every engine.

use crate::grammar::{Constraint, Grammars};
use crate::sample::Sampler;
use aios_abi::CallError;
use aios_abi::engine::Generate;

/// What an engine needs to know of its vocabulary to write.
pub trait Pieces {
    /// The bytes of a token.
    fn piece(&self, token: u32) -> Vec<u8>;
    /// Whether this token ends an answer.
    fn is_end(&self, token: u32) -> bool;
}

/// Writes one answer: takes logits, gives tokens and text.
pub struct Writer {
    sampler: Sampler,
    constraint: Option<Constraint>,
    bytes: Vec<u8>,
    most: u32,
    written: u32,
}

/// What is to be computed next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These tokens belong to the answer; logits are needed after the last of them.
    Tokens(Vec<u32>),
    /// The answer is complete.
    End,
}

impl Writer {
    /// Begin an answer.
    ///
    /// # Errors
    /// A grammar that is none.
    pub fn new(request: &Generate, grammars: &Grammars) -> Result<Self, CallError> {
        let constraint = request.grammar.as_ref().map(|grammar| grammars.constrain(grammar)).transpose()?;
        let sampler = Sampler::of(request);
        Ok(Self { sampler, constraint, bytes: Vec::new(), most: request.max_tokens, written: 0 })
    }

    /// Tokens written.
    pub fn written(&self) -> u32 {
        self.written
    }

    /// What the answer must begin with: tokens that can be computed together with the prompt.
    pub fn first(&mut self, pieces: &dyn Pieces, on_text: &mut dyn FnMut(&str)) -> Next {
        let forced = self.constraint.as_mut().map(Constraint::forced).unwrap_or_default();
        self.take(forced, pieces, on_text)
    }

    /// Choose the next token by these logits, and take with it what must follow.
    ///
    /// # Errors
    /// Those of [`Sampler::pick`].
    pub fn next(
        &mut self,
        logits: &[f32],
        pieces: &dyn Pieces,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<Next, CallError> {
        let token = self.sampler.pick(logits, self.constraint.as_mut())?;
        if pieces.is_end(token) {
            return Ok(self.finish(on_text));
        }
        let mut tokens = vec![token];
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
            tokens.extend(constraint.forced());
        }
        Ok(self.take(tokens, pieces, on_text))
    }

    fn take(&mut self, mut tokens: Vec<u32>, pieces: &dyn Pieces, on_text: &mut dyn FnMut(&str)) -> Next {
        tokens.truncate((self.most - self.written) as usize);
        if let Some(end) = tokens.iter().position(|token| pieces.is_end(*token)) {
            tokens.truncate(end);
            self.hand_on(&tokens, pieces, on_text);
            return self.finish(on_text);
        }
        self.hand_on(&tokens, pieces, on_text);
        let is_done = self.constraint.as_ref().is_some_and(Constraint::is_done);
        if is_done || self.written >= self.most {
            return self.finish(on_text);
        }
        Next::Tokens(tokens)
    }

    fn hand_on(&mut self, tokens: &[u32], pieces: &dyn Pieces, on_text: &mut dyn FnMut(&str)) {
        for token in tokens {
            self.written += 1;
            self.bytes.extend(pieces.piece(*token));
        }
        emit_whole_characters(&mut self.bytes, on_text);
    }

    fn finish(&mut self, on_text: &mut dyn FnMut(&str)) -> Next {
        if !self.bytes.is_empty() {
            on_text(&String::from_utf8_lossy(&self.bytes));
            self.bytes.clear();
        }
        Next::End
    }
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

/// Natural logarithm of the probability of a token among all.
pub fn log_probability(logits: &[f32], token: u32) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - most).exp()).sum();
    let logit = usize::try_from(token).ok().and_then(|i| logits.get(i)).copied();
    logit.unwrap_or(f32::NEG_INFINITY) - most - sum.ln()
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
    fn probabilities_sum_to_one() {
        let sum: f32 = (0..3).map(|token| log_probability(&[1.0, 2.0, 3.0], token).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
        assert_eq!(log_probability(&[1.0], 7), f32::NEG_INFINITY);
    }
}
